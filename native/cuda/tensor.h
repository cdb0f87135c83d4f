// Tiles of a matrix product on tensor cores: bf16 operands, or float32 ones rounded to tf32, with float32 sums.
//
// A block makes one tile of y from chunks of 64 bytes of K that cp.async brings to shared memory 16 bytes (a unit) at a time,
// three chunks on their way while one is multiplied. An operand lies there as it lies in memory, with units of K or of lines
// (rows of a, columns of b); ldmatrix turns what has to be turned. Units are permuted within their row of shared memory so
// that neither copies nor the eight rows of a matrix meet on a bank. A warp has 64 x 64, 64 x 32 or 32 x 32 sums in
// registers: 16 products of 16 x 8 x 16 for 6 loads of matrices. Operands without units of 16 bytes are gathered one element
// at a time, by ordinary loads.
#pragma once
#include "gemm.h"

namespace heddle { namespace cuda {

constexpr int UNIT_BYTES = 16, UNITS_DEEP = 4;  // of a chunk
constexpr int STAGES = 4;                       // chunks in shared memory

// ROW_WARPS x COLUMN_WARPS warps of 16 ROW_PARTS x 16 COLUMN_PARTS sums each.
template <int ROW_WARPS, int COLUMN_WARPS_, int ROW_PARTS_, int COLUMN_PARTS_, int BLOCKS>
struct TensorShape {
  static constexpr int COLUMN_WARPS = COLUMN_WARPS_, ROW_PARTS = ROW_PARTS_, COLUMN_PARTS = COLUMN_PARTS_;
  static constexpr int BLOCK_ROWS = 16 * ROW_WARPS * ROW_PARTS, BLOCK_COLUMNS = 16 * COLUMN_WARPS * COLUMN_PARTS;
  static constexpr int BLOCK_THREADS = LANES * ROW_WARPS * COLUMN_WARPS, BLOCKS_AT_ONCE = BLOCKS;
  static constexpr int SHARED_BYTES = STAGES * (BLOCK_ROWS + BLOCK_COLUMNS) * UNITS_DEEP * UNIT_BYTES;
};
typedef TensorShape<2, 4, 4, 4, 1> WideTensorTile;   // 128 x 256 by 256 threads
typedef TensorShape<2, 4, 4, 2, 2> LargeTensorTile;  // 128 x 128 by 256 threads
typedef TensorShape<2, 4, 4, 2, 1> LargeTf32Tile;    // the same: b that lies along lines needs more addresses
typedef TensorShape<2, 2, 2, 2, 4> SmallTensorTile;  // 64 x 64 by 128 threads

// The kernel for an operand dtype (BF16, or F32 as tf32), a MatmulTile and the layouts. Only the small bf16 tile can gather.
MultiplyKernel tensor_kernel(int dtype, int tile, bool is_gathered, bool a_by_depth, bool b_by_depth);

// Where a chunk of LINES lines of one operand lies in shared memory, and how fragments are read from there.
template <typename T, int LINES, bool BY_DEPTH>
struct Panel {
  static constexpr int UNIT = UNIT_BYTES / int(sizeof(T)), DEPTH = UNIT * UNITS_DEEP, UNITS = LINES * UNITS_DEEP;

  // The unit with element (line, depth).
  __device__ static int place(int line, int depth) {
    if (BY_DEPTH) return line * UNITS_DEEP + (depth / UNIT ^ (line / 2 & 3));
    // Of 4 bytes a fragment takes 4 depths of 2 units, of 2 bytes a matrix has 8 depths of 1.
    return depth * (LINES / UNIT) + (line / UNIT ^ (sizeof(T) == 4 ? (depth & 3) * 2 : depth & 7));
  }
  __device__ static const T* element(const uint4* panel, int line, int depth) {
    return reinterpret_cast<const T*>(panel + place(line, depth)) + (BY_DEPTH ? depth : line) % UNIT;
  }

