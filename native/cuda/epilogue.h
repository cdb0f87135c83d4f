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
  bool is_bf16;  // addend, preactivation, y and preactivation_output, else float32
};

inline Finish finish_of(const Call& call) {
  const auto& attributes = attributes_of<MatmulAttributes>(call);
  const bool is_bf16 = call.out[0].dtype == BF16 || call.out[1].dtype == BF16;  // an absent output has none
  return {call.in[2], call.in[3], call.in[4], call.out[0], call.out[1], attributes.epilogue, attributes.kind, is_bf16};
}

// Float32 or bf16 as is_bf16 says.
struct Rows {
  void* data;  // null where the operand is absent
  int64_t stride;
};

// One matrix of a batch. Kernels whose results are float32 always say so: it saves them registers.
template <bool MAY_BE_BF16>
struct Finished {
  const float* bias;
  Rows addend, preactivation, y, preactivation_output;
  Epilogue epilogue;
  ActivationKind kind;
  bool is_bf16;

  __device__ __forceinline__ float get(const Rows& rows, int64_t row, int64_t column) const {
    const int64_t at = row * rows.stride + column;
    return MAY_BE_BF16 && is_bf16 ? to_float(static_cast<const bf16*>(rows.data)[at]) : static_cast<const float*>(rows.data)[at];
  }
  __device__ __forceinline__ void put(const Rows& rows, int64_t row, int64_t column, float x) const {
    const int64_t at = row * rows.stride + column;
    if (MAY_BE_BF16 && is_bf16) static_cast<bf16*>(rows.data)[at] = to_bf16(x);
    else static_cast<float*>(rows.data)[at] = x;
  }
};

template <typename T>
HEDDLE_DEVICE T* matrix_of(const Operand& operand, int64_t batch) {
  return data_of<T>(operand) + offset_of(operand, batch, operand.rank - 2);
}
HEDDLE_DEVICE Rows matrix_rows(const Operand& operand, int64_t batch, bool is_bf16) {
  if (!operand.data) return {nullptr, 0};
  void* const data = is_bf16 ? static_cast<void*>(matrix_of<bf16>(operand, batch)) : matrix_of<float>(operand, batch);
  return {data, operand.stride[operand.rank - 2]};
}
template <bool MAY_BE_BF16>
HEDDLE_DEVICE Finished<MAY_BE_BF16> finished_matrix(const Finish& f, int64_t batch) {
  return {data_of<float>(f.bias),
          matrix_rows(f.addend, batch, MAY_BE_BF16 && f.is_bf16),
          matrix_rows(f.preactivation, batch, MAY_BE_BF16 && f.is_bf16),
          matrix_rows(f.y, batch, MAY_BE_BF16 && f.is_bf16),
          matrix_rows(f.preactivation_output, batch, MAY_BE_BF16 && f.is_bf16),
          f.epilogue,
          f.kind,
          f.is_bf16};
}

// Finishes COUNT elements of a column from `row` on, of which the first `rows` exist. Whatever they need is read before
// anything is written: so addend and preactivation may lie where y does, and the reads wait for memory together.
template <int COUNT, bool MAY_BE_BF16>
HEDDLE_DEVICE void finish(const Finished<MAY_BE_BF16>& f, int64_t row, int64_t column, int rows, float (&x)[COUNT]) {
  float preactivation[COUNT];
  const float bias = f.bias ? f.bias[column] : 0.0f;
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    x[i] += bias;
    preactivation[i] = 0.0f;
    if (i >= rows) continue;
    if (f.addend.data) x[i] += f.get(f.addend, row + i, column);
    if (f.epilogue == EPILOGUE_ACTIVATION_BACKWARD) preactivation[i] = f.get(f.preactivation, row + i, column);
  }
#pragma unroll
  for (int i = 0; i < COUNT; i++) {
    if (i >= rows) continue;
    if (f.preactivation_output.data) {  // and y is made of what was kept, as it is when it is made again from there
      if (MAY_BE_BF16 && f.is_bf16) x[i] = rounded<bf16>(x[i]);
      f.put(f.preactivation_output, row + i, column, x[i]);
    }
    if (!f.y.data) continue;
    float y = x[i];
    if (f.epilogue == EPILOGUE_ACTIVATION) y = activate(f.kind, y);
    else if (f.epilogue == EPILOGUE_ACTIVATION_BACKWARD) y *= activation_derivative(f.kind, preactivation[i]);
    f.put(f.y, row + i, column, y);
  }
}

}}  // namespace heddle::cuda
