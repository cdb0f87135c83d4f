// Element by element: arithmetic with broadcasting, activations and their gradients, gates, dropout.
// Reads each input and writes each output once: 8 to 20 bytes an element (half in bf16), 1 to 40 flops (erf, exp and Philox the most).
// Work is split into ranges of about 8,192 elements of the output; strided operands are walked row by row after merging
// neighbouring axes. All of it is bound by memory on long tensors, so a task is what fits in the nearest cache.
#include "kernels.h"
#include "math.h"
#include "operand.h"
#include "philox.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

template <typename Function>
void map(const Call& call, const Function& function) {
  with_type(call.in[0], [&](auto type) {
    const auto* x = elements<decltype(type)>(call.in[0]);
    auto* y = elements<decltype(type)>(call.out[0]);
    if (!y) return;
    parallel_ranges(call.context, size_of(call.in[0]), TASK_ELEMENTS, [&](int64_t first, int64_t last, int32_t) {
      for_vectors(last - first,
                  [&](int64_t i, int lanes) { put(y + first + i, function(fetch(x + first + i, lanes)), lanes); });
    });
  });
}

template <typename Function>
void map_two(const Call& call, const Function& function) {
  with_type(call.in[0], [&](auto type) {
    const auto *a = elements<decltype(type)>(call.in[0]), *b = elements<decltype(type)>(call.in[1]);
    auto* y = elements<decltype(type)>(call.out[0]);
    if (!y) return;
    parallel_ranges(call.context, size_of(call.in[0]), TASK_ELEMENTS, [&](int64_t first, int64_t last, int32_t) {
      for_vectors(last - first, [&](int64_t i, int lanes) {
        put(y + first + i, function(fetch(a + first + i, lanes), fetch(b + first + i, lanes)), lanes);
      });
    });
  });
}

// Both inputs under one list of axes, outermost first, with extents of 1 left out and axes merged where both allow it.
struct Pair {
  int rank = 0;
  int64_t shape[MAX_RANK], a[MAX_RANK], b[MAX_RANK];

  Pair(const Operand& left, const Operand& right) {
    for (int axis = 0; axis < left.rank; axis++) {
      const int64_t extent = left.shape[axis], sa = left.stride[axis], sb = right.stride[axis];
      if (extent == 1) continue;
      if (rank > 0 && a[rank - 1] == sa * extent && b[rank - 1] == sb * extent) {
        shape[rank - 1] *= extent, a[rank - 1] = sa, b[rank - 1] = sb;
      } else {
        shape[rank] = extent, a[rank] = sa, b[rank] = sb, rank++;
      }
    }
    if (rank == 0) shape[0] = 1, a[0] = 1, b[0] = 1, rank = 1;
  }
  int64_t offset(const int64_t* stride, int64_t row) const {
    int64_t offset = 0;
    for (int axis = rank - 2; axis >= 0; axis--) {
      offset += row % shape[axis] * stride[axis];
      row /= shape[axis];
    }
    return offset;
  }
};

template <typename T>
HEDDLE_INLINE Vector gather(const T* from, int64_t stride, int lanes) {
  Vector v = {};
  for (int lane = 0; lane < lanes; lane++) v[lane] = widened(from[lane * stride]);
  return v;
}

template <typename T, typename Function>
HEDDLE_INLINE void binary_row(const T* a, int64_t sa, const T* b, int64_t sb, T* y, int64_t count, const Function& f) {
  if (sa == 1 && sb == 1) {
    for_vectors(count, [&](int64_t i, int lanes) { put(y + i, f(fetch(a + i, lanes), fetch(b + i, lanes)), lanes); });
  } else if (sa == 1 && sb == 0) {
    const Vector right = broadcast(widened(*b));
    for_vectors(count, [&](int64_t i, int lanes) { put(y + i, f(fetch(a + i, lanes), right), lanes); });
  } else if (sa == 0 && sb == 1) {
    const Vector left = broadcast(widened(*a));
    for_vectors(count, [&](int64_t i, int lanes) { put(y + i, f(left, fetch(b + i, lanes)), lanes); });
  } else {
    for_vectors(count, [&](int64_t i, int lanes) {
      put(y + i, f(gather(a + i * sa, sa, lanes), gather(b + i * sb, sb, lanes)), lanes);
    });
  }
}

