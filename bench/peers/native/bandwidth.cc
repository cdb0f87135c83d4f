// Read bandwidth: N threads, each summing a part of an array of B bytes again and again. `bandwidth N B` prints one line of
// JSON, GB/s of all threads together: {"gigabytesPerSecond": [one for each turn]}.
#include <cstdlib>
#include <thread>

#include "serve.h"

namespace {

volatile uint64_t sink;  // so that no sum is left out

// Sums of whole numbers, since those of floats may not be reordered and would wait for one another.
void read_all(const uint64_t* from, size_t count, int times) {
  uint64_t sum = 0;
  for (int i = 0; i < times; i++)
    for (size_t at = 0; at < count; at++) sum += from[at] ^ static_cast<uint64_t>(i);
  sink = sum;
}

}  // namespace

int main(int count, char** arguments) {
  if (count != 3) return 2;
  const size_t workers = std::max(1, atoi(arguments[1])), words = strtoull(arguments[2], nullptr, 10) / 8 / workers;
  std::vector<std::vector<uint64_t>> parts(workers);
  for (auto& part : parts) part.assign(words, 1);
  const int times = static_cast<int>(1 + 2000000000 / (8 * words * workers));  // some 2 GB a turn
  std::cout << "{\"gigabytesPerSecond\": [";
  for (int turn = 0; turn < 5; turn++) {
    std::vector<std::thread> threads;
    const double started = seconds_now();
    for (const auto& part : parts) threads.emplace_back(read_all, part.data(), words, times);
    for (std::thread& thread : threads) thread.join();
    const double bytes = 8.0 * static_cast<double>(words * workers) * times;
    std::cout << (turn ? ", " : "") << bytes / (seconds_now() - started) / 1e9;
  }
  std::cout << "]}" << std::endl;
}
