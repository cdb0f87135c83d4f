// Layer normalisation and RMS normalisation of rows, with the residual sum before them, and their gradients.
// Forward moves 8 to 16 bytes an element (x, residual, y, sum) with 6 to 8 flops; backward 12 to 16 with 10 to 14.
// Forward: a warp a row up to 1,024 columns, else a block; a row is read once and stays in registers. Backward: each group
// keeps the column sums of its rows in registers; a block adds those of its warps, and a second pass those of the blocks, all
// in their order. Rows of more than 8,192 columns are read again instead of kept, from the cache as long as they fit there.
#include "device.h"
#include "group.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr int64_t MOST_COLUMNS = 8192;   // of a row in registers: 32 for each of 256 threads
constexpr int64_t MOST_PARTS = 256;      // blocks of a backward pass
constexpr int64_t ROWS_PER_GROUP = 8;    // that make a block worth starting

template <typename T>
struct Forward {
  const T* x;
  const float *weight, *bias;
  const T* residual;
  T* y;
  float *mean, *rstd;
  T* sum;
  float epsilon;
};

// y may lie on x or residual, and so may sum: a thread has read its elements before it writes them. What is normalised is the sum as
// it is kept, so that y can be made again from there.
template <typename Group, int ITEMS, bool CENTRED, typename T>
__global__ void __launch_bounds__(Group::THREADS) normalise(Forward<T> f, int64_t rows, int columns) {
  const float share = 1.0f / float(columns);
  for (int64_t row = Group::first_row(); row < rows; row += Group::row_step()) {
    const T *const x = f.x + row * columns, *const residual = f.residual ? f.residual + row * columns : nullptr;
    T *const y = f.y ? f.y + row * columns : nullptr, *const sum = f.sum ? f.sum + row * columns : nullptr;
    float v[ITEMS], total = 0, squares = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
      const int c = Group::lane() + i * Group::SIZE;
      v[i] = c < columns ? widened(x[c]) : 0.0f;
      if (residual && c < columns) v[i] = rounded<T>(v[i] + widened(residual[c]));
      total += v[i];
    }
    const float mean = CENTRED ? Group::sum(total) * share : 0.0f;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
      const float difference = Group::lane() + i * Group::SIZE < columns ? v[i] - mean : 0.0f;
      squares += difference * difference;
    }
    const float rstd = 1.0f / sqrtf(Group::sum(squares) * share + f.epsilon);
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
      const int c = Group::lane() + i * Group::SIZE;
      if (c >= columns) break;
      if (sum) set(sum[c], v[i]);
      if (y) set(y[c], (v[i] - mean) * rstd * f.weight[c] + (f.bias ? f.bias[c] : 0.0f));
    }
    if (Group::lane() == 0) {
      if (f.mean) f.mean[row] = mean;
      if (f.rstd) f.rstd[row] = rstd;
    }
  }
}

// A row of any length, by a block. A thread comes to the same columns each time, so that y and sum may lie as above.
template <bool CENTRED, typename T>
__global__ void __launch_bounds__(BlockGroup::THREADS) normalise_wide(Forward<T> f, int64_t rows, int64_t columns) {
  const float share = 1.0f / float(columns);
  for (int64_t row = BlockGroup::first_row(); row < rows; row += BlockGroup::row_step()) {
    const int64_t at = row * columns;
    const auto value = [&](int64_t c) {
      return f.residual ? rounded<T>(widened(f.x[at + c]) + widened(f.residual[at + c])) : widened(f.x[at + c]);
    };
    float total = 0, squares = 0;
    if (CENTRED)
      for (int64_t c = BlockGroup::lane(); c < columns; c += BlockGroup::SIZE) total += value(c);
    const float mean = CENTRED ? BlockGroup::sum(total) * share : 0.0f;
    for (int64_t c = BlockGroup::lane(); c < columns; c += BlockGroup::SIZE) {
      const float difference = value(c) - mean;
      squares += difference * difference;
    }
    const float rstd = 1.0f / sqrtf(BlockGroup::sum(squares) * share + f.epsilon);
    for (int64_t c = BlockGroup::lane(); c < columns; c += BlockGroup::SIZE) {
      const float v = value(c);
      if (f.sum) set(f.sum[at + c], v);
      if (f.y) set(f.y[at + c], (v - mean) * rstd * f.weight[c] + (f.bias ? f.bias[c] : 0.0f));
    }
    if (BlockGroup::lane() == 0) {
      if (f.mean) f.mean[row] = mean;
      if (f.rstd) f.rstd[row] = rstd;
    }
  }
}