  // Four matrices of 8 lines by a unit of K each: lines line + 8 (m % 2) and depths depth + UNIT (m / 2) where
  // LINES_FIRST, else the other way round. These are the registers of one a, or of two b.
  template <bool LINES_FIRST>
  __device__ static void load(uint32_t (&r)[4], const uint4* panel, int line, int depth) {
    const int lane = threadIdx.x % LANES, matrix = lane / 8;
    const int next_line = LINES_FIRST ? matrix % 2 : matrix / 2, next_depth = LINES_FIRST ? matrix / 2 : matrix % 2;
    if (sizeof(T) == 4 && !BY_DEPTH) {  // ldmatrix would tear numbers of 4 bytes apart
#pragma unroll
      for (int i = 0; i < 4; i++)
        r[i] = *reinterpret_cast<const uint32_t*>(element(panel, line + 8 * (LINES_FIRST ? i % 2 : i / 2) + lane / 4,
                                                          depth + UNIT * (LINES_FIRST ? i / 2 : i % 2) + lane % 4));
    } else if (BY_DEPTH) {
      load_matrices(r, panel + place(line + 8 * next_line + lane % 8, depth + UNIT * next_depth));
    } else {
      load_matrices_transposed(r, panel + place(line + 8 * next_line, depth + UNIT * next_depth + lane % 8));
    }
    if (sizeof(T) == 4)
#pragma unroll
      for (int i = 0; i < 4; i++) r[i] = to_tf32(__uint_as_float(r[i]));
  }
};

HEDDLE_DEVICE void multiply_parts(bf16, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma_bf16(d, a, b0, b1);
}
HEDDLE_DEVICE void multiply_parts(float, float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  mma_tf32(d, a, b0, b1);
}

// This thread's share in bringing chunks of one operand to shared memory.
template <typename T, int LINES, bool BY_DEPTH, int BLOCK_THREADS, bool GATHERED>
struct PanelLoader {
  typedef Panel<T, LINES, BY_DEPTH> To;
  static constexpr int COPIES = To::UNITS / BLOCK_THREADS, ROW_UNITS = BY_DEPTH ? UNITS_DEEP : LINES / To::UNIT;
  static constexpr int STEP = BLOCK_THREADS / ROW_UNITS;  // from one copy's line (by lines: depth) to the next one's
  static_assert(To::UNITS % BLOCK_THREADS == 0 && BLOCK_THREADS % ROW_UNITS == 0, "every thread has its column of units");
  const T* from;  // this thread's first element of the next chunk
  int lines;      // that exist from the thread's first on

  __device__ __forceinline__ PanelLoader(const T* origin, int64_t first_line, int64_t all_lines, int64_t line_stride,
                                         int64_t depth_stride) {
    from = origin + (first_line + line()) * line_stride + depth() * depth_stride;
    lines = int(min(max(all_lines - first_line - line(), int64_t(0)), int64_t(LINES)));
  }

  // The next chunk, of which `depths` exist; the rest becomes zero.
  __device__ __forceinline__ void copy_chunk(uint4* panel, int depths, int64_t line_stride, int64_t depth_stride) {
    const T* each = from;
    depths -= depth();
    // Of the last unit of a row only what exists: what lies behind it may be anything.
    const int bytes = min(BY_DEPTH ? max(depths, 0) : lines, To::UNIT) * int(sizeof(T));
#pragma unroll
    for (int i = 0; i < COPIES; i++) {
      const int line_step = BY_DEPTH ? i * STEP : 0, depth_step = BY_DEPTH ? 0 : i * STEP;
      uint4* const to = panel + To::place(line() + line_step, depth() + depth_step);
      if (GATHERED) gather(to, each, lines - line_step, depths - depth_step, line_stride, depth_stride);
      else copy_async_bytes(to, each, (BY_DEPTH ? lines > line_step : depths > depth_step) ? bytes : 0);
      each += BY_DEPTH ? STEP * line_stride : STEP * depth_stride;
    }
    from += To::DEPTH * depth_stride;
  }

 private:
  __device__ static int line() {
    return BY_DEPTH ? int(threadIdx.x) / ROW_UNITS : int(threadIdx.x) % ROW_UNITS * To::UNIT;
  }
  __device__ static int depth() {
    return BY_DEPTH ? int(threadIdx.x) % ROW_UNITS * To::UNIT : int(threadIdx.x) / ROW_UNITS;
  }

