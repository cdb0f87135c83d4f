// One matrix product of native/cuda, checked element by element against float64. Operands are small whole numbers and eighths, so
// that only the rounding of a bf16 result separates the two.
#pragma once
#include <algorithm>
#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "../../../native/cuda/kernels.h"
#include "../check.h"

namespace product {

using namespace heddle;
using namespace heddle::cuda;

constexpr uint8_t SENTINEL = 0xA5;
constexpr double PI = 3.14159265358979323846;

// A matrix of a batch as a view of memory with a margin: [batch][outer][inner], perhaps turned.
struct Matrix {
  std::vector<uint8_t> memory;
  Operand view = {};

  Matrix(DType dtype, int64_t batches, int64_t rows, int64_t columns, bool is_turned, int64_t pitch) {
    const int64_t outer = is_turned ? columns : rows, width = dtype == BF16 ? 2 : 4;
    memory.assign(size_t(batches * outer * pitch * width + 256), SENTINEL);
    uint8_t* const first = memory.data() + (256 - reinterpret_cast<uintptr_t>(memory.data()) % 256) % 256;
    view = {first, dtype, 3, {batches, rows, columns}, {outer * pitch, pitch, 1}};
    if (is_turned) view.stride[1] = 1, view.stride[2] = pitch;
  }
  Matrix(const Matrix&) = delete;

