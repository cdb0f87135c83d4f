// y = epilogue(a b + bias + addend) for every matrix of a batch, in float32: 2 M N K flops.
// A block makes a tile of y (gemm.h) and finishes it on its way to memory; where tiles are too few to fill the GPU, as
// of weight gradients, K is split too: the parts are kept in the workspace, and a second kernel adds them in order.
// At most 8 rows read b once, as fast as memory goes (thin.h). Which way is taken, and with it the order of every sum,
// depends on the shapes and, for thin products, on the axis that b is contiguous along: never on the GPU or on time.
#include "gemm.h"
#include "thin.h"

namespace heddle { namespace cuda {
namespace {

// Two blocks on each of the 132 multiprocessors of an H100 or H200: a larger GPU is filled nearly as well.
constexpr int64_t FILLING_LARGE_TILES = 264, FILLING_SMALL_TILES = 528;
constexpr int64_t ENOUGH_LARGE_TILES = 96;  // from here on a large tile's speed outweighs idle multiprocessors
// A part of K shorter than this costs more to add up than it gains.
constexpr int64_t LEAST_LARGE_DEPTH = 512, LEAST_SMALL_DEPTH = 256;
constexpr int64_t MOST_SPLITS = 32;
constexpr int64_t MOST_DEPTH = 1 << 30;

struct Extents {
  int64_t batches, m, n, k;
};
Extents extents_of(const Call& call) {
  const Operand &a = call.in[0], &b = call.in[1];
  return {extent_of(a, 0, a.rank - 2), a.shape[a.rank - 2], b.shape[b.rank - 1], a.shape[a.rank - 1]};
}

// How a product is computed.
struct Plan {
  bool is_thin, is_large;
  int64_t row_tiles, column_tiles;  // of one matrix
  int64_t splits, split_depth;

