// Products of at most 8 rows, as in decoding: b, read once, is nearly all there is to read, and every element of it is
// used for all rows at once. A block has whole columns of y, so that nothing needs the workspace.
#pragma once
#include "gemm.h"

namespace heddle { namespace cuda {

constexpr int MOST_THIN_ROWS = 8;

HEDDLE_DEVICE float real(float x) { return x; }
HEDDLE_DEVICE float real(bf16 x) { return to_float(x); }

// Where b does not lie along K: a lane has one column, the warps of a block share K, neighbours read neighbours.
constexpr int SHARING_WARPS = 16;
template <typename T, int ROWS>
__global__ void __launch_bounds__(LANES * SHARING_WARPS, 1) multiply_thin_by_columns(Multiplication g) {
  SHARED_ARRAY(float, partial, [SHARING_WARPS][ROWS][LANES]);
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const unsigned groups = g.column_tiles;  // of 32 columns
  const int64_t batch = blockIdx.x / groups, column = int64_t(blockIdx.x % groups) * LANES + lane;
  const T* const a = matrix_of<T>(g.a, batch);
  const int last_row = int(g.m) - 1;  // rows past it are computed like it, and dropped
  const T* const b = matrix_of<T>(g.b, batch) + min(column, g.n - 1) * g.b_column;
  float sums[ROWS] = {};
  // Of b; more would not fit the registers.
  [[maybe_unused]] constexpr int LOADS_AT_ONCE = ROWS <= 2 ? 8 : ROWS <= 4 ? 4 : 2;
#pragma unroll LOADS_AT_ONCE
  for (int64_t depth = warp; depth < g.k; depth += SHARING_WARPS) {
    const float right = real(b[depth * g.b_depth]);
#pragma unroll
    for (int row = 0; row < ROWS; row++)
      sums[row] = fmaf(real(a[min(row, last_row) * g.a_row + depth * g.a_depth]), right, sums[row]);
  }
#pragma unroll
  for (int row = 0; row < ROWS; row++) partial[warp][row][lane] = sums[row];
  __syncthreads();
  if (warp >= g.m || column >= g.n) return;
  float x[1] = {0.0f};
  for (int each = 0; each < SHARING_WARPS; each++) x[0] += partial[each][warp][lane];
  finish(finished_matrix<sizeof(T) == 2>(g.finish, batch), warp, column, 1, x);
}

// Where b lies along K: a warp has two columns, and its lanes share K.
constexpr int COLUMNS_OF_WARP = 2, THIN_WARPS = 8;
template <typename T, int ROWS>
__global__ void __launch_bounds__(LANES * THIN_WARPS) multiply_thin_by_depth(Multiplication g) {
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const unsigned groups = g.column_tiles;  // of THIN_WARPS times COLUMNS_OF_WARP columns
  const int64_t batch = blockIdx.x / groups;
  const int64_t first = (int64_t(blockIdx.x % groups) * THIN_WARPS + warp) * COLUMNS_OF_WARP;
  const T* const a = matrix_of<T>(g.a, batch);
  const int last_row = int(g.m) - 1;  // rows past it are computed like it, and dropped
  const T* b[COLUMNS_OF_WARP];
#pragma unroll
  for (int j = 0; j < COLUMNS_OF_WARP; j++)
    b[j] = matrix_of<T>(g.b, batch) + min(first + j, g.n - 1) * g.b_column;
  float sums[ROWS][COLUMNS_OF_WARP] = {};
#pragma unroll 4
  for (int64_t depth = lane; depth < g.k; depth += LANES) {
    float right[COLUMNS_OF_WARP];
#pragma unroll
    for (int j = 0; j < COLUMNS_OF_WARP; j++) right[j] = real(b[j][depth * g.b_depth]);
#pragma unroll
    for (int row = 0; row < ROWS; row++) {
      const float left = real(a[min(row, last_row) * g.a_row + depth * g.a_depth]);
#pragma unroll
      for (int j = 0; j < COLUMNS_OF_WARP; j++) sums[row][j] = fmaf(left, right[j], sums[row][j]);
    }
  }
  // Every lane gets all sums, and each finishes one element.
  float x[1] = {0.0f};
#pragma unroll
  for (int row = 0; row < ROWS; row++)
#pragma unroll
    for (int j = 0; j < COLUMNS_OF_WARP; j++) {
      const float sum = warp_sum(sums[row][j]);
      if (lane == row * COLUMNS_OF_WARP + j) x[0] = sum;
    }
  const int64_t row = lane / COLUMNS_OF_WARP, column = first + lane % COLUMNS_OF_WARP;
  if (row < g.m && column < g.n) finish(finished_matrix<sizeof(T) == 2>(g.finish, batch), row, column, 1, x);
}

}}  // namespace heddle::cuda
