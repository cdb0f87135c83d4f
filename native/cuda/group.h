// The threads that share a row: a warp where rows are short, so that a block has several, else a block.
#pragma once
#include "device.h"

namespace heddle { namespace cuda {

constexpr int64_t WARP_COLUMNS = 1024;  // rows up to here belong to a warp

struct WarpGroup {
  static constexpr int SIZE = LANES, THREADS = 256, ROWS = THREADS / LANES;
  static dim3 blocks(int64_t rows) {
    const int64_t blocks = divide_up(rows, ROWS);
    return dim3(unsigned(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS));
  }
  __device__ static int lane() { return threadIdx.x % LANES; }
  __device__ static int64_t first_row() { return int64_t(blockIdx.x) * ROWS + threadIdx.x / LANES; }
  __device__ static int64_t row_step() { return int64_t(gridDim.x) * ROWS; }
  __device__ static float sum(float x) { return warp_sum(x); }
  __device__ static float maximum(float x) { return warp_maximum(x); }
};

struct BlockGroup {
  static constexpr int SIZE = 256, THREADS = 256, ROWS = 1;
  static dim3 blocks(int64_t rows) { return dim3(unsigned(rows < MOST_BLOCKS ? rows : MOST_BLOCKS)); }
  __device__ static int lane() { return threadIdx.x; }
  __device__ static int64_t first_row() { return blockIdx.x; }
  __device__ static int64_t row_step() { return gridDim.x; }
  __device__ static float sum(float x) { return block_sum(x); }
  __device__ static float maximum(float x) { return block_maximum(x); }
};

// run(WarpGroup()) or run(BlockGroup()), whichever suits rows of so many columns.
template <typename Run>
Status with_group(int64_t columns, const Run& run) {
  return columns <= WARP_COLUMNS ? run(WarpGroup()) : run(BlockGroup());
}

}}  // namespace heddle::cuda