  explicit Plan(const Extents& e) : is_thin(e.m <= MOST_THIN_ROWS && (e.k <= 2048 || e.k <= 16 * e.n)), splits(1) {
    const auto try_tiles = [&](int64_t rows, int64_t columns, int64_t filling, int64_t least_depth) {
      row_tiles = divide_up(e.m, rows), column_tiles = divide_up(e.n, columns);
      const int64_t tiles = e.batches * row_tiles * column_tiles;
      splits = min(min(filling / max(tiles, int64_t(1)), e.k / least_depth), MOST_SPLITS);
      splits = max(splits, int64_t(1));
      return tiles * splits;
    };
    is_large = try_tiles(LargeTile::BLOCK_ROWS, LargeTile::BLOCK_COLUMNS, FILLING_LARGE_TILES, LEAST_LARGE_DEPTH) >=
               ENOUGH_LARGE_TILES;
    if (!is_large)
      try_tiles(SmallTile::BLOCK_ROWS, SmallTile::BLOCK_COLUMNS, FILLING_SMALL_TILES, LEAST_SMALL_DEPTH);
    split_depth = divide_up(divide_up(e.k, splits), CHUNK) * CHUNK;
    splits = max(divide_up(e.k, max(split_depth, int64_t(1))), int64_t(1));  // none of them is empty
    if (is_thin) splits = 1;
  }
};

// Adds up the parts of K, in order, and finishes their sums. A thread takes every (grid x block)-th element.
__global__ void add_splits(Multiplication g, const float* parts, unsigned batches) {
  const unsigned size = unsigned(g.m) * unsigned(g.n);
  for_elements(int64_t(batches) * size, [&](int64_t i) {
    const unsigned batch = unsigned(i) / size, within = unsigned(i) % size, n = unsigned(g.n);
    const float* part = parts + int64_t(batch) * g.splits * size + within;
    float x[1] = {0.0f};
#pragma unroll 4
    for (unsigned split = 0; split < g.splits; split++) x[0] += part[int64_t(split) * size];
    finish(finished_matrix(g.finish, batch), within / n, within % n, 1, x);
  });
}

// Whether 16 bytes along `axis` can be copied at once wherever a multiple of 4 elements begins.
bool is_vectorable(const Operand& operand, int axis) {
  if (reinterpret_cast<uintptr_t>(operand.data) % 16 || operand.shape[axis] % VECTOR || operand.stride[axis] != 1)
    return false;
  for (int other = 0; other < operand.rank; other++)
    if (other != axis && operand.stride[other] % VECTOR) return false;
  return true;
}

typedef void (*MultiplyKernel)(Multiplication);

template <typename Shape>
MultiplyKernel tile_kernel(const Multiplication& g) {
  const bool a = is_vectorable(g.a, g.a.rank - 2), b = is_vectorable(g.b, g.b.rank - 1);
  return a ? b ? multiply_tiles<Shape, true, true> : multiply_tiles<Shape, true, false>
           : b ? multiply_tiles<Shape, false, true> : multiply_tiles<Shape, false, false>;
}

template <int ROWS>
MultiplyKernel thin_kernel(bool by_depth) {
  return by_depth ? multiply_thin_by_depth<ROWS> : multiply_thin_by_columns<ROWS>;
}

Status multiply_thin(Multiplication& g, int64_t batches, Stream stream) {
  const bool by_depth = g.b_depth == 1 && g.b_column != 1 && g.n > 1;
  const MultiplyKernel kernel = g.m == 1   ? thin_kernel<1>(by_depth)
                                : g.m == 2 ? thin_kernel<2>(by_depth)
                                : g.m <= 4 ? thin_kernel<4>(by_depth)
                                           : thin_kernel<MOST_THIN_ROWS>(by_depth);
  g.column_tiles = unsigned(divide_up(g.n, by_depth ? THIN_WARPS * COLUMNS_OF_WARP : LANES));
  const int warps = by_depth ? THIN_WARPS : SHARING_WARPS;
  return launch(kernel, dim3(unsigned(batches) * g.column_tiles), dim3(LANES * warps), 0, stream, g);
}

}  // namespace

int64_t matmul_workspace(const Call& call) {
  const Extents e = extents_of(call);
  const Plan plan(e);
  return plan.splits > 1 ? e.batches * plan.splits * e.m * e.n * int64_t(sizeof(float)) : 0;
}

Status matmul(const Call& call, Stream stream) {
  const Extents e = extents_of(call);
  if (e.batches * e.m * e.n == 0) return cudaSuccess;
  if (e.k > MOST_DEPTH) return cudaErrorInvalidValue;
  const Plan plan(e);
  const Operand &a = call.in[0], &b = call.in[1];
  Multiplication g = {};
  g.a = a, g.b = b, g.finish = finish_of(call), g.m = e.m, g.n = e.n, g.k = e.k;
  g.a_row = a.stride[a.rank - 2], g.a_depth = a.stride[a.rank - 1];
  g.b_depth = b.stride[b.rank - 2], g.b_column = b.stride[b.rank - 1];
  g.split_depth = int(plan.split_depth), g.splits = unsigned(plan.splits);
  g.row_tiles = unsigned(plan.row_tiles), g.column_tiles = unsigned(plan.column_tiles);
  if (plan.is_thin) return multiply_thin(g, e.batches, stream);

  const MultiplyKernel kernel = plan.is_large ? tile_kernel<LargeTile>(g) : tile_kernel<SmallTile>(g);
  const dim3 grid(unsigned(e.batches * plan.splits * plan.row_tiles * plan.column_tiles));
  const dim3 block(plan.is_large ? LargeTile::BLOCK_THREADS : SmallTile::BLOCK_THREADS);
  if (plan.splits == 1) return launch(kernel, grid, block, 0, stream, g);
  Multiplication parts = g;
  parts.finish = {};
  parts.finish.y = {call.context->workspace, F32, 3, {e.batches * plan.splits, e.m, e.n}, {e.m * e.n, e.n, 1}};
  const Status status = launch(kernel, grid, block, 0, stream, parts);
  if (status != cudaSuccess) return status;
  return launch(add_splits, blocks_for(e.batches * e.m * e.n), dim3(THREADS), 0, stream, g,
                static_cast<const float*>(call.context->workspace), unsigned(e.batches));
}

}}  // namespace heddle::cuda
