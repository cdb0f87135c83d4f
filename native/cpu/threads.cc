#include "threads.h"

#include <algorithm>
#include <chrono>
#include <fstream>
#include <string>
#ifdef __linux__
#include <sched.h>
#endif

namespace heddle { namespace cpu {
namespace {

// The core budget: the only state that sessions of one process share. Constant-initialised, trivially destroyed.
std::atomic<int32_t> busy_threads{0};
const int32_t cores = available_cores();

#ifdef __linux__
// Cores that a control group's quota amounts to, rounded up; 0 where there is none.
int quota_cores() {
  double quota = 0, period = 0;
  std::ifstream version2("/sys/fs/cgroup/cpu.max");
  if (version2 >> quota >> period) return static_cast<int>((quota + period - 1) / period);
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_quota_us") >> quota;
  std::ifstream("/sys/fs/cgroup/cpu/cpu.cfs_period_us") >> period;
  return quota > 0 && period > 0 ? static_cast<int>((quota + period - 1) / period) : 0;
}
#endif

}  // namespace

int available_cores() {
  int found = std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
#ifdef __linux__
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0) found = std::max(1, CPU_COUNT(&set));
  if (const int quota = quota_cores()) found = std::min(found, quota);
#endif
  return found;
}

Busy::Busy() { busy_threads.fetch_add(1, std::memory_order_relaxed); }
Busy::~Busy() { busy_threads.fetch_sub(1, std::memory_order_relaxed); }
bool may_spin() { return busy_threads.load(std::memory_order_relaxed) <= cores; }

int64_t monotonic_nanoseconds() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

// A thread that is woken while its core is taken for a moment is put behind the one that wakes it, where it waits until the kernel's
// balancer comes, after milliseconds: a large product is done by then. So the caller's core is closed to the others; which of the
// rest they take is left to the kernel. They move at once where the caller has.
void Threads::leave_callers_core() {
#ifdef __linux__
  const int core = sched_getcpu();
  if (core == callers_core_ || core < 0) return;
  callers_core_ = core;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) != 0 || CPU_COUNT(&set) < 2) return;
  CPU_CLR(core, &set);
  for (std::thread& thread : threads_) pthread_setaffinity_np(thread.native_handle(), sizeof set, &set);  // a hint: may fail
#else
  (void)callers_core_;
#endif
}

Threads::Threads(int workers) : shares_(new Share[std::max(1, workers)]) {
  threads_.reserve(std::max(0, workers - 1));
  for (int worker = 1; worker < workers; worker++) {
    try {
      threads_.emplace_back([this, worker] { work(worker); });
    } catch (const std::system_error&) {
      break;  // the machine has no more threads: fewer give the same results
    }
  }
}

Threads::~Threads() {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    ending_ = true;
  }
  opened_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void Threads::claim(int worker) {
  for (int i = 0; i < workers(); i++) {
    Share& share = shares_[(worker + i) % workers()];
    for (int64_t index; (index = share.next.fetch_add(1, std::memory_order_relaxed)) < share.end;)
      task_(argument_, index, worker);
  }
}

// Whether a piece of work is open that is not the one seen last.
bool Threads::has_work(uint32_t seen) const {
  const uint32_t epoch = epoch_.load();
  return (epoch & 1) != 0 && epoch != seen;
}

void Threads::work(int worker) {
  for (uint32_t seen = 0;;) {
    const auto called = [&] { return has_work(seen) || ending_; };
    bool awake;
    {
      Busy busy;
      awake = spin_until(called);
    }
    if (!awake) {
      std::unique_lock<std::mutex> lock(mutex_);
      sleeping_.fetch_add(1);
      opened_.wait(lock, called);
      sleeping_.fetch_sub(1);
    }
    if (ending_) return;
    Busy busy;
    inside_.fetch_add(1);
    seen = epoch_.load();
    if (seen & 1) claim(worker);
    if (inside_.fetch_sub(1) == 1 && caller_sleeps_) {
      std::lock_guard<std::mutex> lock(mutex_);
      left_.notify_one();
    }
  }
}

void Threads::parallel(int64_t count, Task task, void* argument) {
  if (count <= 1 || threads_.empty()) {
    for (int64_t index = 0; index < count; index++) task(argument, index, 0);
    return;
  }
  leave_callers_core();
  task_ = task;
  argument_ = argument;
  for (int worker = 0; worker < workers(); worker++) {
    shares_[worker].next.store(count * worker / workers(), std::memory_order_relaxed);
    shares_[worker].end = count * (worker + 1) / workers();
  }
  epoch_.fetch_add(1);
  if (sleeping_ > 0) {
    std::lock_guard<std::mutex> lock(mutex_);
    opened_.notify_all();
  }
  claim(0);
  epoch_.fetch_add(1);
  const auto all_left = [&] { return inside_.load() == 0; };
  if (spin_until(all_left)) return;
  std::unique_lock<std::mutex> lock(mutex_);
  caller_sleeps_ = true;
  left_.wait(lock, all_left);
  caller_sleeps_ = false;
}

}}  // namespace heddle::cpu