template <typename T>
struct Backward {
  const T* x;
  const float *weight, *mean, *rstd;
  const T *dy, *dsum;
  T* dx;
  float *dweight, *dbias;
  float* partial;  // [dweight, dbias][block][column]
};

// Adds what the groups of a block have for the same columns, in their order, and writes it to `to`.
template <typename Group, int ITEMS>
HEDDLE_DEVICE void combine_groups(const float (&sum)[ITEMS], float* to, int64_t columns) {
  SHARED_ARRAY(float, total, [WARP_COLUMNS]);
  if (Group::ROWS == 1) {
#pragma unroll
    for (int i = 0; i < ITEMS; i++)
      if (Group::lane() + i * Group::SIZE < columns) to[Group::lane() + i * Group::SIZE] = sum[i];
    return;
  }
  __syncthreads();  // whoever still reads the columns of the call before
  for (int group = 0; group < Group::ROWS; group++) {
    if (int(threadIdx.x) / Group::SIZE == group)
#pragma unroll
      for (int i = 0; i < ITEMS; i++) {
        const int c = Group::lane() + i * Group::SIZE;
        if (c < columns) total[c] = group == 0 ? sum[i] : total[c] + sum[i];
      }
    __syncthreads();
  }
  for (int64_t c = threadIdx.x; c < columns; c += Group::THREADS) to[c] = total[c];
}

// With h = (x - mean) rstd and g = dy weight:  dx = rstd (g - average(g) - h average(g h)), without average(g) where the
// mean was not taken out (Ba et al. 2016; Zhang & Sennrich 2019). dx may lie on dy or dsum.
template <typename Group, int ITEMS, bool CENTRED, typename T>
__global__ void __launch_bounds__(Group::THREADS, 1) normalise_backward(Backward<T> b, int64_t rows, int columns) {
  const float share = 1.0f / float(columns);
  float dweight[ITEMS] = {}, dbias[ITEMS] = {};
  for (int64_t row = Group::first_row(); row < rows; row += Group::row_step()) {
    const T *const x = b.x + row * columns, *const from = b.dy + row * columns;
    const float mean = CENTRED ? b.mean[row] : 0.0f, rstd = b.rstd[row];
    float h[ITEMS], g[ITEMS], level = 0, along = 0;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
      const int c = Group::lane() + i * Group::SIZE;
      const bool exists = c < columns;
      const float dy = exists ? widened(from[c]) : 0.0f;
      h[i] = exists ? (widened(x[c]) - mean) * rstd : 0.0f;
      g[i] = exists ? dy * b.weight[c] : 0.0f;
      level += g[i];
      along += g[i] * h[i];
      dweight[i] += dy * h[i];
      dbias[i] += dy;
    }
    if (!b.dx) continue;
    T* const dx = b.dx + row * columns;
    const T* const dsum = b.dsum ? b.dsum + row * columns : nullptr;
    level = CENTRED ? Group::sum(level) * share : 0.0f;
    along = Group::sum(along) * share;
#pragma unroll
    for (int i = 0; i < ITEMS; i++) {
      const int c = Group::lane() + i * Group::SIZE;
      if (c >= columns) break;
      const float gradient = (g[i] - level - h[i] * along) * rstd;
      set(dx[c], dsum ? gradient + widened(dsum[c]) : gradient);
    }
  }
  float* const partial = b.partial + blockIdx.x * columns;
  if (b.dweight) combine_groups<Group, ITEMS>(dweight, partial, columns);
  if (CENTRED && b.dbias) combine_groups<Group, ITEMS>(dbias, partial + gridDim.x * columns, columns);
}

