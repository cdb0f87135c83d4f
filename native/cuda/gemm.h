// Tiles of a matrix product in float32, for any strides.
//
// A block makes one tile of y, 128 x 128 or 64 x 64, from chunks of 8 of K that cp.async brings to shared memory, three
// of them on their way while one is multiplied. There both operands lie [depth][line], a line being a row of a or a
// column of b. What is contiguous along lines comes 16 bytes at a time; everything else 4 bytes at a time, so that a
// transposition costs no registers: neighbouring threads follow whichever axis is contiguous, and the pitch keeps them
// on different banks. A thread keeps 8 x 8 (8 x 4) sums in registers: 64 FMA for 4 loads of 16 bytes from shared
// memory, none of which conflict.
#pragma once
#include "epilogue.h"
#include "ptx.h"

namespace heddle { namespace cuda {

struct Multiplication;
typedef void (*MultiplyKernel)(Multiplication);

struct Multiplication {
  Operand a, b;
  int64_t a_row, a_depth, b_depth, b_column;  // their strides
  Finish finish;          // with splits its y is the workspace: `splits` matrices for each of a batch
  int64_t m, n, k;
  int split_depth;        // the part of K that each split adds up
  unsigned splits;
  unsigned row_tiles, column_tiles;
};

// What a block has to do. Tiles follow each other down a group of 8 rows of tiles, then in the next column: those at work at
// once share operands.
struct TileWork {
  unsigned row_tile, column_tile;
  unsigned matrix;       // of the batch and, with splits, the part of K
  int64_t batch, start;  // of K
  int depths;

  __device__ __forceinline__ explicit TileWork(const Multiplication& g) {
    constexpr unsigned GROUP = 8;
    const unsigned tiles = g.row_tiles * g.column_tiles, tile = blockIdx.x % tiles;
    const unsigned group_row = tile / (GROUP * g.column_tiles) * GROUP, within = tile % (GROUP * g.column_tiles);
    const unsigned group_rows = min(GROUP, g.row_tiles - group_row);
    row_tile = group_row + within % group_rows, column_tile = within / group_rows;
    matrix = blockIdx.x / tiles;
    batch = matrix / g.splits, start = int64_t(matrix % g.splits) * g.split_depth;
    depths = int(min(int64_t(g.split_depth), g.k - start));
  }
};

// A warp makes 32 rows and 32 WARP_PARTS columns of its block's tile.
template <int WARP_ROWS, int WARP_COLUMNS, int WARP_PARTS, int BLOCKS>
struct TileShape {
  static constexpr int PARTS = WARP_PARTS, COLUMN_WARPS = WARP_COLUMNS;
  static constexpr int BLOCK_ROWS = 32 * WARP_ROWS, BLOCK_COLUMNS = 32 * WARP_COLUMNS * WARP_PARTS;
  static constexpr int BLOCK_THREADS = LANES * WARP_ROWS * WARP_COLUMNS;
  static constexpr int BLOCKS_AT_ONCE = BLOCKS;  // on a multiprocessor: bounds the registers
};
typedef TileShape<4, 2, 2, 2> LargeTile;  // 128 x 128 by 256 threads
typedef TileShape<2, 2, 1, 4> SmallTile;  // 64 x 64 by 128 threads

constexpr int CHUNK = 8;           // of K
constexpr int CHUNKS_AT_ONCE = 4;  // in shared memory
constexpr int PITCH_PADDING = 4;   // floats: 8 depths of 4 lines then lie on 32 banks
constexpr int VECTOR = 4;          // floats of 16 bytes

// This thread's share in bringing chunks of one operand, LINES x CHUNK each, to shared memory. What can be had again
// from the thread's number and the kernel's parameters is not kept: the sums need the registers.
template <int LINES, int BLOCK_THREADS, bool IN_VECTORS>
struct Loader {
  static constexpr int PITCH = LINES + PITCH_PADDING, WIDTH = IN_VECTORS ? VECTOR : 1;
  static constexpr int COPIES = LINES * CHUNK / BLOCK_THREADS / WIDTH;
  const float* from;  // this thread's first element of the next chunk
  unsigned existing;  // bit i: the line of copy i exists

