// Sums of columns: y[c] = sum of x[r * stride + c] for r < rows, in float32.
#pragma once
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr int64_t ROWS_BETWEEN_FOLDS = 64;

// A strip of vectors, held in registers over some rows, so that rounding errors grow with the folds and not with the rows.
template <int VECTORS, typename T>
HEDDLE_INLINE void sum_strip(const T* x, int64_t rows, int64_t stride, float* y, int lanes) {
  Vector total[VECTORS] = {};
  for (int64_t start = 0; start < rows; start += ROWS_BETWEEN_FOLDS) {
    const int64_t end = smaller(rows, start + ROWS_BETWEEN_FOLDS);
    Vector sum[VECTORS] = {};
    for (int64_t row = start; row < end; row++) {
      for (int v = 0; v < VECTORS; v++) sum[v] += fetch(x + row * stride + v * LANES, lanes);
    }
    for (int v = 0; v < VECTORS; v++) total[v] += sum[v];
  }
  for (int v = 0; v < VECTORS; v++) put(y + v * LANES, total[v], lanes);
}

template <typename T>
static void sum_wide(const T* x, int64_t rows, int64_t stride, int64_t columns, float* y) {
  int64_t c = 0;
  for (; c + 4 * LANES <= columns; c += 4 * LANES) sum_strip<4>(x + c, rows, stride, y + c, LANES);
  for_vectors(columns - c, [&](int64_t i, int lanes) { sum_strip<1>(x + c + i, rows, stride, y + c + i, lanes); });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
