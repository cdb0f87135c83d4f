// One thread that owns one device and its arenas, and works through a queue of jobs. Knows nothing of JavaScript.
#pragma once
#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "backend.h"
#include "cpu/threads.h"

namespace heddle {

// What the session's thread is asked to do; it comes back with its result or its error.
struct Job {
  enum Kind { LOAD, RUN, READ, WRITE, CLOSE };

  Kind kind = CLOSE;
  uint64_t ticket = 0;  // for whoever posted it
  // LOAD: programs to make room for. RUN: the one to execute, which must have been loaded.
  std::vector<std::shared_ptr<const Program>> programs;
  std::string matmul_choices;  // LOAD: of an earlier process
  // RUN: the inputs. WRITE: what to write.
  std::vector<uint8_t> bytes;
  // RUN: the outputs. READ: what was read.
  std::vector<uint8_t> result;
  // RUN
  double scalars[SCALAR_COUNT] = {};
  bool is_profiled = false;
  int64_t started = 0;  // when, in nanoseconds
  std::vector<double> seconds;  // of each instruction, where profiled
  // READ, WRITE: the place; READ: how many bytes
  Arena arena = PARAMETERS;
  uint64_t offset = 0, length = 0;

  std::optional<Error> error;

  // On its way back the job counts for the thread that is to take it, which needs a core: where all of them have work, those
  // that spin leave theirs.
  std::optional<cpu::Busy> taker;
};

class Session {
 public:
  typedef std::function<std::unique_ptr<Backend>()> Open;
  typedef std::function<void(std::unique_ptr<Job>)> Finish;

  // Both are called on the session's thread: `open` before the first job, `finish` after each.
  Session(Open open, Finish finish);
  // Stops as `stop` does.
  ~Session();
  Session(const Session&) = delete;
  Session& operator=(const Session&) = delete;

  // Queues a job. After CLOSE, which frees the device, nothing may be posted.
  void post(std::unique_ptr<Job> job);
  // Ends the thread: after the instruction in progress, without the jobs that wait; `finish` is not called for these.
  void stop();

  double kernel_seconds() const { return static_cast<double>(kernel_nanoseconds_.load()) * 1e-9; }
  uint64_t runs() const { return runs_; }
  uint64_t arena_bytes(int arena) const { return arena_bytes_[arena]; }
  // As Backend::matmul_choices, when the last load had ended.
  std::string matmul_choices();

 private:
  void loop();
  std::unique_ptr<Job> take();
  void execute(Job& job);
  bool next_comes_first();
  void attempt(Job& job, const std::function<void()>& body);
  void load(const Job& job);
  void start(Job& job);
  void collect();
  void check_range(const Job& job, uint64_t bytes) const;

  const Open open_;
  const Finish finish_;
  std::unique_ptr<Backend> backend_;  // of the thread, but `stop` sets its flag under the mutex
  std::optional<Error> broken_;       // a device that failed once fails for ever
  ArenaBytes layout_{};
  // Runs that were started, oldest first; they come back before any other job is looked at.
  std::deque<std::unique_ptr<Job>> under_way_;
  int64_t last_collected_ = 0;
  std::vector<std::shared_ptr<const Program>> loaded_;  // the backend refers to them
  std::array<std::atomic<uint64_t>, ARENA_COUNT> arena_bytes_{};
  std::atomic<uint64_t> kernel_nanoseconds_{0}, runs_{0};

  std::string matmul_choices_;  // under the mutex
  std::mutex mutex_;
  std::condition_variable posted_;
  std::deque<std::unique_ptr<Job>> queue_;
  std::atomic<int32_t> waiting_{0};  // length of the queue, to be polled
  std::atomic<bool> stopping_{false};
  std::thread thread_;
};

}  // namespace heddle