  __device__ __forceinline__ Loader(const float* origin, int64_t first_line, int64_t all_lines, int64_t line_stride,
                                    int64_t depth_stride) {
    const Share share(line_stride, depth_stride);
    from = origin + (first_line + share.line) * line_stride + share.depth * depth_stride;
    existing = 0;
#pragma unroll
    for (int i = 0; i < COPIES; i++)
      if (first_line + share.line + i * share.line_step < all_lines) existing |= 1u << i;
  }

  // The next chunk, of which `depths` exist; the rest becomes zero.
  __device__ __forceinline__ void copy_chunk(float* to, int depths, int64_t line_stride, int64_t depth_stride) {
    const Share share(line_stride, depth_stride);
    const float* each = from;
    to += share.depth * PITCH + share.line;
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
      const bool present = (existing >> i & 1) && share.depth + i * share.depth_step < depths;
      if (IN_VECTORS) copy_async(to, each, present);
      else copy_async_word(to, each, present);
      to += share.depth_step * PITCH + share.line_step;
      each += share.line_step * line_stride + share.depth_step * depth_stride;
    }
    from += CHUNK * depth_stride;
  }

 private:
  // Which elements of a chunk are this thread's: the first, and the step from one to the next.
  struct Share {
    int line, depth, line_step, depth_step;
    __device__ __forceinline__ Share(int64_t line_stride, int64_t depth_stride) {
      const int thread = threadIdx.x;
      const bool by_depth = !IN_VECTORS && line_stride > depth_stride;
      line = by_depth ? thread / CHUNK : thread % (LINES / WIDTH) * WIDTH;
      depth = by_depth ? thread % CHUNK : thread / (LINES / WIDTH);
      line_step = by_depth ? BLOCK_THREADS / CHUNK : 0;
      depth_step = by_depth ? 0 : BLOCK_THREADS / (LINES / WIDTH);
    }
  };
};

HEDDLE_DEVICE void load_vector(const float* from, float* to) {
  const float4 v = *reinterpret_cast<const float4*>(from);
  to[0] = v.x, to[1] = v.y, to[2] = v.z, to[3] = v.w;
}

template <typename Shape, bool A_IN_VECTORS, bool B_IN_VECTORS>
__global__ void __launch_bounds__(Shape::BLOCK_THREADS, Shape::BLOCKS_AT_ONCE) multiply_tiles(Multiplication g) {
  constexpr int PARTS = Shape::PARTS, ROWS = 8, COLUMNS = 4 * PARTS;
  typedef Loader<Shape::BLOCK_ROWS, Shape::BLOCK_THREADS, A_IN_VECTORS> LoaderA;
  typedef Loader<Shape::BLOCK_COLUMNS, Shape::BLOCK_THREADS, B_IN_VECTORS> LoaderB;
  constexpr int A_SIZE = LoaderA::PITCH * CHUNK, STAGE_SIZE = A_SIZE + LoaderB::PITCH * CHUNK;
  SHARED_ARRAY(float4, memory, [CHUNKS_AT_ONCE * STAGE_SIZE / VECTOR]);
  float* const shared = reinterpret_cast<float*>(memory);

  const TileWork work(g);
  const unsigned row_tile = work.row_tile, column_tile = work.column_tile, matrix = work.matrix;
  const int64_t batch = work.batch, start = work.start;
  const int all_depths = work.depths;

  const float *const a_matrix = matrix_of<float>(g.a, batch), *const b_matrix = matrix_of<float>(g.b, batch);
  LoaderA a(a_matrix + start * g.a_depth, int64_t(row_tile) * Shape::BLOCK_ROWS, g.m, g.a_row, g.a_depth);
  LoaderB b(b_matrix + start * g.b_depth, int64_t(column_tile) * Shape::BLOCK_COLUMNS, g.n, g.b_column, g.b_depth);
  const auto copy = [&](int chunk) {
    const int depths = all_depths - chunk * CHUNK;
    float* const to = shared + chunk % CHUNKS_AT_ONCE * STAGE_SIZE;
    if (depths > 0) {
      a.copy_chunk(to, depths, g.a_row, g.a_depth);
      b.copy_chunk(to + A_SIZE, depths, g.b_column, g.b_depth);
    }
    commit_copies();  // a group each time, if empty: waiting counts them
  };
#pragma unroll
  for (int chunk = 0; chunk < CHUNKS_AT_ONCE - 1; chunk++) copy(chunk);

  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const int warp_row = warp / Shape::COLUMN_WARPS * 32, warp_column = warp % Shape::COLUMN_WARPS * 32 * PARTS;
  const int lane_row = lane / 8 * VECTOR, lane_column = lane % 8 * VECTOR;
  float sums[ROWS][COLUMNS] = {};
  for (int chunk = 0; chunk * CHUNK < all_depths; chunk++) {
    wait_for_copies<CHUNKS_AT_ONCE - 2>();
    __syncthreads();  // everybody's copies have landed, and nobody reads the chunk before any more
    copy(chunk + CHUNKS_AT_ONCE - 1);
    const float* const stage = shared + chunk % CHUNKS_AT_ONCE * STAGE_SIZE;
#pragma unroll
    for (int depth = 0; depth < CHUNK; depth++) {
      const float* const a_lines = stage + depth * LoaderA::PITCH + warp_row + lane_row;
      const float* const b_lines = stage + A_SIZE + depth * LoaderB::PITCH + warp_column + lane_column;
      float left[ROWS], right[COLUMNS];
#pragma unroll
      for (int i = 0; i < ROWS; i += VECTOR) load_vector(a_lines + i * 4, left + i);
#pragma unroll
      for (int j = 0; j < COLUMNS; j += VECTOR) load_vector(b_lines + j * 8, right + j);
#pragma unroll
      for (int i = 0; i < ROWS; i++)
#pragma unroll
        for (int j = 0; j < COLUMNS; j++) sums[i][j] = fmaf(left[i], right[j], sums[i][j]);
    }
  }
  wait_for_copies<0>();
  __syncthreads();

  // Through shared memory, 16 rows of the warp's part at a time, a lane comes to the elements of one column: memory is
  // then written and read along rows, and the code of the activations is there once.
  constexpr int STRIP_ROWS = 16, STRIP_COLUMNS = 32 * PARTS, AT_ONCE = 4;
  static_assert(STRIP_ROWS * STRIP_COLUMNS * (Shape::BLOCK_THREADS / LANES) <= CHUNKS_AT_ONCE * STAGE_SIZE,
                "the warps' strips must fit where the chunks were");
  float* const strip = shared + warp * STRIP_ROWS * STRIP_COLUMNS;
  const auto finished = finished_matrix<false>(g.finish, matrix);
#pragma unroll 1
  for (int half = 0; half < 2; half++) {
#pragma unroll
    for (int i = 0; i < ROWS / 2; i++)
#pragma unroll
      for (int j = 0; j < COLUMNS; j += VECTOR) {
        const float *const low = sums[i] + j, *const high = sums[i + ROWS / 2] + j;
        *reinterpret_cast<float4*>(strip + (lane_row + i) * STRIP_COLUMNS + lane_column + j * 8) =
            make_float4(half ? high[0] : low[0], half ? high[1] : low[1], half ? high[2] : low[2],
                        half ? high[3] : low[3]);
      }
    __syncwarp();
#pragma unroll 1
    for (int step = 0; step < STRIP_ROWS / AT_ONCE * PARTS; step++) {
      const int row = step / PARTS * AT_ONCE, column = step % PARTS * LANES + lane;
      float x[AT_ONCE];
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) x[i] = strip[(row + i) * STRIP_COLUMNS + column];
      const int64_t y_row = int64_t(row_tile) * Shape::BLOCK_ROWS + warp_row + half * STRIP_ROWS + row;
      const int64_t y_column = int64_t(column_tile) * Shape::BLOCK_COLUMNS + warp_column + column;
      if (y_column < g.n && y_row < g.m) finish(finished, y_row, y_column, int(min(g.m - y_row, int64_t(AT_ONCE))), x);
    }
    __syncwarp();
  }
}

}}  // namespace heddle::cuda