  __device__ static void gather(uint4* to, const T* each, int lines, int depths, int64_t line_stride,
                                int64_t depth_stride) {
    union {
      uint4 unit;
      T elements[To::UNIT];
    } gathered = {make_uint4(0, 0, 0, 0)};
#pragma unroll
    for (int i = 0; i < To::UNIT; i++)
      if (lines > (BY_DEPTH ? 0 : i) && depths > (BY_DEPTH ? i : 0))
        gathered.elements[i] = each[i * (BY_DEPTH ? depth_stride : line_stride)];
    *to = gathered.unit;
  }
};

template <typename T, typename Shape, bool A_BY_DEPTH, bool B_BY_DEPTH, bool GATHERED>
__global__ void __launch_bounds__(Shape::BLOCK_THREADS, Shape::BLOCKS_AT_ONCE) multiply_tensor_tiles(Multiplication g) {
  constexpr int ROW_PARTS = Shape::ROW_PARTS, COLUMN_PARTS = Shape::COLUMN_PARTS;
  typedef PanelLoader<T, Shape::BLOCK_ROWS, A_BY_DEPTH, Shape::BLOCK_THREADS, GATHERED> LoaderA;
  typedef PanelLoader<T, Shape::BLOCK_COLUMNS, B_BY_DEPTH, Shape::BLOCK_THREADS, GATHERED> LoaderB;
  typedef typename LoaderA::To PanelA;
  typedef typename LoaderB::To PanelB;
  constexpr int DEPTH = PanelA::DEPTH, STAGE_UNITS = PanelA::UNITS + PanelB::UNITS;
  SHARED_DYNAMIC(memory);
  uint4* const shared = reinterpret_cast<uint4*>(memory);

  const TileWork work(g);
  LoaderA a(matrix_of<T>(g.a, work.batch) + work.start * g.a_depth, int64_t(work.row_tile) * Shape::BLOCK_ROWS, g.m,
            g.a_row, g.a_depth);
  LoaderB b(matrix_of<T>(g.b, work.batch) + work.start * g.b_depth, int64_t(work.column_tile) * Shape::BLOCK_COLUMNS,
            g.n, g.b_column, g.b_depth);
  const auto copy = [&](int chunk) {
    const int depths = work.depths - chunk * DEPTH;
    uint4* const to = shared + chunk % STAGES * STAGE_UNITS;
    if (depths > 0) {
      a.copy_chunk(to, depths, g.a_row, g.a_depth);
      b.copy_chunk(to + PanelA::UNITS, depths, g.b_column, g.b_depth);
    }
    commit_copies();  // a group each time, if empty: waiting counts them
  };
#pragma unroll
  for (int chunk = 0; chunk < STAGES - 1; chunk++) copy(chunk);

  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES;
  const int warp_row = warp / Shape::COLUMN_WARPS * 16 * ROW_PARTS;
  const int warp_column = warp % Shape::COLUMN_WARPS * 16 * COLUMN_PARTS;
  float sums[ROW_PARTS][2 * COLUMN_PARTS][4] = {};
  for (int chunk = 0; chunk * DEPTH < work.depths; chunk++) {
    wait_for_copies<STAGES - 2>();
    __syncthreads();  // everybody's copies have landed, and nobody reads the chunk before any more
    copy(chunk + STAGES - 1);
    const uint4* const stage = shared + chunk % STAGES * STAGE_UNITS;
#pragma unroll
    for (int depth = 0; depth < DEPTH; depth += DEPTH / 2) {
      uint32_t left[ROW_PARTS][4], right[COLUMN_PARTS][4];
#pragma unroll
      for (int i = 0; i < ROW_PARTS; i++) PanelA::template load<true>(left[i], stage, warp_row + 16 * i, depth);
#pragma unroll
      for (int j = 0; j < COLUMN_PARTS; j++)
        PanelB::template load<false>(right[j], stage + PanelA::UNITS, warp_column + 16 * j, depth);
#pragma unroll
      for (int i = 0; i < ROW_PARTS; i++)
#pragma unroll
        for (int j = 0; j < 2 * COLUMN_PARTS; j++)
          multiply_parts(T(), sums[i][j], left[i], right[j / 2][j % 2 * 2], right[j / 2][j % 2 * 2 + 1]);
    }
  }
  wait_for_copies<0>();
  __syncthreads();

  // Through shared memory, 32 rows of the warp's part at a time, a lane comes to the elements of one column: memory is
  // then written and read along rows, and the code of the activations is there once. The padding keeps the four rows of
  // half a warp on different banks.
  constexpr int STRIP_ROWS = 32, STRIP_COLUMNS = 16 * COLUMN_PARTS, PITCH = STRIP_COLUMNS + 8, AT_ONCE = 4;
  constexpr int STRIPS = ROW_PARTS / 2, LANE_COLUMNS = STRIP_COLUMNS / LANES;
  static_assert(STRIPS * 2 == ROW_PARTS && STRIPS <= 2, "the parts of a warp are one strip or two");
  static_assert(STRIP_ROWS * PITCH * 4 * (Shape::BLOCK_THREADS / LANES) <= Shape::SHARED_BYTES,
                "the warps' strips must fit where the chunks were");
  float* const strip = reinterpret_cast<float*>(memory) + warp * STRIP_ROWS * PITCH;
  const auto finished = finished_matrix<sizeof(T) == 2>(g.finish, work.matrix);
#pragma unroll 1
  for (int part = 0; part < STRIPS; part++) {
#pragma unroll
    for (int i = 0; i < 2; i++)
#pragma unroll
      for (int j = 0; j < 2 * COLUMN_PARTS; j++) {
        const float *const low = sums[i][j], *const high = sums[i + ROW_PARTS - 2][j];
        float* const to = strip + (16 * i + lane / 4) * PITCH + 8 * j + lane % 4 * 2;
        *reinterpret_cast<float2*>(to) = make_float2(part ? high[0] : low[0], part ? high[1] : low[1]);
        *reinterpret_cast<float2*>(to + 8 * PITCH) = make_float2(part ? high[2] : low[2], part ? high[3] : low[3]);
      }
    __syncwarp();
#pragma unroll 1
    for (int step = 0; step < STRIP_ROWS / AT_ONCE * LANE_COLUMNS; step++) {
      const int row = step / LANE_COLUMNS * AT_ONCE, column = step % LANE_COLUMNS * LANES + lane;
      float x[AT_ONCE];
#pragma unroll
      for (int i = 0; i < AT_ONCE; i++) x[i] = strip[(row + i) * PITCH + column];
      const int64_t y_row = int64_t(work.row_tile) * Shape::BLOCK_ROWS + warp_row + part * STRIP_ROWS + row;
      const int64_t y_column = int64_t(work.column_tile) * Shape::BLOCK_COLUMNS + warp_column + column;
      if (y_column < g.n && y_row < g.m) finish(finished, y_row, y_column, int(min(g.m - y_row, int64_t(AT_ONCE))), x);
    }
    __syncwarp();
  }
}

}}  // namespace heddle::cuda
