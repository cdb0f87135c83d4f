// Element by element: arithmetic with broadcasting, activations and their gradients, gates, dropout.
// Reads each input and writes each output once: 8 to 20 bytes an element (half in bf16), 1 to 40 flops; bound by memory.
// Dense operands are walked 16 bytes a thread where their addresses allow it, strided ones an element a thread.
// No thread needs another, so an output may lie on an input of the same element.
#include "activation.h"
#include "device.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr int WORDS = 4;  // that Philox draws together

template <typename... Pointers>
bool are_aligned(Pointers... pointers) {
  return ((reinterpret_cast<uintptr_t>(pointers) % 16 == 0) && ...);
}

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Subtract {
  __device__ float operator()(float a, float b) const { return a - b; }
};
struct Multiply {
  __device__ float operator()(float a, float b) const { return a * b; }
};
struct Divide {
  __device__ float operator()(float a, float b) const { return a / b; }
};
struct Scale {
  float factor, shift;
  __device__ float operator()(float x) const { return x * factor + shift; }
};
struct Unary {
  UnaryKind kind;
  __device__ float operator()(float x) const {
    switch (kind) {
      case UNARY_EXP: return expf(x);
      case UNARY_LOG: return logf(x);
      case UNARY_SQRT: return sqrtf(x);
      case UNARY_RECIPROCAL: return 1.0f / x;
      default: return x * x;
    }
  }
};
struct Activate {
  ActivationKind kind;
  __device__ float operator()(float x) const { return activate(kind, x); }
};
struct ActivateBackward {
  ActivationKind kind;
  __device__ float operator()(float x, float dy) const { return dy * activation_derivative(kind, x); }
};

template <typename T, typename Function>
__global__ void map_packs(const Pack<T>* x, Pack<T>* y, int64_t count, Function f) {
  for_elements(count, [&](int64_t i) {
    Pack<T> v = x[i];
#pragma unroll
    for (int e = 0; e < Pack<T>::COUNT; e++) set(v.element[e], f(widened(v.element[e])));
    y[i] = v;
  });
}
template <typename T, typename Function>
__global__ void map_elements(const T* x, T* y, int64_t count, Function f) {
  for_elements(count, [&](int64_t i) { set(y[i], f(widened(x[i]))); });
}
template <typename Function>
Status map(const Call& call, Stream stream, Function f) {
  const int64_t count = size_of(call.in[0]);
  if (!call.out[0].data || count == 0) return cudaSuccess;
  return with_type(call.in[0], [&](auto type) {
    typedef decltype(type) T;
    constexpr int PACK = Pack<T>::COUNT;
    const T* x = static_cast<const T*>(call.in[0].data);
    T* y = static_cast<T*>(call.out[0].data);
    if (count % PACK == 0 && are_aligned(x, y))
      return launch(map_packs<T, Function>, blocks_for(count / PACK), dim3(THREADS), 0, stream,
                    reinterpret_cast<const Pack<T>*>(x), reinterpret_cast<Pack<T>*>(y), count / PACK, f);
    return launch(map_elements<T, Function>, blocks_for(count), dim3(THREADS), 0, stream, x, y, count, f);
  });
}

template <typename T, typename Function>
__global__ void map_two_packs(const Pack<T>* a, const Pack<T>* b, Pack<T>* y, int64_t count, Function f) {
  for_elements(count, [&](int64_t i) {
    Pack<T> v = a[i];
    const Pack<T> w = b[i];
#pragma unroll
    for (int e = 0; e < Pack<T>::COUNT; e++) set(v.element[e], f(widened(v.element[e]), widened(w.element[e])));
    y[i] = v;
  });
}
template <typename T, typename Function>
__global__ void map_two_elements(Operand a, Operand b, T* y, int64_t count, Function f) {
  const T *left = data_of<T>(a), *right = data_of<T>(b);
  for_elements(count, [&](int64_t i) {
    set(y[i], f(widened(left[offset_of(a, i, a.rank)]), widened(right[offset_of(b, i, b.rank)])));
  });
}

// Extents of 1 left out, neighbouring axes merged where both operands allow it.
void merge_axes(Operand& a, Operand& b) {
  int rank = 0;
  for (int axis = 0; axis < a.rank; axis++) {
    const int64_t extent = a.shape[axis], step_a = a.stride[axis], step_b = b.stride[axis];
    if (extent == 1) continue;
    const bool merges = rank > 0 && a.stride[rank - 1] == step_a * extent && b.stride[rank - 1] == step_b * extent;
    if (!merges) a.shape[rank] = b.shape[rank] = 1, rank++;
    a.shape[rank - 1] = b.shape[rank - 1] = a.shape[rank - 1] * extent;
    a.stride[rank - 1] = step_a, b.stride[rank - 1] = step_b;
  }
  a.rank = b.rank = rank;
}

template <typename Function>
Status map_two(const Call& call, Stream stream, Function f) {
  Operand a = call.in[0], b = call.in[1];
  const int64_t count = size_of(a);
  if (!call.out[0].data || count == 0) return cudaSuccess;
  merge_axes(a, b);
  const bool dense = a.rank == 0 || (a.rank == 1 && a.stride[0] == 1 && b.stride[0] == 1);
  return with_type(a, [&](auto type) {
    typedef decltype(type) T;
    constexpr int PACK = Pack<T>::COUNT;
    T* y = static_cast<T*>(call.out[0].data);
    if (dense && count % PACK == 0 && are_aligned(a.data, b.data, y))
      return launch(map_two_packs<T, Function>, blocks_for(count / PACK), dim3(THREADS), 0, stream,
                    static_cast<const Pack<T>*>(a.data), static_cast<const Pack<T>*>(b.data),
                    reinterpret_cast<Pack<T>*>(y), count / PACK, f);
    return launch(map_two_elements<T, Function>, blocks_for(count), dim3(THREADS), 0, stream, a, b, y, count, f);
  });
}

