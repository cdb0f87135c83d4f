// y = epilogue(a b + bias + addend) for every matrix of a batch, with float32 sums: 2 M N K flops.
// A block makes a tile of y and finishes it on its way to memory: on tensor cores (tensor.h) from bf16 and, where the session
// allows tf32, from float32; else exactly, in float32 (gemm.h). Where tiles are too few to fill the GPU, as of weight
// gradients, K is split too: the parts are kept in the workspace, and a second kernel adds them in order.
// At most 8 rows read b once, as fast as memory goes (thin.h). Which way is taken, and with it the order of every sum,
// depends on the shapes and on how the operands lie, or on the choice that is given: never on the GPU or on time.
#include "columns.h"
#include "cublas.h"
#include "gemm.h"
#include "kernels.h"
#include "tensor.h"
#include "thin.h"

namespace heddle { namespace cuda {
namespace {

constexpr int64_t MOST_SPLITS = 32;
constexpr int64_t MOST_DEPTH = 1 << 30;

struct Extents {
  int64_t batches, m, n, k;
};
Extents extents_of(const Call& call) {
  const Operand &a = call.in[0], &b = call.in[1];
  return {extent_of(a, 0, a.rank - 2), a.shape[a.rank - 2], b.shape[b.rank - 1], a.shape[a.rank - 1]};
}

// Whether 16 bytes along `axis` can be copied at once wherever a multiple of as many elements begins; the last of them may be
// fewer.
bool is_vectorable(const Operand& operand, int axis) {
  const int64_t elements = operand.dtype == BF16 ? 8 : 4;
  if (reinterpret_cast<uintptr_t>(operand.data) % 16 || operand.stride[axis] != 1) return false;
  for (int other = 0; other < operand.rank; other++)
    if (other != axis && operand.stride[other] % elements) return false;
  return true;
}

// One kind of kernel: its tiles, and when it is worth taking.
struct Tile {
  int rows, columns, threads, shared_bytes;
  int chunk;           // of K, which splits are made of
  int64_t filling;     // tiles that fill the 132 multiprocessors of an H100 or H200: a larger GPU is filled nearly as well
  int64_t enough;      // tiles from which on its speed outweighs idle multiprocessors
  int64_t least_depth; // a part of K shorter than this costs more to add up than it gains
};
template <typename Shape>
constexpr Tile exact_tile(int64_t enough, int64_t least_depth) {
  return {Shape::BLOCK_ROWS, Shape::BLOCK_COLUMNS, Shape::BLOCK_THREADS, 0, CHUNK, 132 * Shape::BLOCKS_AT_ONCE, enough,
          least_depth};
}
template <typename Shape>
constexpr Tile tensor_tile(int64_t enough, int64_t least_depth) {
  return {Shape::BLOCK_ROWS, Shape::BLOCK_COLUMNS, Shape::BLOCK_THREADS, Shape::SHARED_BYTES, 32,
          132 * Shape::BLOCKS_AT_ONCE, enough, least_depth};
}
// In the order of MatmulTile. Those of one kind of arithmetic stand together, the largest first.
constexpr Tile TILES[MATMUL_TILES] = {
    exact_tile<LargeTile>(96, 512),
    exact_tile<SmallTile>(0, 256),
    tensor_tile<WideTensorTile>(120, 1024),
    tensor_tile<LargeTensorTile>(96, 1024),
    tensor_tile<SmallTensorTile>(0, 512),
};
static_assert(132 * 2 == TILES[EXACT_LARGE].filling && 132 * 4 == TILES[EXACT_SMALL].filling, "as measured");

// How a product is computed.
struct Plan {
  bool is_thin, is_gathered = false;
  int tile = PLANNED_TILE;
  int64_t row_tiles = 0, column_tiles = 0;  // of one matrix
  int64_t splits = 1, split_depth = 0;

  explicit Plan(const Call& call) {
    const Extents e = extents_of(call);
    const MatmulContext& context = matmul_context(call);
    const Operand &a = call.in[0], &b = call.in[1];
    const bool by_units = (is_vectorable(a, a.rank - 1) || is_vectorable(a, a.rank - 2)) &&
                          (is_vectorable(b, b.rank - 1) || is_vectorable(b, b.rank - 2));
    const bool is_bf16 = a.dtype == BF16, on_tensor_cores = is_bf16 || (context.tf32 && by_units);
    is_thin = e.m <= MOST_THIN_ROWS && (e.k <= 2048 || e.k <= 16 * e.n);
    is_gathered = is_bf16 && !by_units;
    const int first = !on_tensor_cores ? EXACT_LARGE : is_bf16 ? TENSOR_WIDE : TENSOR_LARGE;
    const int last = on_tensor_cores ? TENSOR_SMALL : EXACT_SMALL;
    if (is_gathered) take(e, last);
    else if (context.choice.tile >= first && context.choice.tile <= last) take(e, context.choice.tile);
    else
      for (int each = first; each <= last; each++)
        if (take(e, each) >= TILES[each].enough) break;
    if (is_thin) splits = 1;
  }

