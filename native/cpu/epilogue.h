// What becomes of z = a b on its way to y: bias, addend, activation or its derivative. One matrix of a batch at a time.
#pragma once
#include "../ops.h"
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

struct Rows {
  float* data;  // null where the operand is absent
  int64_t stride;
};

struct Finish {
  const float* bias;
  Rows addend, preactivation, y, preactivation_output;
  bool plain;  // y is z, so that tiles may write it themselves
  void (*apply)(const Finish&, const float* z, int64_t z_stride, int64_t row, int64_t column, int64_t rows,
                int64_t columns);
};

// Finishes rows by columns elements of y from (row, column) on. An element is read before it is written, so that addend and
// preactivation may lie where y does.
template <Epilogue EPILOGUE, ActivationKind KIND>
static void apply(const Finish& f, const float* z, int64_t z_stride, int64_t row, int64_t column, int64_t rows,
                  int64_t columns) {
  for (int64_t i = 0; i < rows; i++, z += z_stride) {
    const auto at = [&](Rows r) { return r.data ? r.data + (row + i) * r.stride + column : nullptr; };
    const float *bias = f.bias ? f.bias + column : nullptr, *addend = at(f.addend), *preactivation = at(f.preactivation);
    float *y = at(f.y), *preactivation_output = at(f.preactivation_output);
    for_vectors(columns, [&](int64_t j, int lanes) {
      Vector x = fetch(z + j, lanes);
      if (bias) x += fetch(bias + j, lanes);
      if (addend) x += fetch(addend + j, lanes);
      if (EPILOGUE == EPILOGUE_ACTIVATION) {
        if (preactivation_output) put(preactivation_output + j, x, lanes);
        x = activate(KIND, x);
      } else if (EPILOGUE == EPILOGUE_ACTIVATION_BACKWARD) {
        x *= activation_derivative(KIND, fetch(preactivation + j, lanes));
      }
      put(y + j, x, lanes);
    });
  }
}

template <int KIND = ACTIVATION_TANH>
static decltype(Finish::apply) apply_of(Epilogue epilogue, ActivationKind kind) {
  if constexpr (KIND > ACTIVATION_NONE)
    if (kind != KIND) return apply_of<KIND - 1>(epilogue, kind);
  return epilogue == EPILOGUE_ACTIVATION            ? apply<EPILOGUE_ACTIVATION, ActivationKind(KIND)>
         : epilogue == EPILOGUE_ACTIVATION_BACKWARD ? apply<EPILOGUE_ACTIVATION_BACKWARD, ActivationKind(KIND)>
                                                    : apply<EPILOGUE_NONE, ACTIVATION_NONE>;
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
