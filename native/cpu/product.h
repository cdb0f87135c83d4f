// A matrix product as matmul's kernels see it: one matrix of a batch, its operands as lines, and how its tiles are finished.
#pragma once
#include "epilogue.h"
#include "gemm.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr int64_t TASKS = 8;  // a product is cut into so many at least, if it has the work: more than the usual cores

template <typename T>
struct Product {
  int64_t m, n, k;
  LinesOf<T> a, b;  // rows of a, columns of b
  Finish finish;
};

template <typename T>
static T* at_batch(const Operand& operand, int64_t batch) {
  return operand.data ? elements<T>(operand) + offset_of(operand, batch, operand.rank - 2) : nullptr;
}

static inline Rows rows_of_batch(const Operand& operand, int64_t batch) {
  void* const data = operand.dtype == BF16 ? static_cast<void*>(at_batch<bf16>(operand, batch)) : at_batch<float>(operand, batch);
  return {data, operand.data ? operand.stride[operand.rank - 2] : 0};
}

template <typename T>
static Product<T> product_of(const Call& call, int64_t batch) {
  const Operand &a = call.in[0], &b = call.in[1];
  const auto& attributes = attributes_of<MatmulAttributes>(call);
  const float* bias = floats(call.in[2]);
  const bool half = call.out[0].dtype == BF16;
  Product<T> p;
  p.m = a.shape[a.rank - 2], p.k = a.shape[a.rank - 1], p.n = b.shape[b.rank - 1];
  p.a = {at_batch<T>(a, batch), a.stride[a.rank - 2], a.stride[a.rank - 1]};
  p.b = {at_batch<T>(b, batch), b.stride[b.rank - 1], b.stride[b.rank - 2]};
  p.finish = {bias,
              rows_of_batch(call.in[3], batch),
              rows_of_batch(call.in[4], batch),
              rows_of_batch(call.out[0], batch),
              rows_of_batch(call.out[1], batch),
              !half && !bias && !call.in[3].data && attributes.epilogue == EPILOGUE_NONE,
              half ? 2 * CACHE_LINE : CACHE_LINE,
              half ? apply_of<bf16>(attributes.epilogue, attributes.kind)
                   : apply_of<float>(attributes.epilogue, attributes.kind)};
  return p;
}

// `lines` from a line and a depth on.
template <typename T>
HEDDLE_INLINE LinesOf<T> from(LinesOf<T> lines, int64_t line, int64_t depth) {
  return {lines.data + line * lines.line_stride + depth * lines.depth_stride, lines.line_stride, lines.depth_stride};
}

// Cuts [0, total) into parts that differ by one at most.
struct Split {
  int64_t total, parts;
  int64_t start(int64_t part) const { return total * part / parts; }
  int64_t size(int64_t part) const { return start(part + 1) - start(part); }
  int64_t most() const { return divide_up(total, parts); }
};

}}}  // namespace heddle::cpu::HEDDLE_ISA
