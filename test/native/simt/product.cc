// The matrix products of native/cuda on tensor cores: every tile, layout and epilogue, in bf16 and in tf32, against float64.
// Operands are small whole numbers and eighths, so that only the rounding of a bf16 result separates the two.
// Usage: product [seeds]
#include <cmath>
#include <cstdlib>
#include <string>
#include <vector>

#include "../../../native/cuda/kernels.h"
#include "../../../native/signature.h"
#include "../check.h"

namespace {

using namespace heddle;
using namespace heddle::cuda;

constexpr uint8_t SENTINEL = 0xA5;

// A matrix of a batch as a view of memory with a margin: [batch][outer][inner], perhaps turned.
struct Matrix {
  std::vector<uint8_t> memory;
  Operand view = {};

  Matrix(DType dtype, int64_t batches, int64_t rows, int64_t columns, bool is_turned, int64_t pitch) {
    const int64_t outer = is_turned ? columns : rows, width = dtype == BF16 ? 2 : 4;
    memory.assign(size_t(batches * outer * pitch * width + 64), SENTINEL);
    uint8_t* const first = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
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
  void fill(int seed) {
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
};

double gelu(double x) { return 0.5 * x * std::erfc(-x / std::sqrt(2.0)); }
double gelu_derivative(double x) {
  return 0.5 * std::erfc(-x / std::sqrt(2.0)) + x * std::exp(-0.5 * x * x) / std::sqrt(2 * 3.14159265358979323846);
}

// What is wrong, or nothing.
std::string run(const Case& c) {
  const auto pitch = [&](int64_t columns) { return (columns + 7) / 8 * 8 + 8 + c.odd_pitch; };
  Matrix a(c.real, c.batches, c.m, c.k, c.a_turned, pitch(c.a_turned ? c.m : c.k));
  Matrix b(c.real, c.batches, c.k, c.n, c.b_turned, pitch(c.b_turned ? c.k : c.n));
  Matrix bias(F32, 1, 1, c.n, false, c.n), addend(c.result, c.batches, c.m, c.n, false, pitch(c.n));
  Matrix preactivation(c.result, c.batches, c.m, c.n, false, pitch(c.n));
  Matrix y(c.result, c.batches, c.m, c.n, false, pitch(c.n)), kept(c.result, c.batches, c.m, c.n, false, pitch(c.n));
  a.fill(1), b.fill(5), bias.fill(2), addend.fill(3), preactivation.fill(4);
  Operand in[5] = {a.view, b.view}, out[2] = {y.view};
  if (c.has_bias) in[2] = {bias.view.data, F32, 1, {c.n}, {1}};
  if (c.has_addend) in[3] = addend.view;
  if (c.epilogue == EPILOGUE_ACTIVATION_BACKWARD) in[4] = preactivation.view;
  if (c.epilogue == EPILOGUE_ACTIVATION) out[1] = kept.view;
  const MatmulAttributes attributes = {c.epilogue, c.epilogue == EPILOGUE_NONE ? ACTIVATION_NONE : ACTIVATION_GELU};
  MatmulContext context = {};
  context.tf32 = c.real == F32, context.tile = c.tile;
  const Call call = {in, out, &attributes, &context};
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
                                : c.epilogue == EPILOGUE_ACTIVATION ? gelu(z)
                                                                    : z * gelu_derivative(preactivation.get(batch, i, j));
        const auto is_near = [&](double found, double wanted) {
          return std::abs(found - wanted) <= bound * (std::abs(wanted) + 0.01);
        };
        const std::string where = "[" + std::to_string(batch) + "][" + std::to_string(i) + "][" + std::to_string(j) + "]";
        if (!is_near(y.get(batch, i, j), expected))
          return where + " is " + std::to_string(y.get(batch, i, j)) + " instead of " + std::to_string(expected);
        if (c.epilogue == EPILOGUE_ACTIVATION && !is_near(kept.get(batch, i, j), z)) return where + ": wrong preactivation";
      }
    }
  // Nothing beside y was written: the gap between its rows still holds what it held.
  const int64_t width = c.result == BF16 ? 2 : 4;
  for (int64_t i = 0; i < c.batches * c.m; i++)
    for (int64_t byte = c.n * width; byte < y.view.stride[1] * width; byte++)
      if (static_cast<const uint8_t*>(y.view.data)[i * y.view.stride[1] * width + byte] != SENTINEL)
        return "row " + std::to_string(i) + ": something was written behind it";
  return "";
}

struct Extents {
  int64_t batches, m, n, k;
};

}  // namespace

int main(int count, char** arguments) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  const bool is_sanitized = true;
#else
  const bool is_sanitized = false;
#endif
  const int seeds = count > 1 ? atoi(arguments[1]) : 1;
  constexpr Epilogue epilogues[] = {EPILOGUE_NONE, EPILOGUE_ACTIVATION, EPILOGUE_ACTIVATION_BACKWARD};
  // Less than a tile, more than one with edges everywhere, several chunks of K, an empty K, and K in parts.
  constexpr Extents large[] = {{1, 136, 264, 40}, {1, 16, 24, 200}};
  constexpr Extents small[] = {{1, 16, 8, 8}, {2, 72, 88, 136}, {1, 9, 65, 33}, {1, 12, 20, 0}, {1, 64, 64, 1072}};
  int cases = 0;
  for (int seed = 1; seed <= seeds; seed++)
    for (int setting = 0; setting < 2; setting++) {
      simt::settings.order = setting ? simt::Settings::SHUFFLED : simt::Settings::FORWARD;
      simt::settings.copies = setting ? simt::Settings::MIXED : simt::Settings::LATE;
      simt::settings.poison = setting ? 0x7B : 0xFF;
      simt::settings.seed = uint64_t(seed);
      if (is_sanitized && !setting) continue;
      const auto check = [&](const Extents& e, DType real, DType result, int tile, int64_t odd_pitch) {
        for (int layout = 0; layout < 4; layout++) {
          const int variant = cases++;  // every epilogue, with and without bias and addend, in turn
          const Case c = {e.batches, e.m,  e.n,    e.k,
                          layout / 2 == 1, layout % 2 == 1, real, result, tile, epilogues[variant % 3], variant / 2 % 2 == 0,
                          variant / 3 % 2 == 0, odd_pitch};
          const std::string problem = run(c);
          if (problem.empty()) continue;
          failures()++;
          fprintf(stderr, "%s to %s, %d x %d x %d, tile %d, layout %d, epilogue %d, setting %d, seed %d: %s\n",
                  real == BF16 ? "bf16" : "tf32", result == BF16 ? "bf16" : "f32", int(e.m), int(e.n), int(e.k), tile, layout,
                  int(c.epilogue), setting, seed, problem.c_str());
        }
      };
      for (const DType result : {F32, BF16}) {
        for (const Extents& e : small) check(e, BF16, result, PLANNED_TILE, 0);
        check(small[1], BF16, result, PLANNED_TILE, 1);
        check({2, 3, 40, 48}, BF16, result, PLANNED_TILE, 0);  // thin
        if (is_sanitized) continue;
        for (const Extents& e : large)
          for (const int tile : {TENSOR_WIDE, TENSOR_LARGE}) check(e, BF16, result, tile, 0);
      }
      for (const Extents& e : small) check(e, F32, F32, PLANNED_TILE, 0);
      if (!is_sanitized) check(large[0], F32, F32, TENSOR_LARGE, 0);
    }
  printf("%d products: ", cases);
  return report("product");
}
