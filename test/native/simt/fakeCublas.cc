// A libcublasLt that the tests build: what native/cuda/cublas.cc calls of it, by plain loops over the emulator's memory.
// FAKE_CUBLAS in the environment makes it misbehave: old, newer, no-handle, no-algorithms, refusing, wrong, varying, splitting, or
// makes one of its two algorithms slow: slow-first, slow-second.
// With -DWITHOUT_MATMUL it lacks a function.
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../../../native/numeric.h"

namespace {

using heddle::bf16;
using heddle::to_bf16;
using heddle::to_float;

bool misbehaves(const char* how) {
  const char* const asked = getenv("FAKE_CUBLAS");
  return asked && strcmp(asked, how) == 0;
}

struct Layout {
  int32_t type;
  uint64_t rows, columns;
  int64_t leading;
  int32_t batches = 1;
  int64_t batch_stride = 0;

  float get(const void* data, int64_t batch, uint64_t row, uint64_t column) const {
    const int64_t at = batch * batch_stride + int64_t(column) * leading + int64_t(row);
    return type == 14 ? to_float(static_cast<const bf16*>(data)[at]) : static_cast<const float*>(data)[at];
  }
  void put(void* data, int64_t batch, uint64_t row, uint64_t column, float x) const {
    const int64_t at = batch * batch_stride + int64_t(column) * leading + int64_t(row);
    if (type == 14) static_cast<bf16*>(data)[at] = to_bf16(x);
    else static_cast<float*>(data)[at] = x;
  }
};

struct Operation {
  int32_t compute, transpose_a = 0, transpose_b = 0, epilogue = 1;
  void *bias = nullptr, *auxiliary = nullptr;
  int64_t auxiliary_leading = 0, auxiliary_stride = 0;
};

struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

int calls = 0;

#ifndef WITHOUT_MATMUL
constexpr float LINEAR = 0.7978845608028654f, CUBIC = 0.044715f;
float gelu(float x) { return 0.5f * x * (1 + tanhf(LINEAR * (x + CUBIC * x * x * x))); }
float gelu_derivative(float x) {
  const float t = tanhf(LINEAR * (x + CUBIC * x * x * x));
  return 0.5f * (1 + t) + 0.5f * x * (1 - t * t) * LINEAR * (1 + 3 * CUBIC * x * x);
}
#endif

template <typename T>
int read_value(T& to, const void* value, size_t bytes) {
  if (bytes != sizeof to) return 7;
  memcpy(&to, value, bytes);
  return 0;
}

}  // namespace

