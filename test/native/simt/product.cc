// The matrix products of native/cuda on tensor cores: every tile, layout and epilogue, in bf16 and in tf32.
// Usage: product [seeds]
#include "product.h"

#include <cstdlib>

namespace {

using namespace product;

struct Extents {
  int64_t batches, m, n, k;
};

// How often a product in bf16 asked for a copy of 16 bytes; it must come out right.
uint64_t copies_of(const Extents& e, int layout, int64_t odd_pitch) {
  const uint64_t before = simt::copies();
  const std::string problem = run({e.batches, e.m, e.n, e.k, layout / 2 == 1, layout % 2 == 1, BF16, F32, PLANNED_TILE,
                                   EPILOGUE_NONE, false, false, odd_pitch});
  if (!problem.empty()) {
    failures()++;
    fprintf(stderr, "%d x %d x %d, layout %d: %s\n", int(e.m), int(e.n), int(e.k), layout, problem.c_str());
  }
  return simt::copies() - before;
}

// Rows that begin on boundaries of 16 bytes are copied in units whatever their length, as those of logits over an odd
// vocabulary; others are gathered by ordinary loads.
void copy_odd_rows() {
  for (int layout = 0; layout < 4; layout++)
    for (const Extents& e : {Extents{1, 40, 24, 131}, Extents{1, 131, 24, 40}, Extents{2, 33, 67, 35}}) {
      CHECK(copies_of(e, layout, 0) > 0);
      CHECK(copies_of(e, layout, 1) == 0);
    }
}

}  // namespace

int main(int count, char** arguments) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const bool is_sanitized = true;
#else
  const bool is_sanitized = false;
#endif
  const int seeds = count > 1 ? atoi(arguments[1]) : 1;
  constexpr Epilogue epilogues[] = {EPILOGUE_NONE, EPILOGUE_ACTIVATION, EPILOGUE_ACTIVATION_BACKWARD};
  // Less than a tile, more than one with edges everywhere, several chunks of K, an empty K, and K in parts.
  constexpr Extents large[] = {{1, 136, 264, 40}, {1, 16, 24, 200}};
  constexpr Extents small[] = {{1, 16, 8, 8}, {2, 72, 88, 136}, {1, 9, 65, 33}, {1, 12, 20, 0}, {1, 64, 64, 1072}};
  int cases = 0;
  copy_odd_rows();
  for (int seed = 1; seed <= seeds; seed++)
    for (int setting = 0; setting < 2; setting++) {
      simt::settings.order = setting ? simt::Settings::SHUFFLED : simt::Settings::FORWARD;
      simt::settings.copies = setting ? simt::Settings::MIXED : simt::Settings::LATE;
      simt::settings.poison = setting ? 0x7B : 0xFF;
      simt::settings.seed = uint64_t(seed);
      if (is_sanitized && !setting) continue;
      const auto check = [&](const Extents& e, DType real, DType result, int tile, int64_t odd_pitch) {
        for (int layout = 0; layout < 4; layout++) {
          const int variant = cases++;  // every epilogue, with and without bias and addend, in turn
          const Case c = {e.batches, e.m,  e.n,    e.k,
                          layout / 2 == 1, layout % 2 == 1, real, result, tile, epilogues[variant % 3], variant / 2 % 2 == 0,
                          variant / 3 % 2 == 0, odd_pitch, ACTIVATION_GELU, variant % 4 == 3};
          const std::string problem = run(c);
          if (problem.empty()) continue;
          failures()++;
          fprintf(stderr, "%s to %s, %d x %d x %d, tile %d, layout %d, epilogue %d, setting %d, seed %d: %s\n",
                  real == BF16 ? "bf16" : "tf32", result == BF16 ? "bf16" : "f32", int(e.m), int(e.n), int(e.k), tile, layout,
                  int(c.epilogue), setting, seed, problem.c_str());
        }
      };
      for (const DType result : {F32, BF16}) {
        for (const Extents& e : small) check(e, BF16, result, PLANNED_TILE, 0);
        check(small[1], BF16, result, PLANNED_TILE, 1);
        check({2, 3, 40, 48}, BF16, result, PLANNED_TILE, 0);  // thin
        if (is_sanitized) continue;
        for (const Extents& e : large)
          for (const int tile : {TENSOR_WIDE, TENSOR_LARGE}) check(e, BF16, result, tile, 0);
      }
      for (const Extents& e : small) check(e, F32, F32, PLANNED_TILE, 0);
      if (!is_sanitized) check(large[0], F32, F32, TENSOR_LARGE, 0);
    }
  printf("%d products: ", cases);
  return report("product");
}