  int64_t at(int64_t batch, int64_t row, int64_t column) const {
    return batch * view.stride[0] + row * view.stride[1] + column * view.stride[2];
  }
  double get(int64_t batch, int64_t row, int64_t column) const {
    const int64_t i = at(batch, row, column);
    return view.dtype == BF16 ? to_float(static_cast<const bf16*>(view.data)[i]) : static_cast<const float*>(view.data)[i];
  }
  void put(int64_t batch, int64_t row, int64_t column, float x) {
    const int64_t i = at(batch, row, column);
    if (view.dtype == BF16) static_cast<bf16*>(view.data)[i] = to_bf16(x);
    else static_cast<float*>(view.data)[i] = x;
  }
  // With NaN in the gaps between rows.
  void fill(int seed) {
    std::fill(memory.begin(), memory.end(), uint8_t(0xFF));
    for (int64_t b = 0; b < view.shape[0]; b++)
      for (int64_t i = 0; i < view.shape[1]; i++)
        for (int64_t j = 0; j < view.shape[2]; j++) put(b, i, j, float((b * 31 + i * 7 + j * 13 + seed) % 17 - 8) / 8.0f);
  }
};

struct Case {
  int64_t batches, m, n, k;
  bool a_turned, b_turned;
  DType real, result;
  int tile;
  Epilogue epilogue;
  bool has_bias, has_addend;
  int64_t odd_pitch;  // added to every pitch: 1 makes units of 16 bytes impossible
  ActivationKind kind = ACTIVATION_GELU;  // or ACTIVATION_GELU_TANH
  bool has_sums = false;
};

inline double gelu(ActivationKind kind, double x) {
  const double u = std::sqrt(2 / PI) * (x + 0.044715 * x * x * x);
  return kind == ACTIVATION_GELU_TANH ? 0.5 * x * (1 + std::tanh(u)) : 0.5 * x * std::erfc(-x / std::sqrt(2.0));
}
inline double gelu_derivative(ActivationKind kind, double x) {
  constexpr double STEP = 1e-5;
  return (gelu(kind, x + STEP) - gelu(kind, x - STEP)) / (2 * STEP);
}

// May look at the call and change its context before it runs.
typedef std::function<void(const Call&, MatmulContext&)> Prepare;

// What is wrong, or nothing.
inline std::string run(const Case& c, const Prepare& prepare = {}) {
  const auto pitch = [&](int64_t columns) { return (columns + 7) / 8 * 8 + 8 + c.odd_pitch; };
  Matrix a(c.real, c.batches, c.m, c.k, c.a_turned, pitch(c.a_turned ? c.m : c.k));
  Matrix b(c.real, c.batches, c.k, c.n, c.b_turned, pitch(c.b_turned ? c.k : c.n));
  Matrix bias(F32, 1, 1, c.n, false, c.n), addend(c.result, c.batches, c.m, c.n, false, pitch(c.n));
  Matrix preactivation(c.result, c.batches, c.m, c.n, false, pitch(c.n));
  Matrix y(c.result, c.batches, c.m, c.n, false, pitch(c.n)), kept(c.result, c.batches, c.m, c.n, false, pitch(c.n));
  std::vector<float> sums(size_t(c.batches * c.n), -1);
  a.fill(1), b.fill(5), bias.fill(2), addend.fill(3), preactivation.fill(4);
  Operand in[5] = {a.view, b.view}, out[3] = {y.view};
  if (c.has_bias) in[2] = {bias.view.data, F32, 1, {c.n}, {1}};
  if (c.has_addend) in[3] = addend.view;
  if (c.epilogue == EPILOGUE_ACTIVATION_BACKWARD) in[4] = preactivation.view;
  if (c.epilogue == EPILOGUE_ACTIVATION) out[1] = kept.view;
  if (c.has_sums) out[2] = {sums.data(), F32, 2, {c.batches, c.n}, {c.n, 1}};
  const MatmulAttributes attributes = {c.epilogue, c.epilogue == EPILOGUE_NONE ? ACTIVATION_NONE : c.kind};
  MatmulContext context = {};
  context.tf32 = c.real == F32, context.choice.tile = c.tile;
  const Call call = {in, out, &attributes, &context};
  if (prepare) prepare(call, context);
  std::vector<uint8_t> workspace(size_t(matmul_workspace(call)) + 256, SENTINEL);
  context.workspace = workspace.data() + 64 - reinterpret_cast<uintptr_t>(workspace.data()) % 64;
  if (matmul(call, nullptr) != cudaSuccess) return "it fails";

  const double bound = c.result == BF16 ? 1.0 / 256 : 2e-6;
  for (int64_t batch = 0; batch < c.batches; batch++)
    for (int64_t i = 0; i < c.m; i++) {
      for (int64_t j = 0; j < c.n; j++) {
        double z = 0;
        for (int64_t k = 0; k < c.k; k++) z += a.get(batch, i, k) * b.get(batch, k, j);
        if (c.has_bias) z += bias.get(0, 0, j);
        if (c.has_addend) z += addend.get(batch, i, j);
        const double expected = c.epilogue == EPILOGUE_NONE         ? z
                                : c.epilogue == EPILOGUE_ACTIVATION ? gelu(c.kind, z)
                                                                    : z * gelu_derivative(c.kind, preactivation.get(batch, i, j));
        const auto is_near = [&](double found, double wanted) {
          // With tanh the tails are differences of nearly equal numbers.
          const double scale = c.kind == ACTIVATION_GELU_TANH ? std::abs(z) : 0.01;
          return std::abs(found - wanted) <= bound * (std::abs(wanted) + scale);
        };
        const std::string where = "[" + std::to_string(batch) + "][" + std::to_string(i) + "][" + std::to_string(j) + "]";
        if (!is_near(y.get(batch, i, j), expected))
          return where + " is " + std::to_string(y.get(batch, i, j)) + " instead of " + std::to_string(expected);
        if (c.epilogue == EPILOGUE_ACTIVATION && !is_near(kept.get(batch, i, j), z)) return where + ": wrong preactivation";
      }
    }
  for (int64_t i = 0; c.has_sums && i < c.batches * c.n; i++) {
    double sum = 0;
    for (int64_t k = 0; k < c.k; k++) sum += b.get(i / c.n, k, i % c.n);
    if (std::abs(sums[size_t(i)] - sum) > 1e-5 * double(c.k)) return "column sum " + std::to_string(i) + " is wrong";
  }
  // Nothing beside y was written: the gap between its rows still holds what it held.
  const int64_t width = c.result == BF16 ? 2 : 4;
  for (int64_t i = 0; i < c.batches * c.m; i++)
    for (int64_t byte = c.n * width; byte < y.view.stride[1] * width; byte++)
      if (static_cast<const uint8_t*>(y.view.data)[i * y.view.stride[1] * width + byte] != SENTINEL)
        return "row " + std::to_string(i) + ": something was written behind it";
  return "";
}

}  // namespace product
