// Logits as decoding sees them: comparable whatever they are, and in an order without ties.
#pragma once
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr float GREATEST = 3.40282347e38f;
constexpr float IMPOSSIBLE = -__builtin_inff();

// NaN counts as impossible and inf as the greatest number, so that whatever comes, something comparable is left.
HEDDLE_INLINE float comparable(float logit) { return logit != logit ? IMPOSSIBLE : logit < GREATEST ? logit : GREATEST; }
HEDDLE_INLINE Vector comparable(Vector logit) {
  const Vector bounded = minimum(logit, broadcast(GREATEST));
  return logit == logit ? bounded : broadcast(IMPOSSIBLE);
}

HEDDLE_INLINE float greatest_of(const float* logits, int64_t count) {
  Vector top = broadcast(IMPOSSIBLE);
  for_vectors(count, [&](int64_t i, int lanes) { top = maximum(top, comparable(fetch(logits + i, lanes, IMPOSSIBLE))); });
  return maximum_of(top);
}

// The logarithm of the sum of exp(logit - greatest).
HEDDLE_INLINE double log_of_sum(const float* logits, int64_t count, float greatest) {
  return ::log(static_cast<double>(blocked_sum(
      count, [&](int64_t i, int lanes) { return exp(comparable(fetch(logits + i, lanes, IMPOSSIBLE)) - greatest); })));
}

// Token ids with the highest key on top; of equals, the lowest id.
struct Heap {
  const float* keys;
  int32_t* ids;
  int64_t count;

  bool before(int32_t a, int32_t b) const {
    const float x = comparable(keys[a]), y = comparable(keys[b]);
    return x > y || (x == y && a < b);
  }
  void sift_down(int64_t parent) {
    const int32_t moving = ids[parent];
    for (int64_t child; (child = 2 * parent + 1) < count; parent = child) {
      if (child + 1 < count && before(ids[child + 1], ids[child])) child++;
      if (!before(ids[child], moving)) break;
      ids[parent] = ids[child];
    }
    ids[parent] = moving;
  }
  void build() {
    for (int64_t parent = count / 2 - 1; parent >= 0; parent--) sift_down(parent);
  }
  int32_t pop() {
    const int32_t top = ids[0];
    ids[0] = ids[--count];
    if (count > 0) sift_down(0);
    return top;
  }
};

}}}  // namespace heddle::cpu::HEDDLE_ISA
