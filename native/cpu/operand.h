// Reading operands, and cutting work into ranges that depend on shapes alone.
#pragma once
#include "parallel.h"
#include "vector.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

// About 32 KB of floats: large enough to hide what starting a task costs, small enough to stay in the nearest cache.
constexpr int64_t TASK_ELEMENTS = 8192;

HEDDLE_INLINE float* floats(const Operand& operand) { return static_cast<float*>(operand.data); }
template <typename T>
HEDDLE_INLINE T* elements(const Operand& operand) {
  return static_cast<T*>(operand.data);
}
// body(element) with a value of the operand's type, float or bf16, of which only the type counts.
template <typename Body>
HEDDLE_INLINE void with_type(const Operand& operand, const Body& body) {
  if (operand.dtype == BF16) body(bf16{});
  else body(0.0f);
}
HEDDLE_INLINE int32_t* integers(const Operand& operand) { return static_cast<int32_t*>(operand.data); }

template <typename Attributes>
HEDDLE_INLINE const Attributes& attributes_of(const Call& call) {
  return *static_cast<const Attributes*>(call.attributes);
}

// Product of the extents of axes [first, last).
HEDDLE_INLINE int64_t extent_of(const Operand& operand, int first, int last) {
  int64_t product = 1;
  for (int axis = first; axis < last; axis++) product *= operand.shape[axis];
  return product;
}
HEDDLE_INLINE int64_t size_of(const Operand& operand) { return extent_of(operand, 0, operand.rank); }
HEDDLE_INLINE int64_t rows_of(const Operand& operand) { return extent_of(operand, 0, operand.rank - 1); }
HEDDLE_INLINE int64_t columns_of(const Operand& operand) { return operand.shape[operand.rank - 1]; }

// Where the flattened index `row` of the first `axes` axes begins, in elements.
HEDDLE_INLINE int64_t offset_of(const Operand& operand, int64_t row, int axes) {
  int64_t offset = 0;
  for (int axis = axes - 1; axis > 0; axis--) {
    offset += row % operand.shape[axis] * operand.stride[axis];
    row /= operand.shape[axis];
  }
  return axes > 0 ? offset + row * operand.stride[0] : 0;
}
template <typename T>
HEDDLE_INLINE T* row_of(const Operand& operand, int64_t row) {
  return elements<T>(operand) + offset_of(operand, row, operand.rank - 1);
}

HEDDLE_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
HEDDLE_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
HEDDLE_INLINE int64_t divide_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows of `columns` elements that make up a task.
HEDDLE_INLINE int64_t rows_per_task(int64_t columns) { return larger(1, TASK_ELEMENTS / larger(1, columns)); }

// body(first, last, worker) for the ranges of `grain` indices that make up [0, count).
template <typename Body>
inline void parallel_ranges(Context* context, int64_t count, int64_t grain, const Body& body) {
  parallel(context, divide_up(count, grain),
           [&](int64_t index, int32_t worker) { body(index * grain, smaller(count, (index + 1) * grain), worker); });
}

// body(i, lanes) for the whole vectors of [0, count), then for the partial one. `lanes` is a constant in the first
// case, so that fetch and put below become plain loads and stores.
template <typename Body>
HEDDLE_INLINE void for_vectors(int64_t count, const Body& body) {
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) body(i, LANES);
  if (i < count) body(i, static_cast<int>(count - i));
}
template <typename T>
HEDDLE_INLINE Vector fetch(const T* from, int lanes, float other = 0.0f) {
  return lanes == LANES ? load(from) : load_first(from, lanes, other);
}
template <typename T>
HEDDLE_INLINE void put(T* to, Vector v, int lanes) {
  if (lanes == LANES) return store(to, v);
  store_first(to, v, lanes);
}

// Sum of term(i, lanes) over a row, in blocks so that the rounding error grows with the number of blocks and not of
// elements. Terms must be 0 in the lanes beyond the end.
template <typename Term>
HEDDLE_INLINE float blocked_sum(int64_t count, const Term& term) {
  constexpr int64_t BLOCK = 64 * LANES;
  Vector total = {};
  for (int64_t start = 0; start < count; start += BLOCK) {
    const int64_t length = smaller(BLOCK, count - start);
    Vector even = {}, odd = {};
    int64_t i = 0;
    for (; i + 2 * LANES <= length; i += 2 * LANES) {
      even += term(start + i, LANES);
      odd += term(start + i + LANES, LANES);
    }
    for_vectors(length - i, [&](int64_t rest, int lanes) { even += term(start + i + rest, lanes); });
    total += even + odd;
  }
  return sum_of(total);
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
