// What becomes of z = a b on its way to y: bias, addend, activation or its derivative. One matrix of a batch at a time.
#pragma once
#include "../ops.h"
#include "gemm.h"
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

struct Rows {
  void* data;  // null where the operand is absent
  int64_t stride;
};

struct Finish {
  const float* bias;
  Rows addend, preactivation, y, preactivation_output;
  bool plain;          // y is z, so that tiles may write it themselves
  int64_t line;        // elements of y in a cache line
  void (*apply)(const Finish&, const float* z, int64_t z_stride, int64_t row, int64_t column, int64_t rows,
                int64_t columns);
};

// Where a tile of y lies.
static inline Output output_of(const Finish& f, int64_t row, int64_t column) {
  const int64_t bytes = 64 / f.line;
  return {static_cast<const char*>(f.y.data) + (row * f.y.stride + column) * bytes, f.y.stride * bytes};
}

// Asks for the cache lines that apply will touch, so that they arrive while the tile is being multiplied: a store to a line
// that is far away holds up the stores behind it. Those of y only if the tile does not.
static inline void fetch_ahead(const Finish& f, int64_t row, int64_t column, int64_t rows, int64_t columns, bool of_y) {
  if (!of_y && !f.preactivation_output.data && !f.preactivation.data && !f.addend.data) return;
  const auto fetch = [&](Rows r, int64_t i, int64_t j) {
    if (r.data) __builtin_prefetch(static_cast<char*>(r.data) + (i * r.stride + j) * 64 / f.line, 1);
  };
  for (int64_t i = row; i < row + rows; i++)
    for (int64_t j = column; j < column + columns; j += f.line) {
      if (of_y) fetch(f.y, i, j);
      fetch(f.preactivation_output, i, j);
      fetch(f.preactivation, i, j);
      fetch(f.addend, i, j);
    }
}

// Finishes rows by columns elements of y from (row, column) on. An element is read before it is written, so that addend and
// preactivation may lie where y does. T: of y and what else is `result` in src/ops/matmul.ts.
template <Epilogue EPILOGUE, ActivationKind KIND, typename T>
static void apply(const Finish& f, const float* z, int64_t z_stride, int64_t row, int64_t column, int64_t rows,
                  int64_t columns) {
  const auto at = [&](Rows r) { return r.data ? static_cast<T*>(r.data) + row * r.stride + column : nullptr; };
  const T *addend = at(f.addend), *preactivation = at(f.preactivation);
  T *y = at(f.y), *preactivation_output = at(f.preactivation_output);
  const float* bias = f.bias ? f.bias + column : nullptr;
  const auto finish = [&](int64_t j, Vector x, int lanes) __attribute__((always_inline)) {
    if (addend) x += fetch(addend + j, lanes);
    if (EPILOGUE == EPILOGUE_ACTIVATION) {
      if (preactivation_output) {  // and y is made of what was kept, as it is when it is made again from there
        x = rounded<T>(x);
        put(preactivation_output + j, x, lanes);
      }
      x = activate(KIND, x);
    } else if (EPILOGUE == EPILOGUE_ACTIVATION_BACKWARD) {
      x *= activation_derivative(KIND, fetch(preactivation + j, lanes));
    }
    if (y) put(y + j, x, lanes);
  };
  const auto next_row = [&]() __attribute__((always_inline)) {
    z += z_stride;
    if (y) y += f.y.stride;
    if (addend) addend += f.addend.stride;
    if (preactivation) preactivation += f.preactivation.stride;
    if (preactivation_output) preactivation_output += f.preactivation_output.stride;
  };
  if (columns == 2 * LANES) {  // a whole tile, whose biases stay in registers
    const Vector first = bias ? load(bias) : Vector{}, second = bias ? load(bias + LANES) : Vector{};
    for (int64_t i = 0; i < rows; i++, next_row()) {
      finish(0, load(z) + first, LANES);
      finish(LANES, load(z + LANES) + second, LANES);
    }
    return;
  }
  for (int64_t i = 0; i < rows; i++, next_row())
    for_vectors(columns, [&](int64_t j, int lanes) {
      const Vector x = fetch(z + j, lanes);
      finish(j, bias ? x + fetch(bias + j, lanes) : x, lanes);
    });
}

template <typename T, int KIND = ACTIVATION_TANH>
static decltype(Finish::apply) apply_of(Epilogue epilogue, ActivationKind kind) {
  if constexpr (KIND > ACTIVATION_NONE)
    if (kind != KIND) return apply_of<T, KIND - 1>(epilogue, kind);
  return epilogue == EPILOGUE_ACTIVATION            ? apply<EPILOGUE_ACTIVATION, ActivationKind(KIND), T>
         : epilogue == EPILOGUE_ACTIVATION_BACKWARD ? apply<EPILOGUE_ACTIVATION_BACKWARD, ActivationKind(KIND), T>
                                                    : apply<EPILOGUE_NONE, ACTIVATION_NONE, T>;
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
