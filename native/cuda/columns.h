// Sums of the columns of matrices: each element is read once (1 flop). Rows are cut into at most 64 parts by shape alone, a block
// each for 32 columns; their partial sums stand in the workspace and are added in their order, so that no atomics are
// needed and rounding errors grow with the parts.
#pragma once
#include "device.h"

namespace heddle { namespace cuda {

constexpr int64_t MOST_PARTS = 64, PART_ELEMENTS = 4096;
constexpr int COLUMN_LANES = 32, ROW_LANES = THREADS / COLUMN_LANES;

// Parts of the summed axis of [outer, length, inner].
inline int64_t parts_of(int64_t outer, int64_t length, int64_t inner) {
  const int64_t wanted = divide_up(length * (inner < COLUMN_LANES ? inner : COLUMN_LANES), PART_ELEMENTS);
  const int64_t tiles = outer * divide_up(inner, COLUMN_LANES);  // that fill the GPU by themselves
  const int64_t most = tiles >= 1024 ? 1 : MOST_PARTS;
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

// x as [outer, length, inner].
struct Columns {
  int64_t outer, length, inner;
  explicit Columns(const Operand& x)
      : outer(extent_of(x, 0, x.rank - 2)), length(x.shape[x.rank - 2]), inner(x.shape[x.rank - 1]) {}
  int64_t parts() const { return parts_of(outer, length, inner); }
  // Bytes of the partial sums.
  int64_t workspace() const { return parts() == 1 ? 0 : outer * parts() * inner * int64_t(sizeof(float)); }
};

// partial[a][part][column]: 8 rows of threads, added up in their order.
template <typename T, typename Result>
__global__ void sum_columns(Operand x, Result* partial, int64_t tiles, int64_t parts) {
  SHARED_ARRAY(float, sums, [ROW_LANES][COLUMN_LANES]);
  const int64_t length = x.shape[x.rank - 2], inner = x.shape[x.rank - 1];
  const int64_t row_stride = x.stride[x.rank - 2], column_stride = x.stride[x.rank - 1];
  const int lane = threadIdx.x % COLUMN_LANES, row_lane = threadIdx.x / COLUMN_LANES;
  const int64_t column = blockIdx.x % tiles * COLUMN_LANES + lane, part = blockIdx.x / tiles % parts,
                a = blockIdx.x / tiles / parts;
  const int64_t begin = length * part / parts, end = length * (part + 1) / parts;
  const T* const from = data_of<T>(x) + offset_of(x, a, x.rank - 2) + column * column_stride;
  float sum = 0;
  if (column < inner)
    for (int64_t row = begin + row_lane; row < end; row += ROW_LANES) sum += widened(from[row * row_stride]);
  sums[row_lane][lane] = sum;
  __syncthreads();
  if (row_lane != 0 || column >= inner) return;
  for (int other = 1; other < ROW_LANES; other++) sum += sums[other][lane];
  set(partial[(a * parts + part) * inner + column], sum);
}

template <typename Result>
__global__ void add_parts(const float* partial, Result* y, int64_t outer, int64_t inner, int64_t parts) {
  for_elements(outer * inner, [&](int64_t i) {
    const float* from = partial + i / inner * parts * inner + i % inner;
    float sum = 0;
    for (int64_t part = 0; part < parts; part++) sum += from[part * inner];
    set(y[i], sum);
  });
}

// y[outer, inner] = sums over the rows of x, a tensor of T in any layout.
template <typename T, typename Result>
Status sum_columns_of(const Operand& x, Result* y, void* workspace, Stream stream) {
  const Columns c(x);
  const int64_t tiles = divide_up(c.inner, COLUMN_LANES), parts = c.parts();
  const dim3 grid(unsigned(c.outer * parts * tiles)), block(THREADS);
  if (parts == 1) return launch(sum_columns<T, Result>, grid, block, 0, stream, x, y, tiles, parts);
  float* const partial = static_cast<float*>(workspace);
  const Status status = launch(sum_columns<T, float>, grid, block, 0, stream, x, partial, tiles, parts);
  if (status != cudaSuccess) return status;
  return launch(add_parts<Result>, blocks_for(c.outer * c.inner), dim3(THREADS), 0, stream, static_cast<const float*>(partial), y,
                c.outer, c.inner, parts);
}

}}  // namespace heddle::cuda