template <bool CENTRED, typename T>
__global__ void __launch_bounds__(BlockGroup::THREADS) normalise_wide_backward(Backward<T> b, int64_t rows, int64_t columns) {
  const float share = 1.0f / float(columns);
  for (int64_t row = BlockGroup::first_row(); row < rows; row += BlockGroup::row_step()) {
    const int64_t at = row * columns;
    const float mean = CENTRED ? b.mean[row] : 0.0f, rstd = b.rstd[row];
    float level = 0, along = 0;
    for (int64_t c = BlockGroup::lane(); c < columns; c += BlockGroup::SIZE) {
      const float g = widened(b.dy[at + c]) * b.weight[c];
      level += g;
      along += g * ((widened(b.x[at + c]) - mean) * rstd);
    }
    level = CENTRED ? BlockGroup::sum(level) * share : 0.0f;
    along = BlockGroup::sum(along) * share;
    for (int64_t c = BlockGroup::lane(); c < columns; c += BlockGroup::SIZE) {
      const float h = (widened(b.x[at + c]) - mean) * rstd;
      const float gradient = (widened(b.dy[at + c]) * b.weight[c] - level - h * along) * rstd;
      set(b.dx[at + c], b.dsum ? gradient + widened(b.dsum[at + c]) : gradient);
    }
  }
}

// The column sums of wide rows: a thread has a column of every (grid's y)-th row. It runs before dx may overwrite dy.
template <bool CENTRED, typename T>
__global__ void __launch_bounds__(THREADS) sum_wide_columns(Backward<T> b, int64_t rows, int64_t columns) {
  const int64_t c = int64_t(blockIdx.x) * THREADS + threadIdx.x, part = blockIdx.y, parts = gridDim.y;
  if (c >= columns) return;
  float dweight = 0, dbias = 0;
  for (int64_t row = part; row < rows; row += parts) {
    const float dy = widened(b.dy[row * columns + c]), mean = CENTRED ? b.mean[row] : 0.0f;
    dweight += dy * ((widened(b.x[row * columns + c]) - mean) * b.rstd[row]);
    dbias += dy;
  }
  if (b.dweight) b.partial[part * columns + c] = dweight;
  if (CENTRED && b.dbias) b.partial[(parts + part) * columns + c] = dbias;
}

__global__ void add_parts(const float* partial, float* dweight, float* dbias, int64_t columns, int64_t parts) {
  for_elements(2 * columns, [&](int64_t i) {
    float* const to = i < columns ? dweight : dbias;
    if (!to) return;
    const float* from = partial + i / columns * parts * columns + i % columns;
    float sum = 0;
    for (int64_t part = 0; part < parts; part++) sum += from[part * columns];
    to[i % columns] = sum;
  });
}

template <int N>
struct Items {
  static constexpr int value = N;
};

// run(group, items) with as few registers as hold a row of at most MOST_COLUMNS.
template <typename Run>
Status with_registers(int64_t columns, const Run& run) {
  if (columns <= 4 * WarpGroup::SIZE) return run(WarpGroup(), Items<4>());
  if (columns <= 8 * WarpGroup::SIZE) return run(WarpGroup(), Items<8>());
  if (columns <= 16 * WarpGroup::SIZE) return run(WarpGroup(), Items<16>());
  if (columns <= 32 * WarpGroup::SIZE) return run(WarpGroup(), Items<32>());
  if (columns <= 8 * BlockGroup::SIZE) return run(BlockGroup(), Items<8>());
  if (columns <= 16 * BlockGroup::SIZE) return run(BlockGroup(), Items<16>());
  return run(BlockGroup(), Items<32>());
}

template <bool CENTRED, typename T>
Status forward(const Call& call, const Forward<T>& f, Stream stream) {
  const int64_t rows = rows_of(call.in[0]), columns = columns_of(call.in[0]);
  if (rows * columns == 0) return cudaSuccess;
  if (columns > MOST_COLUMNS)
    return launch(normalise_wide<CENTRED, T>, BlockGroup::blocks(rows), dim3(BlockGroup::THREADS), 0, stream, f, rows, columns);
  return with_registers(columns, [&](auto group, auto items) {
    using Group = decltype(group);
    return launch(normalise<Group, decltype(items)::value, CENTRED, T>, Group::blocks(rows), dim3(Group::THREADS), 0, stream, f,
                  rows, int(columns));
  });
}

int64_t parts_of(const Call& call) {
  const int64_t groups = columns_of(call.in[0]) <= WARP_COLUMNS ? WarpGroup::ROWS : BlockGroup::ROWS;
  const int64_t parts = divide_up(rows_of(call.in[0]), groups * ROWS_PER_GROUP);
  return parts < 1 ? 1 : parts < MOST_PARTS ? parts : MOST_PARTS;
}

