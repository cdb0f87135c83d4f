// Sums over one axis, and the softmax of rows with its gradient.
// A sum reads each element once (4 bytes, 1 flop); softmax moves a row that stays in cache (8 bytes, ~25 flops).
// The summed axis is cut into at most 64 parts by shape alone, a block each for some columns; their partial sums stand in the
// workspace and are added in their order, so that no atomics are needed and rounding errors grow with the parts.
// Softmax: a warp a row, or a block where rows are long.
#include "device.h"
#include "group.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr int64_t MOST_PARTS = 64, PART_ELEMENTS = 4096;
constexpr int COLUMN_LANES = 32, ROW_LANES = THREADS / COLUMN_LANES;

// Parts of the summed axis of [outer, length, inner].
int64_t parts_of(int64_t outer, int64_t length, int64_t inner) {
  const int64_t wanted = divide_up(length * (inner < COLUMN_LANES ? inner : COLUMN_LANES), PART_ELEMENTS);
  const int64_t tiles = outer * divide_up(inner, COLUMN_LANES);  // that fill the GPU by themselves
  const int64_t most = tiles >= 1024 ? 1 : MOST_PARTS;
  return wanted < 1 ? 1 : wanted < most ? wanted : most;
}

// partial[a][part][b] for 32 columns b a block: 8 rows of threads, added up in their order.
template <typename T, typename Result>
__global__ void sum_columns(const T* x, Result* partial, int64_t length, int64_t inner, int64_t tiles, int64_t parts) {
  SHARED_ARRAY(float, sums, [ROW_LANES][COLUMN_LANES]);
  const int lane = threadIdx.x % COLUMN_LANES, row_lane = threadIdx.x / COLUMN_LANES;
  const int64_t column = blockIdx.x % tiles * COLUMN_LANES + lane, part = blockIdx.x / tiles % parts,
                a = blockIdx.x / tiles / parts;
  const int64_t begin = length * part / parts, end = length * (part + 1) / parts;
  float sum = 0;
  if (column < inner)
    for (int64_t row = begin + row_lane; row < end; row += ROW_LANES) sum += widened(x[(a * length + row) * inner + column]);
  sums[row_lane][lane] = sum;
  __syncthreads();
  if (row_lane != 0 || column >= inner) return;
  for (int other = 1; other < ROW_LANES; other++) sum += sums[other][lane];
  set(partial[(a * parts + part) * inner + column], sum);
}

// The same for one column.
template <typename T, typename Result>
__global__ void sum_run(const T* x, Result* partial, int64_t length, int64_t parts) {
  const int64_t part = blockIdx.x % parts, a = blockIdx.x / parts;
  const int64_t end = length * (part + 1) / parts;
  float sum = 0;
  for (int64_t i = length * part / parts + threadIdx.x; i < end; i += THREADS) sum += widened(x[a * length + i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) set(partial[blockIdx.x], sum);
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

template <typename Group>
__global__ void softmax_rows(const float* x, float* y, int64_t rows, int64_t columns) {
  for (int64_t row = Group::first_row(); row < rows; row += Group::row_step()) {
    const float* from = x + row * columns;
    float* to = y + row * columns;
    float greatest = -INFINITY, total = 0;
    for (int64_t c = Group::lane(); c < columns; c += Group::SIZE) greatest = fmaxf(greatest, from[c]);
    greatest = Group::maximum(greatest);
    for (int64_t c = Group::lane(); c < columns; c += Group::SIZE) total += expf(from[c] - greatest);
    const float inverse = 1.0f / Group::sum(total);
    for (int64_t c = Group::lane(); c < columns; c += Group::SIZE) to[c] = expf(from[c] - greatest) * inverse;
  }
}

// dx = y (dy - sum(y dy))
template <typename Group>
__global__ void softmax_rows_backward(const float* y, const float* dy, float* dx, int64_t rows, int64_t columns) {
  for (int64_t row = Group::first_row(); row < rows; row += Group::row_step()) {
    const int64_t at = row * columns;
    float along = 0;
    for (int64_t c = Group::lane(); c < columns; c += Group::SIZE) along += y[at + c] * dy[at + c];
    along = Group::sum(along);
    for (int64_t c = Group::lane(); c < columns; c += Group::SIZE) dx[at + c] = y[at + c] * (dy[at + c] - along);
  }
}

template <typename T, typename Result>
Status sum_parts(const T* x, Result* partial, int64_t outer, int64_t length, int64_t inner, int64_t parts, Stream stream) {
  const int64_t tiles = divide_up(inner, COLUMN_LANES);
  if (inner == 1)
    return launch(sum_run<T, Result>, dim3(unsigned(outer * parts)), dim3(THREADS), 0, stream, x, partial, length, parts);
  return launch(sum_columns<T, Result>, dim3(unsigned(outer * parts * tiles)), dim3(THREADS), 0, stream, x, partial, length,
                inner, tiles, parts);
}

}  // namespace

int64_t sum_workspace(const Call& call) {
  const int64_t *shape = call.in[0].shape, parts = parts_of(shape[0], shape[1], shape[2]);
  return parts == 1 ? 0 : shape[0] * parts * shape[2] * int64_t(sizeof(float));
}

Status sum(const Call& call, Stream stream) {
  const Operand& x = call.in[0];
  const int64_t outer = x.shape[0], length = x.shape[1], inner = x.shape[2];
  if (!call.out[0].data || outer * inner == 0) return cudaSuccess;
  return with_type(x, [&](auto from) {
    return with_type(call.out[0], [&](auto to) {
      typedef decltype(to) Result;
      const auto* data = static_cast<const decltype(from)*>(x.data);
      Result* y = static_cast<Result*>(call.out[0].data);
      const int64_t parts = parts_of(outer, length, inner);
      if (parts == 1) return sum_parts(data, y, outer, length, inner, parts, stream);
      float* partial = static_cast<float*>(call.context->workspace);
      const Status status = sum_parts(data, partial, outer, length, inner, parts, stream);
      if (status != cudaSuccess) return status;
      return launch(add_parts<Result>, blocks_for(outer * inner), dim3(THREADS), 0, stream, partial, y, outer, inner, parts);
    });
  });
}

Status softmax(const Call& call, Stream stream) {
  const int64_t rows = rows_of(call.in[0]), columns = columns_of(call.in[0]);
  if (!call.out[0].data || rows * columns == 0) return cudaSuccess;
  const float* x = static_cast<const float*>(call.in[0].data);
  float* y = static_cast<float*>(call.out[0].data);
  return with_group(columns, [&](auto group) {
    using Group = decltype(group);
    return launch(softmax_rows<Group>, Group::blocks(rows), dim3(Group::THREADS), 0, stream, x, y, rows, columns);
  });
}

Status softmax_backward(const Call& call, Stream stream) {
  const int64_t rows = rows_of(call.in[0]), columns = columns_of(call.in[0]);
  if (!call.out[0].data || rows * columns == 0) return cudaSuccess;
  const float *y = static_cast<const float*>(call.in[0].data), *dy = static_cast<const float*>(call.in[1].data);
  float* dx = static_cast<float*>(call.out[0].data);
  return with_group(columns, [&](auto group) {
    using Group = decltype(group);
    return launch(softmax_rows_backward<Group>, Group::blocks(rows), dim3(Group::THREADS), 0, stream, y, dy, dx, rows, columns);
  });
}

}}  // namespace heddle::cuda
