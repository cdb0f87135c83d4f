// What the kernels of attention on tensor cores share: copies of rows between heads and tiles, and dropout in the layout of
// fragments. A block has four warps; each has M times 16 rows of the tile that stays, and all rows of those that pass.
#pragma once
#include "attention.h"
#include "fragments.h"

namespace heddle { namespace cuda {

constexpr int TENSOR_WARPS = 4, TENSOR_THREADS = TENSOR_WARPS * LANES;
constexpr int PIECE = 8;  // elements in 16 bytes

// Begins to copy `count` rows of `columns` elements to a tile of ROWS x WIDTH, which zeros fill up. commit_copies,
// wait_for_copies and a barrier must follow.
template <int ROWS, int WIDTH, typename RowAt>
HEDDLE_DEVICE void copy_rows(bf16* tile, int count, int columns, const RowAt& row_at) {
  constexpr int PIECES = WIDTH / PIECE;
#pragma unroll
  for (int first = 0; first < ROWS * PIECES; first += TENSOR_THREADS) {
    const int index = first + int(threadIdx.x), row = index / PIECES, column = index % PIECES * PIECE;
    const bool is_there = row < count && column < columns;
    copy_async(tile + row * ROW_STEP<WIDTH> + column, row_at(is_there ? row : 0) + (is_there ? column : 0), is_there);
  }
}

// Writes a warp's accumulators, by way of its own rows of a tile, to `count` rows of `columns` elements. Only this warp may have
// used those rows since the last barrier.
template <int M, int WIDTH, typename RowAt>
HEDDLE_DEVICE void write_rows(bf16* tile, const float (&x)[M][WIDTH / 8][4], int count, int columns, const RowAt& row_at) {
  constexpr int PIECES = WIDTH / PIECE;
  __syncwarp();
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < WIDTH / 8; n++)
#pragma unroll
      for (int half = 0; half < 2; half++) {
        bf16* const to = tile + (16 * m + fragment_row() + 8 * half) * ROW_STEP<WIDTH> + 8 * n + fragment_column();
        *reinterpret_cast<uint32_t*>(to) = pack_bf16(x[m][n][2 * half], x[m][n][2 * half + 1]);
      }
  __syncwarp();
#pragma unroll 2
  for (int index = threadIdx.x % LANES; index < 16 * M * PIECES; index += LANES) {
    const int row = index / PIECES, column = index % PIECES * PIECE;
    if (row < count && column < columns)
      *reinterpret_cast<uint4*>(row_at(row) + column) =
          *reinterpret_cast<const uint4*>(tile + row * ROW_STEP<WIDTH> + column);
  }
}

// Which weights of 16 rows and N blocks of 8 columns dropout keeps: at(n, i) is that of element i of fragment n. One draw is for
// four neighbouring keys, so the lanes that hold these each draw for another of their queries, and they exchange the bits.
template <Side ROWS, int N>
struct Kept;

// Rows are queries from number `query` on, columns keys: two lanes share four keys of two rows.
template <int N>
struct Kept<QUERIES, N> {
  uint32_t words[2];
  __device__ __forceinline__ Kept(const Draws& draws, int64_t query, int key) {
    const int lane = threadIdx.x % LANES;
    uint32_t own = 0;
#pragma unroll 1
    for (int n = 0; n < N; n++)
      own |= draws.keeps(query + fragment_row() + lane % 2 * 8, key / 4 + 2 * n + lane % 4 / 2) << 4 * n;
#pragma unroll
    for (int half = 0; half < 2; half++) words[half] = __shfl_sync(ALL_LANES, own, (lane & ~1) | half) >> lane % 2 * 2;
  }
  __device__ __forceinline__ bool at(int n, int i) const { return words[i / 2] >> (4 * n + i % 2) & 1; }
};
// Rows are keys, columns queries: four lanes share four keys, and again four 8 rows below, of two columns.
template <int N>
struct Kept<KEYS, N> {
  uint32_t words[4];
  __device__ __forceinline__ Kept(const Draws& draws, int64_t query, int key) {
    const int lane = threadIdx.x % LANES, turn = lane / 4 % 4;
    uint32_t own = 0;
#pragma unroll 1
    for (int n = 0; n < N; n++)
      own |= draws.keeps(query + 8 * n + fragment_column() + turn % 2, key / 4 + turn / 2 * 2 + lane / 16) << 4 * n;
#pragma unroll
    for (int i = 0; i < 4; i++) words[i] = __shfl_sync(ALL_LANES, own, (lane & ~12) | i << 2) >> turn;
  }
  __device__ __forceinline__ bool at(int n, int i) const { return words[i] >> 4 * n & 1; }
};

}}  // namespace heddle::cuda