// dx, and the column sums in parts.
template <bool CENTRED, typename T>
Status backward_in_parts(const Backward<T>& b, int64_t rows, int64_t columns, int64_t parts, Stream stream) {
  if (columns <= MOST_COLUMNS)
    return with_registers(columns, [&](auto group, auto items) {
      using Group = decltype(group);
      return launch(normalise_backward<Group, decltype(items)::value, CENTRED, T>, dim3(unsigned(parts)),
                    dim3(Group::THREADS), 0, stream, b, rows, int(columns));
    });
  if (b.dweight || b.dbias) {
    const dim3 grid(unsigned(divide_up(columns, THREADS)), unsigned(parts));
    const Status status = launch(sum_wide_columns<CENTRED, T>, grid, dim3(THREADS), 0, stream, b, rows, columns);
    if (status != cudaSuccess) return status;
  }
  if (!b.dx || rows == 0) return cudaSuccess;
  return launch(normalise_wide_backward<CENTRED, T>, BlockGroup::blocks(rows), dim3(BlockGroup::THREADS), 0, stream, b, rows,
                columns);
}

template <bool CENTRED, typename T>
Status backward(const Call& call, const Backward<T>& b, Stream stream) {
  const int64_t rows = rows_of(call.in[0]), columns = columns_of(call.in[0]), parts = parts_of(call);
  if (columns == 0) return cudaSuccess;
  const Status status = backward_in_parts<CENTRED, T>(b, rows, columns, parts, stream);
  if (status != cudaSuccess || (!b.dweight && !b.dbias)) return status;
  return launch(add_parts, blocks_for(2 * columns), dim3(THREADS), 0, stream, b.partial, b.dweight, b.dbias, columns, parts);
}

template <typename T = float>
T* input(const Call& call, int index) {
  return static_cast<T*>(call.in[index].data);
}
template <typename T = float>
T* output(const Call& call, int index) {
  return static_cast<T*>(call.out[index].data);
}

}  // namespace

Status layer_norm(const Call& call, Stream stream) {
  return with_type(call.in[0], [&](auto type) {
    typedef decltype(type) T;
    const Forward<T> f = {input<T>(call, 0), input(call, 1), input(call, 2), input<T>(call, 3), output<T>(call, 0),
                          output(call, 1), output(call, 2), output<T>(call, 3),
                          attributes_of<LayerNormAttributes>(call).epsilon};
    return forward<true>(call, f, stream);
  });
}

Status rms_norm(const Call& call, Stream stream) {
  return with_type(call.in[0], [&](auto type) {
    typedef decltype(type) T;
    const Forward<T> f = {input<T>(call, 0), input(call, 1), nullptr, input<T>(call, 2), output<T>(call, 0), nullptr,
                          output(call, 1), output<T>(call, 2), attributes_of<RmsNormAttributes>(call).epsilon};
    return forward<false>(call, f, stream);
  });
}

int64_t layer_norm_backward_workspace(const Call& call) {
  return 2 * parts_of(call) * columns_of(call.in[0]) * int64_t(sizeof(float));
}
int64_t rms_norm_backward_workspace(const Call& call) { return layer_norm_backward_workspace(call); }

Status layer_norm_backward(const Call& call, Stream stream) {
  return with_type(call.in[0], [&](auto type) {
    typedef decltype(type) T;
    const Backward<T> b = {input<T>(call, 0), input(call, 1), input(call, 2), input(call, 3), input<T>(call, 4),
                           input<T>(call, 5), output<T>(call, 0), output(call, 1), output(call, 2),
                           static_cast<float*>(call.context->workspace)};
    return backward<true>(call, b, stream);
  });
}

Status rms_norm_backward(const Call& call, Stream stream) {
  return with_type(call.in[0], [&](auto type) {
    typedef decltype(type) T;
    const Backward<T> b = {input<T>(call, 0), input(call, 1), nullptr, input(call, 2), input<T>(call, 3),
                           input<T>(call, 4), output<T>(call, 0), output(call, 1), nullptr,
                           static_cast<float*>(call.context->workspace)};
    return backward<false>(call, b, stream);
  });
}

}}  // namespace heddle::cuda
