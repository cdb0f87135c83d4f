// Sums over one axis, and the softmax of rows with its gradient.
// A sum is that of columns (columns.h), or of runs; softmax moves a row that stays in cache (8 bytes, ~25 flops), a warp
// a row, or a block where rows are long.
#include "columns.h"
#include "group.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

// partial[a][part] of a tensor of one column.
template <typename T, typename Result>
__global__ void sum_run(const T* x, Result* partial, int64_t length, int64_t parts) {
  const int64_t part = blockIdx.x % parts, a = blockIdx.x / parts;
  const int64_t end = length * (part + 1) / parts;
  float sum = 0;
  for (int64_t i = length * part / parts + threadIdx.x; i < end; i += THREADS) sum += widened(x[a * length + i]);
  sum = block_sum(sum);
  if (threadIdx.x == 0) set(partial[blockIdx.x], sum);
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
Status sum_runs(const T* x, Result* y, const Columns& c, void* workspace, Stream stream) {
  const int64_t parts = c.parts();
  const dim3 grid(unsigned(c.outer * parts)), block(THREADS);
  if (parts == 1) return launch(sum_run<T, Result>, grid, block, 0, stream, x, y, c.length, parts);
  float* const partial = static_cast<float*>(workspace);
  const Status status = launch(sum_run<T, float>, grid, block, 0, stream, x, partial, c.length, parts);
  if (status != cudaSuccess) return status;
  return launch(add_parts<Result>, blocks_for(c.outer), dim3(THREADS), 0, stream, static_cast<const float*>(partial), y, c.outer,
                int64_t(1), parts);
}

}  // namespace

int64_t sum_workspace(const Call& call) { return Columns(call.in[0]).workspace(); }

Status sum(const Call& call, Stream stream) {
  const Operand& x = call.in[0];
  const Columns c(x);
  if (!call.out[0].data || c.outer * c.inner == 0) return cudaSuccess;
  return with_type(x, [&](auto from) {
    return with_type(call.out[0], [&](auto to) {
      typedef decltype(from) T;
      auto* const y = static_cast<decltype(to)*>(call.out[0].data);
      void* const workspace = call.context->workspace;
      return c.inner == 1 ? sum_runs(static_cast<const T*>(x.data), y, c, workspace, stream)
                          : sum_columns_of<T>(x, y, workspace, stream);
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
