// Tiles of bf16 in shared memory, and the pieces of them that tensor cores multiply.
//
// mma.m16n8k16 (PTX ISA 9.7.14.5.8) spreads its matrices over a warp, two neighbouring elements to a register. With
// lane = 4 g + c, g from 0 to 7 and c from 0 to 3:
//   a [16][16]  a[0]: row g, columns 2c and 2c + 1;  a[1]: row g + 8;  a[2], a[3]: the same rows, columns 8 further
//   b [16][8]   b0: column g, rows 2c and 2c + 1;  b1: rows 8 further
//   d [16][8]   d[0], d[1]: row g, columns 2c and 2c + 1;  d[2], d[3]: row g + 8
// So the d of two neighbouring products, side by side, is laid out as one a: weights of attention go from one product into
// the next without leaving their registers.
// ldmatrix (PTX ISA 9.7.14.5.15) gives the lane elements 2c and 2c + 1 of row g of an 8 x 8 matrix, or transposed those of
// column g; lane 8 m + i has the address of row i of matrix m.
#pragma once
#include "device.h"
#include "ptx.h"

namespace heddle { namespace cuda {

// Rows of a tile lie 8 elements further apart than they are wide, a multiple of 32: eight neighbouring rows, as ldmatrix reads
// them, then fall on different banks.
template <int WIDTH>
constexpr int ROW_STEP = WIDTH + 8;

// Where the lane's row or column of a fragment begins and which elements of it the lane has: g and 2 c above.
HEDDLE_DEVICE int fragment_row() { return int(threadIdx.x) % LANES / 4; }
HEDDLE_DEVICE int fragment_column() { return int(threadIdx.x) % 4 * 2; }

// a[i][k] = tile[i][k] for 16 rows and 16 columns from where `tile` points.
template <int WIDTH>
HEDDLE_DEVICE void load_a(uint32_t (&a)[4], const bf16* tile) {
  const int lane = threadIdx.x % LANES;
  load_matrices(a, tile + lane % 16 * ROW_STEP<WIDTH> + lane / 16 * 8);
}
// Two b side by side: b[k][j] = tile[j][k] for 16 rows j; their registers are b[0], b[1] and b[2], b[3].
template <int WIDTH>
HEDDLE_DEVICE void load_b(uint32_t (&b)[4], const bf16* tile) {
  const int lane = threadIdx.x % LANES;
  load_matrices(b, tile + (lane % 8 + lane / 16 * 8) * ROW_STEP<WIDTH> + lane / 8 % 2 * 8);
}
// Two b side by side: b[k][j] = tile[k][j] for 16 columns j.
template <int WIDTH>
HEDDLE_DEVICE void load_b_transposed(uint32_t (&b)[4], const bf16* tile) {
  const int lane = threadIdx.x % LANES;
  load_matrices_transposed(b, tile + lane % 16 * ROW_STEP<WIDTH> + lane / 16 * 8);
}

// sum[m][n] += a[m] b[n], for M blocks of 16 rows of a and N blocks of 8 rows of b, over all columns of both.
template <int M, int N, int WIDTH>
HEDDLE_DEVICE void multiply_rows(float (&sum)[M][N][4], const bf16* a, const bf16* b) {
  static_assert(N % 2 == 0, "fragments of b are loaded in pairs");
#pragma unroll
  for (int k = 0; k < WIDTH; k += 16) {
    uint32_t x[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) load_a<WIDTH>(x[m], a + 16 * m * ROW_STEP<WIDTH> + k);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t y[4];
      load_b<WIDTH>(y, b + 8 * n * ROW_STEP<WIDTH> + k);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma_bf16(sum[m][n], x[m], y[0], y[1]);
        mma_bf16(sum[m][n + 1], x[m], y[2], y[3]);
      }
    }
  }
}

// sum[m][n] += weights[m] tile[n], for weights that K earlier products left in their registers (rounded to bf16 here), 8 rows
// of the tile for each, and N blocks of 8 columns of the tile.
template <int M, int N, int K, int WIDTH>
HEDDLE_DEVICE void multiply_weights(float (&sum)[M][N][4], const float (&weights)[M][K][4], const bf16* tile) {
  static_assert(N % 2 == 0 && K % 2 == 0, "fragments of b are loaded in pairs");
#pragma unroll
  for (int k = 0; k < K; k += 2) {
    uint32_t x[M][4];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        x[m][i] = pack_bf16(weights[m][k + i / 2][i % 2 * 2], weights[m][k + i / 2][i % 2 * 2 + 1]);
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t y[4];
      load_b_transposed<WIDTH>(y, tile + 8 * k * ROW_STEP<WIDTH> + 8 * n);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma_bf16(sum[m][n], x[m], y[0], y[1]);
        mma_bf16(sum[m][n + 1], x[m], y[2], y[3]);
      }
    }
  }
}

}}  // namespace heddle::cuda
