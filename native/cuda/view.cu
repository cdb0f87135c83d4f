// Copies between layouts, casts between float32 and bf16, and constants.
// Reads and writes each element once: 4 to 8 bytes (half for fill), no flops.
// Axes are merged on the host and put in the order of the output's strides, so that neighbouring threads write neighbours.
// Where the input runs along another axis, squares of 32 x 32 elements turn in shared memory: both sides stay coalesced.
#include "device.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr int TILE = 32, TILE_ROWS = 8;

// The axes of an output and of an input walked with it, in descending order of the output's strides.
struct Walk {
  int rank;
  int64_t shape[MAX_RANK], to[MAX_RANK], from[MAX_RANK];

  void move(int place, int axis) { shape[place] = shape[axis], to[place] = to[axis], from[place] = from[axis]; }
  void swap(int a, int b) {
    const int64_t old[3] = {shape[a], to[a], from[a]};
    move(a, b);
    shape[b] = old[0], to[b] = old[1], from[b] = old[2];
  }
  int64_t count(int axes) const {
    int64_t product = 1;
    for (int axis = 0; axis < axes; axis++) product *= shape[axis];
    return product;
  }
};

Walk walk_of(const Operand& output, const Operand& input) {
  Walk walk = {};
  for (int axis = 0; axis < output.rank; axis++) {
    if (output.shape[axis] == 1) continue;
    int place = walk.rank++;
    for (; place > 0 && walk.to[place - 1] < output.stride[axis]; place--) walk.move(place, place - 1);
    walk.shape[place] = output.shape[axis], walk.to[place] = output.stride[axis], walk.from[place] = input.stride[axis];
  }
  if (walk.rank == 0) {
    walk.rank = 1, walk.shape[0] = 1, walk.to[0] = 1, walk.from[0] = 1;
    return walk;
  }
  int kept = 0;
  for (int axis = 1; axis < walk.rank; axis++) {
    const int64_t extent = walk.shape[axis];
    if (walk.to[kept] == walk.to[axis] * extent && walk.from[kept] == walk.from[axis] * extent) {
      walk.shape[kept] *= extent, walk.to[kept] = walk.to[axis], walk.from[kept] = walk.from[axis];
    } else {
      walk.move(++kept, axis);
    }
  }
  walk.rank = kept + 1;
  return walk;
}

// Adds to both offsets where the flattened index of the first `axes` axes lies.
HEDDLE_DEVICE void add_offsets(const Walk& walk, int64_t index, int axes, int64_t* to, int64_t* from) {
  for (int axis = axes - 1; axis >= 0; axis--) {
    const int64_t place = index % walk.shape[axis];
    *to += place * walk.to[axis];
    *from += place * walk.from[axis];
    index /= walk.shape[axis];
  }
}

// Elements are moved, not computed with: T only has their size.
template <typename T>
__global__ void copy_elements(Walk walk, const T* x, T* y, int64_t count) {
  for_elements(count, [&](int64_t i) {
    int64_t to = 0, from = 0;
    add_offsets(walk, i, walk.rank, &to, &from);
    y[to] = x[from];
  });
}

// The last axis is the output's fastest, the one before it the input's.
template <typename T>
__global__ void copy_tiles(Walk walk, const T* x, T* y, int64_t across, int64_t down) {
  SHARED_ARRAY(T, tile, [TILE][TILE + 1]);
  const int inner = walk.rank - 1, other = walk.rank - 2;
  const int64_t column = blockIdx.x % across * TILE, row = blockIdx.x / across % down * TILE;
  int64_t to = 0, from = 0;
  add_offsets(walk, blockIdx.x / across / down, other, &to, &from);
  const int64_t width = walk.shape[inner] - column, height = walk.shape[other] - row;
  for (int j = threadIdx.y; j < TILE && j < width; j += TILE_ROWS)
    if (int64_t(threadIdx.x) < height)
      tile[threadIdx.x][j] = x[from + (column + j) * walk.from[inner] + (row + threadIdx.x) * walk.from[other]];
  __syncthreads();
  for (int i = threadIdx.y; i < TILE && i < height; i += TILE_ROWS)
    if (int64_t(threadIdx.x) < width)
      y[to + (row + i) * walk.to[other] + (column + threadIdx.x) * walk.to[inner]] = tile[i][threadIdx.x];
}

template <typename T>
__global__ void fill_elements(Walk walk, T* y, int64_t count, T value) {
  for_elements(count, [&](int64_t i) {
    int64_t to = 0, from = 0;
    add_offsets(walk, i, walk.rank, &to, &from);
    y[to] = value;
  });
}

template <typename From, typename To>
__global__ void cast_elements(const From* x, To* y, int64_t count) {
  for_elements(count, [&](int64_t i) { set(y[i], widened(x[i])); });
}

template <typename T>
Status copy_operand(const Operand& x, const Operand& y, Stream stream) {
  const T* from = static_cast<const T*>(x.data);
  T* to = static_cast<T*>(y.data);
  const int64_t count = size_of(y);
  Walk walk = walk_of(y, x);
  const int inner = walk.rank - 1;
  int fastest = inner;
  for (int axis = 0; axis < inner; axis++)
    if (walk.from[axis] != 0 && walk.from[axis] < walk.from[fastest]) fastest = axis;
  if (fastest == inner || walk.from[inner] == 0)
    return launch(copy_elements<T>, blocks_for(count), dim3(THREADS), 0, stream, walk, from, to, count);
  walk.swap(fastest, inner - 1);
  const int64_t across = divide_up(walk.shape[inner], TILE), down = divide_up(walk.shape[inner - 1], TILE);
  return launch(copy_tiles<T>, dim3(unsigned(walk.count(inner - 1) * across * down)), dim3(TILE, TILE_ROWS), 0, stream,
                walk, from, to, across, down);
}

}  // namespace

Status copy(const Call& call, Stream stream) {
  const Operand &x = call.in[0], &y = call.out[0];
  if (!y.data || size_of(y) == 0) return cudaSuccess;
  return x.dtype == BF16 ? copy_operand<uint16_t>(x, y, stream) : copy_operand<uint32_t>(x, y, stream);
}

Status fill(const Call& call, Stream stream) {
  const Operand& y = call.out[0];
  const int64_t count = size_of(y);
  if (!y.data || count == 0) return cudaSuccess;
  const float value = attributes_of<FillAttributes>(call).value;
  return with_type(y, [&](auto type) {
    typedef decltype(type) T;
    T constant;
    set(constant, value);
    return launch(fill_elements<T>, blocks_for(count), dim3(THREADS), 0, stream, walk_of(y, y), static_cast<T*>(y.data), count,
                  constant);
  });
}

Status cast(const Call& call, Stream stream) {
  const Operand &x = call.in[0], &y = call.out[0];
  const int64_t count = size_of(x);
  if (!y.data || count == 0) return cudaSuccess;
  return with_type(x, [&](auto from) {
    return with_type(y, [&](auto to) {
      typedef decltype(from) From;
      typedef decltype(to) To;
      return launch(cast_elements<From, To>, blocks_for(count), dim3(THREADS), 0, stream,
                    static_cast<const From*>(x.data), static_cast<To*>(y.data), count);
    });
  });
}

}}  // namespace heddle::cuda