template <typename T, typename Function>
void binary(const Call& call, const Function& function) {
  T* y = elements<T>(call.out[0]);
  if (!y) return;
  const Pair pair(call.in[0], call.in[1]);
  const int inner = pair.rank - 1;
  const int64_t columns = pair.shape[inner], size = size_of(call.in[0]), rows = size == 0 ? 0 : size / columns;
  const int64_t width = smaller(columns, TASK_ELEMENTS), pieces = columns == 0 ? 0 : divide_up(columns, width);
  parallel_ranges(call.context, rows * pieces, rows_per_task(width), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t index = first; index < last; index++) {
      const int64_t row = index / pieces, start = index % pieces * width;
      const T* a = elements<T>(call.in[0]) + pair.offset(pair.a, row) + start * pair.a[inner];
      const T* b = elements<T>(call.in[1]) + pair.offset(pair.b, row) + start * pair.b[inner];
      binary_row(a, pair.a[inner], b, pair.b[inner], y + row * columns + start, smaller(width, columns - start),
                 function);
    }
  });
}

template <typename Function>
void binary(const Call& call, const Function& function) {
  with_type(call.in[0], [&](auto type) { binary<decltype(type)>(call, function); });
}

template <ActivationKind KIND>
struct Kind {
  static constexpr ActivationKind value = KIND;
};

// run(Kind<...>) for the kind that is known only now, so that inner loops are compiled for each.
template <typename Run>
void with_kind(ActivationKind kind, const Run& run) {
  switch (kind) {
    case ACTIVATION_GELU:
      return run(Kind<ACTIVATION_GELU>());
    case ACTIVATION_GELU_TANH:
      return run(Kind<ACTIVATION_GELU_TANH>());
    case ACTIVATION_RELU:
      return run(Kind<ACTIVATION_RELU>());
    case ACTIVATION_SIGMOID:
      return run(Kind<ACTIVATION_SIGMOID>());
    case ACTIVATION_SILU:
      return run(Kind<ACTIVATION_SILU>());
    case ACTIVATION_TANH:
      return run(Kind<ACTIVATION_TANH>());
    default:
      return run(Kind<ACTIVATION_NONE>());
  }
}

template <typename T>
void gate(const Call& call) {
  const Operand &gate = call.in[0], &up = call.in[1];
  T* y = elements<T>(call.out[0]);
  const int64_t columns = columns_of(gate);
  if (!y) return;
  with_kind(attributes_of<GatedActivationAttributes>(call).kind, [&](auto kind) {
    parallel_ranges(call.context, rows_of(gate), rows_per_task(columns), [&](int64_t first, int64_t last, int32_t) {
      for (int64_t row = first; row < last; row++) {
        const T *g = row_of<T>(gate, row), *u = row_of<T>(up, row);
        T* to = y + row * columns;
        for_vectors(columns, [&](int64_t i, int lanes) {
          put(to + i, activate(decltype(kind)::value, fetch(g + i, lanes)) * fetch(u + i, lanes), lanes);
        });
      }
    });
  });
}

template <typename T>
void gate_backward(const Call& call) {
  const Operand &gate = call.in[0], &up = call.in[1], &dgate = call.out[0], &dup = call.out[1];
  const T* dy = elements<T>(call.in[2]);
  const int64_t columns = columns_of(gate);
  with_kind(attributes_of<GatedActivationBackwardAttributes>(call).kind, [&](auto kind) {
    constexpr ActivationKind KIND = decltype(kind)::value;
    parallel_ranges(call.context, rows_of(gate), rows_per_task(columns), [&](int64_t first, int64_t last, int32_t) {
      for (int64_t row = first; row < last; row++) {
        const T *g = row_of<T>(gate, row), *u = row_of<T>(up, row), *d = dy + row * columns;
        T* dg = dgate.data ? row_of<T>(dgate, row) : nullptr;
        T* du = dup.data ? row_of<T>(dup, row) : nullptr;
        for_vectors(columns, [&](int64_t i, int lanes) {
          const Vector x = fetch(g + i, lanes), y = fetch(u + i, lanes), dz = fetch(d + i, lanes);
          if (dg) put(dg + i, dz * y * activation_derivative(KIND, x), lanes);
          if (du) put(du + i, dz * activate(KIND, x), lanes);
        });
      }
    });
  });
}