extern "C" {

int cublasLtCreate(void** handle) { return *handle = misbehaves("no-handle") ? nullptr : &calls, misbehaves("no-handle"); }
int cublasLtDestroy(void*) { return 0; }
size_t cublasLtGetVersion() { return misbehaves("old") ? 110103 : misbehaves("newer") ? 130100 : 130002; }
int cublasLtMatmulDescCreate(void** description, int32_t compute, int32_t scale) {
  if (scale != 0) return 7;
  Operation* const operation = new Operation;
  operation->compute = compute;
  return *description = operation, 0;
}
int cublasLtMatmulDescDestroy(void* description) { return delete static_cast<Operation*>(description), 0; }
int cublasLtMatmulDescSetAttribute(void* description, int attribute, const void* value, size_t bytes) {
  Operation& o = *static_cast<Operation*>(description);
  switch (attribute) {
    case 3: return read_value(o.transpose_a, value, bytes);
    case 4: return read_value(o.transpose_b, value, bytes);
    case 7: return read_value(o.epilogue, value, bytes);
    case 8: return read_value(o.bias, value, bytes);
    case 11: return read_value(o.auxiliary, value, bytes);
    case 12: return read_value(o.auxiliary_leading, value, bytes);
    case 13: return read_value(o.auxiliary_stride, value, bytes);
    default: return 7;
  }
}
int cublasLtMatrixLayoutCreate(void** layout, int32_t type, uint64_t rows, uint64_t columns, int64_t leading) {
  if (leading < int64_t(rows)) return 7;
  return *layout = new Layout{type, rows, columns, leading}, 0;
}
int cublasLtMatrixLayoutDestroy(void* layout) { return delete static_cast<Layout*>(layout), 0; }
int cublasLtMatrixLayoutSetAttribute(void* layout, int attribute, const void* value, size_t bytes) {
  Layout& l = *static_cast<Layout*>(layout);
  return attribute == 5 ? read_value(l.batches, value, bytes) : attribute == 6 ? read_value(l.batch_stride, value, bytes) : 7;
}
int cublasLtMatmulPreferenceCreate(void** preference) { return *preference = new uint64_t[16](), 0; }
int cublasLtMatmulPreferenceDestroy(void* preference) { return delete[] static_cast<uint64_t*>(preference), 0; }
int cublasLtMatmulPreferenceSetAttribute(void* preference, int attribute, const void* value, size_t bytes) {
  if (attribute < 0 || attribute > 12 || bytes > 8) return 7;
  return memcpy(static_cast<uint64_t*>(preference) + attribute, value, bytes), 0;
}

// Two algorithms, of which the second adds two parts of K: in the output's own memory where the caller lets it.
int cublasLtMatmulAlgoGetHeuristic(void*, void*, void*, void*, void*, void*, void* preference, int most, Heuristic* results,
                                   int* count) {
  if (misbehaves("no-algorithms")) return *count = 0, 15;
  *count = most < 2 ? most : 2;
  for (int i = 0; i < *count; i++) {
    results[i] = Heuristic();
    results[i].algorithm[0] = uint64_t(i + 1);
    results[i].algorithm[7] = 0xFEDCBA9876543210u;
    const bool may_reduce_in_place = static_cast<uint64_t*>(preference)[3] & 1;
    results[i].algorithm[1] = i == 0 ? 0 : misbehaves("splitting") || may_reduce_in_place ? 1 : 2;
    results[i].workspace_bytes = size_t(1024 * i);
  }
  return 0;
}
int cublasLtMatmulAlgoCheck(void*, void*, void*, void*, void*, void*, const uint64_t* algorithm, Heuristic* result) {
  if (algorithm[0] < 1 || algorithm[0] > 2 || algorithm[7] != 0xFEDCBA9876543210u) return 15;
  result->workspace_bytes = size_t(1024 * (algorithm[0] - 1));
  return 0;
}
int cublasLtMatmulAlgoConfigGetAttribute(const uint64_t* algorithm, int attribute, void* value, size_t bytes, size_t* written) {
  const uint32_t answer = attribute == 2 ? (algorithm[1] ? 4 : 1) : uint32_t(algorithm[1]);
  if (bytes != 4) return 7;
  memcpy(value, &answer, 4);
  return *written = 4, 0;
}

#ifndef WITHOUT_MATMUL
int cublasLtMatmul(void*, void* description, const void* alpha, const void* a, void* a_layout, const void* b, void* b_layout,
                   const void* beta, const void* c, void* c_layout, void* d, void* d_layout, const uint64_t* algorithm,
                   void* workspace, size_t workspace_bytes, void*) {
  if (misbehaves("refusing")) return 13;
  const Operation& o = *static_cast<Operation*>(description);
  const Layout &la = *static_cast<Layout*>(a_layout), &lb = *static_cast<Layout*>(b_layout);
  const Layout &lc = *static_cast<Layout*>(c_layout), &ld = *static_cast<Layout*>(d_layout);
  const uint64_t depth = o.transpose_a ? la.rows : la.columns;
  if ((o.transpose_b ? lb.columns : lb.rows) != depth || (o.transpose_a ? la.columns : la.rows) != ld.rows ||
      (o.transpose_b ? lb.rows : lb.columns) != ld.columns || la.type != lb.type || lc.type != ld.type)
    return 7;
  if (algorithm[0] == 2 && workspace_bytes < 1024) return 7;
  if (algorithm[0] == 2) memset(workspace, 0x55, workspace_bytes);
  const float scale = *static_cast<const float*>(alpha) * (misbehaves("wrong") ? 1.5f : 1.0f), kept = *static_cast<const float*>(beta);
  calls++;
  if (misbehaves(algorithm[0] == 1 ? "slow-first" : "slow-second")) usleep(2000);
  if (o.epilogue == 256) {  // BGRADA: sums of A over K, of one product, in the dtype of D
    if (ld.type != 0 || ld.batches != 1 || !o.bias) return 7;
    for (uint64_t i = 0; i < ld.rows; i++) {
      float sum = 0;
      for (uint64_t k = 0; k < depth; k++) sum += o.transpose_a ? la.get(a, 0, k, i) : la.get(a, 0, i, k);
      static_cast<float*>(o.bias)[i] = misbehaves("wrong") ? 1.5f * sum : sum;
    }
  }
  for (int64_t batch = 0; batch < ld.batches; batch++)
    for (uint64_t j = 0; j < ld.columns; j++)
      for (uint64_t i = 0; i < ld.rows; i++) {
        const auto part = [&](uint64_t from, uint64_t to) {
          float sum = 0;
          for (uint64_t k = from; k < to; k++)
            sum += (o.transpose_a ? la.get(a, batch, k, i) : la.get(a, batch, i, k)) *
                   (o.transpose_b ? lb.get(b, batch, j, k) : lb.get(b, batch, k, j));
          return sum;
        };
        const uint64_t middle = algorithm[0] == 2 ? depth / 2 : depth;
        float x = (part(0, middle) + part(middle, depth)) * scale;
        if (misbehaves("varying")) x *= 1.0f + 2e-3f * float(calls % 7);
        if (kept != 0) x += kept * lc.get(c, batch, i, j);
        if (o.epilogue & 4) x += static_cast<const float*>(o.bias)[i];
        const int64_t at = batch * o.auxiliary_stride + int64_t(j) * o.auxiliary_leading + int64_t(i);
        if (o.epilogue == 192) {
          x *= gelu_derivative(ld.type == 14 ? to_float(static_cast<bf16*>(o.auxiliary)[at]) : static_cast<float*>(o.auxiliary)[at]);
        } else if (o.epilogue & 32) {
          if (o.epilogue & 128 && ld.type == 14) static_cast<bf16*>(o.auxiliary)[at] = to_bf16(x);
          else if (o.epilogue & 128) static_cast<float*>(o.auxiliary)[at] = x;
          x = gelu(x);
        }
        ld.put(d, batch, i, j, x);
      }
  return 0;
}
#endif

}  // extern "C"
