// Every index exactly once, whatever the number of workers, and pools that come and go beside each other.
#include "cpu/threads.h"

#include <chrono>
#include <numeric>

#include "check.h"

using heddle::cpu::Threads;

namespace {

struct Visits {
  std::vector<int32_t> count, worker;
  int workers;
};

void visit(void* argument, int64_t index, int32_t worker) {
  Visits& visits = *static_cast<Visits*>(argument);
  visits.count[index]++;
  visits.worker[index] = worker;
}

void visit_all(Threads& threads, int64_t count) {
  Visits visits{std::vector<int32_t>(count), std::vector<int32_t>(count, -1), threads.workers()};
  threads.parallel(count, visit, &visits);
  for (int64_t i = 0; i < count; i++)
    CHECK(visits.count[i] == 1 && visits.worker[i] >= 0 && visits.worker[i] < visits.workers);
}

void test_every_index() {
  for (int workers : {1, 2, 3, 8}) {
    Threads threads(workers);
    CHECK(threads.workers() == workers);
    for (int64_t count : {0, 1, 2, 3, 7, 100, 1000}) visit_all(threads, count);
  }
}

// Work straight after work, and work after the workers have gone to sleep.
void test_spinning_and_sleeping() {
  Threads threads(4);
  for (int round = 0; round < 3000; round++) visit_all(threads, 1 + round % 9);
  for (int round = 0; round < 30; round++) {
    std::this_thread::sleep_for(std::chrono::microseconds(round % 3 * 200));
    visit_all(threads, 16);
  }
}

// The caller sleeps while a worker is late.
void test_slow_tasks() {
  Threads threads(3);
  std::atomic<int> done{0};
  for (int round = 0; round < 20; round++)
    threads.parallel(
        3,
        [](void* argument, int64_t index, int32_t) {
          std::this_thread::sleep_for(std::chrono::milliseconds(index));
          static_cast<std::atomic<int>*>(argument)->fetch_add(1);
        },
        &done);
  CHECK(done == 60);
}

// What one piece of work wrote, the next reads, on whichever thread.
void test_order() {
  Threads threads(4);
  std::vector<double> values(64, 1.0);
  struct Step {
    std::vector<double>* values;
    int64_t shift;
  };
  for (int64_t round = 0; round < 500; round++) {
    Step step{&values, round % 2};
    threads.parallel(
        32,
        [](void* argument, int64_t index, int32_t) {
          const Step& step = *static_cast<Step*>(argument);
          std::vector<double>& values = *step.values;
          const int64_t left = (2 * index + step.shift) % 64, right = (left + 1) % 64;
          const double mean = (values[left] + values[right]) / 2;
          values[left] = values[right] = mean;
        },
        &step);
  }
  CHECK(std::accumulate(values.begin(), values.end(), 0.0) == 64.0);
}

void test_pools_side_by_side() {
  std::vector<std::thread> sessions;
  for (int session = 0; session < 3; session++)
    sessions.emplace_back([] {
      for (int round = 0; round < 20; round++) {
        Threads threads(3);
        for (int piece = 0; piece < 20; piece++) visit_all(threads, 5);
      }
    });
  for (std::thread& session : sessions) session.join();
}

}  // namespace

int main() {
  test_every_index();
  test_spinning_and_sleeping();
  test_slow_tasks();
  test_order();
  test_pools_side_by_side();
  CHECK(heddle::cpu::available_cores() >= 1);
  return report("threads");
}
