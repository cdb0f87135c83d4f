// The threads of one session. The calling thread takes part; the others spin for at most 50 us between two pieces of work
// and then sleep, and spin at all only while the whole process has no more busy threads than cores.
#pragma once
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "../kernel.h"

namespace heddle { namespace cpu {

// Cores this process may use, by affinity and control group quota; at least 1.
int available_cores();

// Counts a thread as busy, process-wide, while it lives.
class Busy {
 public:
  Busy();
  ~Busy();
  Busy(const Busy&) = delete;
  Busy& operator=(const Busy&) = delete;
};
// Whether a thread without work may spin a moment longer instead of leaving its core to others.
bool may_spin();

class Threads {
 public:
  // `workers` counts the calling thread.
  explicit Threads(int workers);
  ~Threads();
  Threads(const Threads&) = delete;
  Threads& operator=(const Threads&) = delete;

  int workers() const { return static_cast<int>(threads_.size()) + 1; }
  // Runs task(argument, index, worker) for index in [0, count) and returns when all have ended. One caller at a time, and
  // no task may call it.
  void parallel(int64_t count, Task task, void* argument);

 private:
  // A worker's part of the indices: it begins there, and helps with the others' parts when its own is used up. Kernels split
  // their rows alike, so that most of what a worker reads is what it wrote, and still in its cache.
  struct alignas(64) Share {
    std::atomic<int64_t> next{0};
    int64_t end = 0;
  };

  void work(int worker);
  void claim(int worker);
  void leave_callers_core();
  bool has_work(uint32_t seen) const;

  // Odd while a piece of work is open. A worker enters (`inside_`) before it looks at the epoch and the caller closes the
  // epoch before it looks at `inside_`, both sequentially consistent: one of them sees the other, so that the fields of a
  // piece of work stay as they are while anybody may read them.
  alignas(64) std::atomic<uint32_t> epoch_{0};
  alignas(64) std::atomic<int32_t> inside_{0};
  alignas(64) Task task_ = nullptr;
  void* argument_ = nullptr;

  std::unique_ptr<Share[]> shares_;

  std::mutex mutex_;
  std::condition_variable opened_, left_;
  std::atomic<int32_t> sleeping_{0};
  std::atomic<bool> caller_sleeps_{false}, ending_{false};
  std::vector<std::thread> threads_;
  int callers_core_ = -1;
};

inline void pause() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

int64_t monotonic_nanoseconds();

// Polls `done` for at most 50 us while the budget allows; returns whether it came true.
template <typename Condition>
bool spin_until(const Condition& done) {
  constexpr int64_t LONGEST = 50000;
  for (const int64_t start = monotonic_nanoseconds(); may_spin() && monotonic_nanoseconds() - start < LONGEST;)
    for (int i = 0; i < 32; i++) {
      if (done()) return true;
      pause();
    }
  return done();
}

}}  // namespace heddle::cpu
