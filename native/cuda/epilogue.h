// What becomes of z = a b on its way to y: bias, addend, activation or its derivative.
#pragma once
#include "activation.h"
#include "device.h"

namespace heddle { namespace cuda {

// As kernels get it: operands that are absent have no data.
struct Finish {
  Operand bias, addend, preactivation, y, preactivation_output;
  Epilogue epilogue;
  ActivationKind kind;
};

inline Finish finish_of(const Call& call) {
  const auto& attributes = attributes_of<MatmulAttributes>(call);
  return {call.in[2], call.in[3], call.in[4], call.out[0], call.out[1], attributes.epilogue, attributes.kind};
}

struct Rows {
  float* data;  // null where the operand is absent
  int64_t stride;
};

// One matrix of a batch.
struct Finished {
  const float* bias;
  Rows addend, preactivation, y, preactivation_output;
  Epilogue epilogue;
  ActivationKind kind;
};

HEDDLE_DEVICE float* matrix_of(const Operand& operand, int64_t batch) {
  return data_of<float>(operand) + offset_of(operand, batch, operand.rank - 2);
}
HEDDLE_DEVICE Rows matrix_rows(const Operand& operand, int64_t batch) {
  if (!operand.data) return {nullptr, 0};
  return {matrix_of(operand, batch), operand.stride[operand.rank - 2]};
}
HEDDLE_DEVICE Finished finished_matrix(const Finish& f, int64_t batch) {
  return {data_of<float>(f.bias),
          matrix_rows(f.addend, batch),
          matrix_rows(f.preactivation, batch),
          matrix_rows(f.y, batch),
          matrix_rows(f.preactivation_output, batch),
          f.epilogue,
          f.kind};
}

// Finishes COUNT elements of a column from `row` on, of which the first `rows` exist. Whatever they need is read before
// anything is written: so addend and preactivation may lie where y does, and the reads wait for memory together.
template <int COUNT>
HEDDLE_DEVICE void finish(const Finished& f, int64_t row, int64_t column, int rows, float (&x)[COUNT]) {
  float preactivation[COUNT];
  const float bias = f.bias ? f.bias[column] : 0.0f;
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    x[i] += bias;
    preactivation[i] = 0.0f;
    if (i >= rows) continue;
    if (f.addend.data) x[i] += f.addend.data[(row + i) * f.addend.stride + column];
    if (f.epilogue == EPILOGUE_ACTIVATION_BACKWARD)
      preactivation[i] = f.preactivation.data[(row + i) * f.preactivation.stride + column];
  }
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    if (i >= rows) continue;
    if (f.preactivation_output.data)
      f.preactivation_output.data[(row + i) * f.preactivation_output.stride + column] = x[i];
    if (!f.y.data) continue;
    float y = x[i];
    if (f.epilogue == EPILOGUE_ACTIVATION) y = activate(f.kind, y);
    else if (f.epilogue == EPILOGUE_ACTIVATION_BACKWARD) y *= activation_derivative(f.kind, preactivation[i]);
    f.y.data[(row + i) * f.y.stride + column] = y;
  }
}

}}  // namespace heddle::cuda