template <typename T>
void drop(const Call& call) {
  const DropoutAttributes& attributes = attributes_of<DropoutAttributes>(call);
  const T* x = elements<T>(call.in[0]);
  T* y = elements<T>(call.out[0]);
  if (!y) return;
  const double* scalars = call.context->scalars;
  const uint32_t offset = to_counter(scalars[SCALAR_ROW_OFFSET]), step = to_counter(scalars[SCALAR_STEP]);
  const uint32_t draw = static_cast<uint32_t>(attributes.site) << 8 | to_counter(scalars[SCALAR_MICRO_STEP]);
  uint32_t key[2];
  philox_key(scalars[SCALAR_SEED], key);
  const float probability = attributes.probability;
  const float factor = probability < 1.0f ? 1.0f / (1.0f - probability) : 0.0f;
  const int64_t columns = columns_of(call.in[0]), rows = rows_of(call.in[0]);
  // A task is a piece of a row or several rows; pieces begin at whole blocks of words.
  constexpr int64_t DRAWN = 4 * PHILOX_BLOCKS;
  const int64_t width = smaller(columns, TASK_ELEMENTS), pieces = columns == 0 ? 0 : divide_up(columns, width);
  parallel_ranges(call.context, rows * pieces, rows_per_task(width), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t index = first; index < last; index++) {
      const int64_t row = index / pieces, start = index % pieces * width, end = smaller(columns, start + width);
      for (int64_t c = start; c < end; c += DRAWN) {
        uint32_t words[DRAWN];
        philox_words(static_cast<uint32_t>(row) + offset, static_cast<uint32_t>(c >> 2), step, draw, key, words);
        const T* from = x + row * columns + c;
        T* to = y + row * columns + c;
        for_vectors(smaller(DRAWN, end - c), [&](int64_t i, int lanes) {
          put(to + i, keep(words + i, probability) ? fetch(from + i, lanes) * factor : broadcast(0.0f), lanes);
        });
      }
    }
  });
}

}  // namespace

void add(const Call& call) {
  binary(call, [](Vector a, Vector b) { return a + b; });
}
void subtract(const Call& call) {
  binary(call, [](Vector a, Vector b) { return a - b; });
}
void multiply(const Call& call) {
  binary(call, [](Vector a, Vector b) { return a * b; });
}
void divide(const Call& call) {
  binary(call, [](Vector a, Vector b) { return a / b; });
}

void scale(const Call& call) {
  const ScaleAttributes& attributes = attributes_of<ScaleAttributes>(call);
  const float factor = attributes.factor, shift = attributes.shift;
  map(call, [=](Vector x) { return x * factor + shift; });
}

void unary(const Call& call) {
  switch (attributes_of<UnaryAttributes>(call).kind) {
    case UNARY_EXP:
      return map(call, [](Vector x) { return exp(x); });
    case UNARY_LOG:
      return map(call, [](Vector x) { return log(x); });
    case UNARY_SQRT:
      return map(call, [](Vector x) { return square_root(x); });
    case UNARY_RECIPROCAL:
      return map(call, [](Vector x) { return 1.0f / x; });
    case UNARY_SQUARE:
      return map(call, [](Vector x) { return x * x; });
  }
}

void activation(const Call& call) {
  with_kind(attributes_of<ActivationAttributes>(call).kind,
            [&](auto kind) { map(call, [](Vector x) { return activate(decltype(kind)::value, x); }); });
}

void activation_backward(const Call& call) {
  with_kind(attributes_of<ActivationBackwardAttributes>(call).kind, [&](auto kind) {
    map_two(call, [](Vector x, Vector dy) { return dy * activation_derivative(decltype(kind)::value, x); });
  });
}

void gated_activation(const Call& call) {
  with_type(call.in[0], [&](auto type) { gate<decltype(type)>(call); });
}
void gated_activation_backward(const Call& call) {
  with_type(call.in[0], [&](auto type) { gate_backward<decltype(type)>(call); });
}
void dropout(const Call& call) {
  with_type(call.in[0], [&](auto type) { drop<decltype(type)>(call); });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
