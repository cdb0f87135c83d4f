// Logits as decoding sees them: comparable whatever they are, and in an order without ties.
#pragma once
#include "device.h"

namespace heddle { namespace cuda {

constexpr float GREATEST = 3.40282347e38f;

// NaN counts as impossible and inf as the greatest number, so that whatever comes, something comparable is left.
HEDDLE_DEVICE float comparable(float logit) {
  return logit != logit ? -INFINITY : logit < GREATEST ? logit : GREATEST;
}
// Ascending with the number.
HEDDLE_DEVICE uint32_t key_of(float number) {
  const float x = comparable(number) + 0.0f;  // -0 and 0 are equal
  const uint32_t bits = __float_as_uint(x);
  return bits & 0x80000000u ? ~bits : bits | 0x80000000u;
}

// Sum over the block, in the order of threads, that every thread gets; with the sum of the threads before it.
HEDDLE_DEVICE double ordered_sum(double own, double* before = nullptr) {
  SHARED_ARRAY(double, parts, [THREADS + 1]);
  __syncthreads();
  parts[threadIdx.x] = own;
  __syncthreads();
  if (threadIdx.x == 0) {
    double sum = 0;
    for (int i = 0; i < THREADS; i++) {
      const double part = parts[i];
      parts[i] = sum;
      sum += part;
    }
    parts[THREADS] = sum;
  }
  __syncthreads();
  if (before) *before = parts[threadIdx.x];
  return parts[THREADS];
}

// The greatest of a row, which every thread gets.
HEDDLE_DEVICE float greatest_of(const float* logits, int64_t count) {
  float greatest = -INFINITY;
  for (int64_t i = threadIdx.x; i < count; i += THREADS) greatest = fmaxf(greatest, comparable(logits[i]));
  return block_maximum(greatest);
}

// The logarithm of the sum of exp(logit - greatest), which every thread gets.
HEDDLE_DEVICE double log_of_sum(const float* logits, int64_t count, float greatest) {
  double sum = 0;
  for (int64_t i = threadIdx.x; i < count; i += THREADS) sum += expf(comparable(logits[i]) - greatest);
  return log(ordered_sum(sum));
}

}}  // namespace heddle::cuda