  Tile shape() const { return TILES[tile]; }

 private:
  // How many blocks that makes.
  int64_t take(const Extents& e, int which) {
    tile = which;
    const Tile t = TILES[which];
    row_tiles = divide_up(e.m, t.rows), column_tiles = divide_up(e.n, t.columns);
    const int64_t tiles = e.batches * row_tiles * column_tiles;
    const int64_t wanted = min(min(t.filling / max(tiles, int64_t(1)), e.k / t.least_depth), MOST_SPLITS);
    split_depth = divide_up(divide_up(e.k, max(wanted, int64_t(1))), t.chunk) * t.chunk;
    splits = max(divide_up(e.k, max(split_depth, int64_t(1))), int64_t(1));  // none of them is empty
    return tiles * max(wanted, int64_t(1));
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
    finish(finished_matrix<true>(g.finish, batch), within / n, within % n, 1, x);
  });
}

template <typename Shape>
MultiplyKernel exact_kernel(const Multiplication& g) {
  // These copy whole vectors.
  const bool a = is_vectorable(g.a, g.a.rank - 2) && g.m % VECTOR == 0;
  const bool b = is_vectorable(g.b, g.b.rank - 1) && g.n % VECTOR == 0;
  return a ? b ? multiply_tiles<Shape, true, true> : multiply_tiles<Shape, true, false>
           : b ? multiply_tiles<Shape, false, true> : multiply_tiles<Shape, false, false>;
}

MultiplyKernel tile_kernel(const Plan& plan, const Multiplication& g) {
  if (plan.tile == EXACT_LARGE) return exact_kernel<LargeTile>(g);
  if (plan.tile == EXACT_SMALL) return exact_kernel<SmallTile>(g);
  const bool a_by_depth = plan.is_gathered ? g.a_depth <= g.a_row : is_vectorable(g.a, g.a.rank - 1);
  const bool b_by_depth = plan.is_gathered ? g.b_depth <= g.b_column : is_vectorable(g.b, g.b.rank - 2);
  return tensor_kernel(g.a.dtype, plan.tile, plan.is_gathered, a_by_depth, b_by_depth);
}

template <typename T, int ROWS>
MultiplyKernel thin_kernel(bool by_depth) {
  return by_depth ? multiply_thin_by_depth<T, ROWS> : multiply_thin_by_columns<T, ROWS>;
}

template <typename T>
MultiplyKernel thin_kernel_for(int64_t rows, bool by_depth) {
  return rows == 1   ? thin_kernel<T, 1>(by_depth)
         : rows == 2 ? thin_kernel<T, 2>(by_depth)
         : rows <= 4 ? thin_kernel<T, 4>(by_depth)
                     : thin_kernel<T, MOST_THIN_ROWS>(by_depth);
}

Status multiply_thin(Multiplication& g, int64_t batches, Stream stream) {
  const bool by_depth = g.b_depth == 1 && g.b_column != 1 && g.n > 1;
  const MultiplyKernel kernel =
      g.a.dtype == BF16 ? thin_kernel_for<bf16>(g.m, by_depth) : thin_kernel_for<float>(g.m, by_depth);
  g.column_tiles = unsigned(divide_up(g.n, by_depth ? THIN_WARPS * COLUMNS_OF_WARP : LANES));
  const int warps = by_depth ? THIN_WARPS : SHARING_WARPS;
  return launch(kernel, dim3(unsigned(batches) * g.column_tiles), dim3(LANES * warps), 0, stream, g);
}

// Bytes of the library's product where a kernel of ours finishes it; they come first in the workspace.
int64_t product_bytes(const Extents& e, const MatmulChoice& choice) {
  constexpr int64_t ALIGNMENT = 256;
  if (choice.way != MatmulChoice::FINISHED) return 0;
  return divide_up(e.batches * e.m * e.n * int64_t(sizeof(float)), ALIGNMENT) * ALIGNMENT;
}

Status multiply_by_library(const Call& call, const Extents& e, Multiplication& g, Stream stream) {
  const MatmulContext& context = matmul_context(call);
  const MatmulChoice& choice = context.choice;
  CublasProduct product;
  CublasAlgorithm algorithm = {};
  for (int i = 0; i < 8; i++) algorithm.data[i] = choice.algorithm[i];
  algorithm.workspace_bytes = choice.workspace_bytes;
  char* const workspace = static_cast<char*>(context.workspace);
  if (!context.cublas || !describe_for_cublas(call, choice.way, workspace, product) ||
      !context.cublas->multiply(product, algorithm, workspace + product_bytes(e, choice), stream))
    return cudaErrorInvalidValue;
  if (choice.way != MatmulChoice::FINISHED) return cudaSuccess;
  g.splits = 1;
  return launch(add_splits, blocks_for(e.batches * e.m * e.n), dim3(THREADS), 0, stream, g,
                static_cast<const float*>(context.workspace), unsigned(e.batches));
}

Status multiply_matrices(const Call& call, Stream stream) {
  const Extents e = extents_of(call);
  if (e.batches * e.m * e.n == 0 || (!call.out[0].data && !call.out[1].data)) return cudaSuccess;
  if (e.k > MOST_DEPTH) return cudaErrorInvalidValue;
  const Operand &a = call.in[0], &b = call.in[1];
  Multiplication g = {};
  g.a = a, g.b = b, g.finish = finish_of(call), g.m = e.m, g.n = e.n, g.k = e.k;
  g.a_row = a.stride[a.rank - 2], g.a_depth = a.stride[a.rank - 1];
  g.b_depth = b.stride[b.rank - 2], g.b_column = b.stride[b.rank - 1];
  if (matmul_context(call).choice.way != MatmulChoice::OWN) return multiply_by_library(call, e, g, stream);
  const Plan plan(call);
  g.split_depth = int(plan.split_depth), g.splits = unsigned(plan.splits);
  g.row_tiles = unsigned(plan.row_tiles), g.column_tiles = unsigned(plan.column_tiles);
  if (plan.is_thin) return multiply_thin(g, e.batches, stream);

  const MultiplyKernel kernel = tile_kernel(plan, g);
  const Tile shape = plan.shape();
  const dim3 grid(unsigned(e.batches * plan.splits * plan.row_tiles * plan.column_tiles)), block(unsigned(shape.threads));
  const size_t shared_bytes = size_t(shape.shared_bytes);
  if (plan.splits == 1) return launch(kernel, grid, block, shared_bytes, stream, g);
  Multiplication parts = g;
  parts.finish = {};
  parts.finish.y = {call.context->workspace, F32, 3, {e.batches * plan.splits, e.m, e.n}, {e.m * e.n, e.n, 1}};
  const Status status = launch(kernel, grid, block, shared_bytes, stream, parts);
  if (status != cudaSuccess) return status;
  return launch(add_splits, blocks_for(e.batches * e.m * e.n), dim3(THREADS), 0, stream, g,
                static_cast<const float*>(call.context->workspace), unsigned(e.batches));
}

// Whether sums of columns are asked for that a kernel of ours makes.
bool has_sums_apart(const Call& call) {
  return call.out[2].data && matmul_context(call).choice.way != MatmulChoice::FUSED;
}

}  // namespace

int64_t matmul_workspace(const Call& call) {
  const Extents e = extents_of(call);
  const MatmulChoice& choice = matmul_context(call).choice;
  // The sums are made when the product is done.
  const int64_t of_sums = has_sums_apart(call) ? Columns(call.in[1]).workspace() : 0;
  if (choice.way != MatmulChoice::OWN) return max(product_bytes(e, choice) + int64_t(choice.workspace_bytes), of_sums);
  const Plan plan(call);
  return max(plan.splits > 1 ? e.batches * plan.splits * e.m * e.n * int64_t(sizeof(float)) : 0, of_sums);
}

Status matmul(const Call& call, Stream stream) {
  const Status status = multiply_matrices(call, stream);
  const Operand& b = call.in[1];
  if (status != cudaSuccess || !has_sums_apart(call) || extent_of(call.out[2], 0, call.out[2].rank) == 0) return status;
  float* const sums = static_cast<float*>(call.out[2].data);
  void* const workspace = call.context->workspace;
  return b.dtype == BF16 ? sum_columns_of<bf16>(b, sums, workspace, stream) : sum_columns_of<float>(b, sums, workspace, stream);
}

}}  // namespace heddle::cuda
