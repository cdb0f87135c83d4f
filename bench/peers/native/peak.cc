// The processor's peak: a loop of independent multiply-adds in registers, on each of N threads at once. Prints one line of
// JSON, GFLOP/s of all threads together: {"float32": ..., "bf16": ...}; bf16 only where VDPBF16PS is there.
#include <algorithm>
#include <cstdlib>
#include <thread>

#include "serve.h"

#if !defined(__x86_64__)
int main() { std::cout << "{\"absent\": \"the loop is written for x86-64\"}" << std::endl; }
#else

namespace {

// Assembly, since a compiler keeps an array of accumulators in memory. What the registers hold does not matter, but they
// must hold no subnormal numbers: zeros.
#define TWELVE(instruction, r) \
  instruction " %%" r "14, %%" r "15, %%" r "0\n" instruction " %%" r "14, %%" r "15, %%" r "1\n" \
  instruction " %%" r "14, %%" r "15, %%" r "2\n" instruction " %%" r "14, %%" r "15, %%" r "3\n" \
  instruction " %%" r "14, %%" r "15, %%" r "4\n" instruction " %%" r "14, %%" r "15, %%" r "5\n" \
  instruction " %%" r "14, %%" r "15, %%" r "6\n" instruction " %%" r "14, %%" r "15, %%" r "7\n" \
  instruction " %%" r "14, %%" r "15, %%" r "8\n" instruction " %%" r "14, %%" r "15, %%" r "9\n" \
  instruction " %%" r "14, %%" r "15, %%" r "10\n" instruction " %%" r "14, %%" r "15, %%" r "11\n"
#define LOOP(name, instruction, r) \
  void name(long rounds) { \
    asm volatile("vzeroall\n1:\n" TWELVE(instruction, r) "dec %0\njnz 1b\n" \
                 : "+r"(rounds)::"cc", "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", \
                   "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15"); \
  }
LOOP(fma_256, "vfmadd231ps", "ymm")
LOOP(fma_512, "vfmadd231ps", "zmm")
LOOP(dot_bf16, "vdpbf16ps", "zmm")

// The best of five turns: what the processor can do, not what others leave of it.
double gigaflops(void (*loop)(long), double flops_a_round, int workers) {
  constexpr long ROUNDS = 20000000;
  double best = 0;
  for (int turn = 0; turn < 5; turn++) {
    std::vector<std::thread> threads;
    const double started = seconds_now();
    for (int worker = 0; worker < workers; worker++) threads.emplace_back(loop, ROUNDS);
    for (std::thread& thread : threads) thread.join();
    best = std::max(best, workers * flops_a_round * ROUNDS / (seconds_now() - started) / 1e9);
  }
  return best;
}

}  // namespace

int main(int, char** arguments) {
  const int workers = std::max(1, atoi(arguments[1]));
  if (!__builtin_cpu_supports("fma")) {
    std::cout << "{\"absent\": \"the processor has no FMA\"}" << std::endl;
    return 0;
  }
  const bool is_wide = __builtin_cpu_supports("avx512f");
  std::cout << "{\"float32\": "
            << gigaflops(is_wide ? fma_512 : fma_256, 12 * 2 * (is_wide ? 16 : 8), workers);
  if (__builtin_cpu_supports("avx512bf16")) std::cout << ", \"bf16\": " << gigaflops(dot_bf16, 12 * 2 * 32, workers);
  std::cout << "}" << std::endl;
}
#endif
