// A matrix product as matmul's kernels see it: one matrix of a batch, its operands as lines, and how its tiles are finished.
#pragma once
#include "epilogue.h"
#include "gemm.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr int64_t TASKS = 8;  // a product is cut into so many at least, if it has the work: more than the usual cores

struct Product {
  int64_t m, n, k;
  Lines a, b;  // rows of a, columns of b
  Finish finish;
};

static inline float* at_batch(const Operand& operand, int64_t batch) {
  return operand.data ? floats(operand) + offset_of(operand, batch, operand.rank - 2) : nullptr;
}

static inline Product product_of(const Call& call, int64_t batch) {
  const Operand &a = call.in[0], &b = call.in[1];
  const auto& attributes = attributes_of<MatmulAttributes>(call);
  const auto rows = [&](const Operand& o) { return Rows{at_batch(o, batch), o.data ? o.stride[o.rank - 2] : 0}; };
  const float* bias = floats(call.in[2]);
  Product p;
  p.m = a.shape[a.rank - 2], p.k = a.shape[a.rank - 1], p.n = b.shape[b.rank - 1];
  p.a = {at_batch(a, batch), a.stride[a.rank - 2], a.stride[a.rank - 1]};
  p.b = {at_batch(b, batch), b.stride[b.rank - 1], b.stride[b.rank - 2]};
  p.finish = {bias, rows(call.in[3]), rows(call.in[4]), rows(call.out[0]), rows(call.out[1]),
              !bias && !call.in[3].data && attributes.epilogue == EPILOGUE_NONE,
              apply_of(attributes.epilogue, attributes.kind)};
  return p;
}

// `lines` from a line and a depth on.
HEDDLE_INLINE Lines from(Lines lines, int64_t line, int64_t depth) {
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