// Rows of gates and values may stand apart; y and dy are dense.
template <typename T>
__global__ void gate(Operand gates, Operand values, T* y, int64_t columns, int64_t count, ActivationKind kind) {
  for_elements(count, [&](int64_t i) {
    const int64_t row = i / columns, column = i % columns;
    const float g = widened(data_of<T>(gates)[offset_of(gates, row, gates.rank - 1) + column]);
    const float v = widened(data_of<T>(values)[offset_of(values, row, values.rank - 1) + column]);
    set(y[i], activate(kind, g) * v);
  });
}

template <typename T>
__global__ void gate_backward(Operand gates, Operand values, const T* dy, Operand dgates, Operand dvalues,
                              int64_t columns, int64_t count, ActivationKind kind) {
  for_elements(count, [&](int64_t i) {
    const int64_t row = i / columns, column = i % columns;
    const float g = widened(data_of<T>(gates)[offset_of(gates, row, gates.rank - 1) + column]);
    const float v = widened(data_of<T>(values)[offset_of(values, row, values.rank - 1) + column]);
    const float d = widened(dy[i]);
    if (dgates.data)
      set(data_of<T>(dgates)[offset_of(dgates, row, dgates.rank - 1) + column], d * v * activation_derivative(kind, g));
    if (dvalues.data)
      set(data_of<T>(dvalues)[offset_of(dvalues, row, dvalues.rank - 1) + column], d * activate(kind, g));
  });
}

// A thread draws the block of four words that four neighbours of a row share; see dropoutFactor in the reference.
template <typename T>
__global__ void drop(const T* x, T* y, int64_t rows, int64_t columns, float probability, int32_t site,
                     const double* scalars) {
  const int64_t groups = (columns + WORDS - 1) / WORDS;
  const uint32_t first_row = to_counter(scalars[SCALAR_ROW_OFFSET]), step = to_counter(scalars[SCALAR_STEP]);
  const uint32_t draw = uint32_t(site) << 8 | to_counter(scalars[SCALAR_MICRO_STEP]);
  const float factor = probability < 1.0f ? 1.0f / (1.0f - probability) : 0.0f;
  uint32_t key[2];
  philox_key(scalars[SCALAR_SEED], key);
  for_elements(rows * groups, [&](int64_t i) {
    const int64_t row = i / groups, group = i % groups;
    const uint32_t counter[4] = {uint32_t(row) + first_row, uint32_t(group), step, draw};
    uint32_t words[4];
    philox(counter, key, words);
    for (int64_t column = group * WORDS, word = 0; word < WORDS && column < columns; word++, column++) {
      const int64_t at = row * columns + column;
      set(y[at], keep(words[word], probability) ? widened(x[at]) * factor : 0.0f);
    }
  });
}

}  // namespace

Status add(const Call& call, Stream stream) { return map_two(call, stream, Add()); }
Status subtract(const Call& call, Stream stream) { return map_two(call, stream, Subtract()); }
Status multiply(const Call& call, Stream stream) { return map_two(call, stream, Multiply()); }
Status divide(const Call& call, Stream stream) { return map_two(call, stream, Divide()); }

Status scale(const Call& call, Stream stream) {
  const ScaleAttributes& attributes = attributes_of<ScaleAttributes>(call);
  return map(call, stream, Scale{attributes.factor, attributes.shift});
}
Status unary(const Call& call, Stream stream) {
  return map(call, stream, Unary{attributes_of<UnaryAttributes>(call).kind});
}
Status activation(const Call& call, Stream stream) {
  return map(call, stream, Activate{attributes_of<ActivationAttributes>(call).kind});
}
Status activation_backward(const Call& call, Stream stream) {
  return map_two(call, stream, ActivateBackward{attributes_of<ActivationBackwardAttributes>(call).kind});
}

Status gated_activation(const Call& call, Stream stream) {
  const int64_t count = size_of(call.in[0]);
  if (!call.out[0].data || count == 0) return cudaSuccess;
  return with_type(call.in[0], [&](auto type) {
    typedef decltype(type) T;
    return launch(gate<T>, blocks_for(count), dim3(THREADS), 0, stream, call.in[0], call.in[1],
                  static_cast<T*>(call.out[0].data), columns_of(call.in[0]), count,
                  attributes_of<GatedActivationAttributes>(call).kind);
  });
}

Status gated_activation_backward(const Call& call, Stream stream) {
  const int64_t count = size_of(call.in[0]);
  if (count == 0) return cudaSuccess;
  return with_type(call.in[0], [&](auto type) {
    typedef decltype(type) T;
    return launch(gate_backward<T>, blocks_for(count), dim3(THREADS), 0, stream, call.in[0], call.in[1],
                  static_cast<const T*>(call.in[2].data), call.out[0], call.out[1], columns_of(call.in[0]), count,
                  attributes_of<GatedActivationBackwardAttributes>(call).kind);
  });
}

Status dropout(const Call& call, Stream stream) {
  const Operand& x = call.in[0];
  if (!call.out[0].data || size_of(x) == 0) return cudaSuccess;
  const DropoutAttributes& attributes = attributes_of<DropoutAttributes>(call);
  const int64_t rows = rows_of(x), columns = columns_of(x);
  return with_type(x, [&](auto type) {
    typedef decltype(type) T;
    return launch(drop<T>, blocks_for(rows * divide_up(columns, WORDS)), dim3(THREADS), 0, stream,
                  static_cast<const T*>(x.data), static_cast<T*>(call.out[0].data), rows, columns,
                  attributes.probability, attributes.site, call.context->scalars);
  });
}

}}  // namespace heddle::cuda
