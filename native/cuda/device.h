// What kernels share: addressing, reductions of a warp and a block in a fixed order, and loops over elements.
#pragma once
#include "gpu.h"

namespace heddle { namespace cuda {

constexpr int LANES = 32;
constexpr unsigned ALL_LANES = 0xffffffffu;
constexpr int THREADS = 256;  // of a block, where nothing asks for another number
// Enough to fill any GPU: loops over elements begin no more, so that large arrays do not pay for starting blocks.
constexpr int64_t MOST_BLOCKS = 4096;

template <typename T>
HEDDLE_EVERYWHERE T* data_of(const Operand& operand) {
  return static_cast<T*>(operand.data);
}
// body(element) with a value of the operand's type, float or bf16, of which only the type counts.
template <typename Body>
inline Status with_type(const Operand& operand, const Body& body) {
  return operand.dtype == BF16 ? body(bf16{}) : body(0.0f);
}
// An element as a number, and a number as an element: arithmetic is float32 whatever the type.
HEDDLE_DEVICE float widened(float x) { return x; }
HEDDLE_DEVICE float widened(bf16 x) { return to_float(x); }
HEDDLE_EVERYWHERE void set(float& to, float x) { to = x; }
HEDDLE_EVERYWHERE void set(bf16& to, float x) { to = to_bf16(x); }
// What a T that was set would be widened to.
template <typename T>
HEDDLE_DEVICE float rounded(float x) {
  T kept;
  set(kept, x);
  return widened(kept);
}

// Sixteen bytes of elements that move together: what a thread loads or stores best.
template <typename T>
struct alignas(16) Pack {
  static constexpr int COUNT = 16 / sizeof(T);
  T element[COUNT];
};

template <typename Attributes>
inline const Attributes& attributes_of(const Call& call) {
  return *static_cast<const Attributes*>(call.attributes);
}

// Products of extents, on the host.
inline int64_t extent_of(const Operand& operand, int first, int last) {
  int64_t product = 1;
  for (int axis = first; axis < last; axis++) product *= operand.shape[axis];
  return product;
}
inline int64_t size_of(const Operand& operand) { return extent_of(operand, 0, operand.rank); }
inline int64_t rows_of(const Operand& operand) { return extent_of(operand, 0, operand.rank - 1); }
inline int64_t columns_of(const Operand& operand) { return operand.shape[operand.rank - 1]; }
inline int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Blocks for a grid-stride loop over `count` elements, `per_thread` at a time.
inline dim3 blocks_for(int64_t count, int64_t per_thread = 1) {
  const int64_t blocks = divide_up(count, THREADS * per_thread);
  return dim3(unsigned(blocks < 1 ? 1 : blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS));
}

// Where element `index` of the first `axes` axes, counted with the last of them fastest, begins.
HEDDLE_DEVICE int64_t offset_of(const Operand& operand, int64_t index, int axes) {
  int64_t offset = 0;
  for (int axis = axes - 1; axis > 0; axis--) {
    offset += index % operand.shape[axis] * operand.stride[axis];
    index /= operand.shape[axis];
  }
  return axes > 0 ? offset + index * operand.stride[0] : 0;
}

// body(i) for every i in [0, count), over the whole grid.
template <typename Body>
HEDDLE_DEVICE void for_elements(int64_t count, const Body& body) {
  const int64_t step = int64_t(gridDim.x) * blockDim.x;
  for (int64_t i = int64_t(blockIdx.x) * blockDim.x + threadIdx.x; i < count; i += step) body(i);
}

// Sums and maxima that every lane gets, the same whatever the lane.
template <typename T>
HEDDLE_DEVICE T warp_sum(T x) {
#pragma unroll
  for (int distance = LANES / 2; distance > 0; distance /= 2) x += __shfl_xor_sync(ALL_LANES, x, distance);
  return x;
}
HEDDLE_DEVICE float warp_maximum(float x) {
#pragma unroll
  for (int distance = LANES / 2; distance > 0; distance /= 2) {
    const float other = __shfl_xor_sync(ALL_LANES, x, distance);
    x = other > x ? other : x;
  }
  return x;
}

// The same over a block of whole warps, at most 32 of them. Every thread of the block must call it; it may be called again at
// once.
template <typename Combine>
HEDDLE_DEVICE float block_combine(float x, float identity, const Combine& combine) {
  SHARED_ARRAY(float, partial, [LANES]);
  const int lane = threadIdx.x % LANES, warp = threadIdx.x / LANES, warps = blockDim.x / LANES;
  x = combine(x);
  __syncthreads();  // whoever still reads the partial results of the call before
  if (lane == 0) partial[warp] = x;
  __syncthreads();
  return combine(lane < warps ? partial[lane] : identity);
}
HEDDLE_DEVICE float block_sum(float x) {
  return block_combine(x, 0.0f, [](float v) { return warp_sum(v); });
}
HEDDLE_DEVICE float block_maximum(float x) {
  return block_combine(x, -INFINITY, [](float v) { return warp_maximum(v); });
}

// The sum over a block of THREADS threads that thread 0 alone gets. Every thread must call it, once.
template <typename T>
HEDDLE_DEVICE T block_total(T x) {
  SHARED_ARRAY(T, partial, [THREADS / LANES]);
  x = warp_sum(x);
  if (threadIdx.x % LANES == 0) partial[threadIdx.x / LANES] = x;
  __syncthreads();
  if (threadIdx.x != 0) return T();
  for (int warp = 1; warp < THREADS / LANES; warp++) x += partial[warp];
  return x;
}

}}  // namespace heddle::cuda
