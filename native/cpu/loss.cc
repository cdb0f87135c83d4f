// Cross entropy of softmax(logits) with smoothed targets, and its gradient; the number of targets that count.
// Reads the logits from memory once, then from cache; writes dlogits where asked for: 4 to 8 bytes, ~30 flops each.
// Split by rows. The greatest logit and the sum of exponentials are carried along together, one block that fits in the
// nearest cache at a time (Milakov & Gimelshein 2018, arXiv:1805.02867), so that a vocabulary of any size is read once.
#include <math.h>

#include "kernels.h"
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

struct RowStatistics {
  float greatest;
  double exponentials;  // sum of exp(x - greatest)
  double log_sum_exp;
  double sum;  // of the logits; only where asked for
};

template <typename T>
RowStatistics statistics(const T* x, int64_t count, bool with_sum) {
  constexpr int64_t BLOCK = 4096;
  constexpr float LOWEST = -__builtin_inff();
  float greatest = LOWEST;
  double exponentials = 0, sum = 0;
  for (int64_t start = 0; start < count; start += BLOCK) {
    const T* from = x + start;
    const int64_t length = smaller(BLOCK, count - start);
    Vector top = broadcast(LOWEST);
    for_vectors(length, [&](int64_t i, int lanes) { top = maximum(top, fetch(from + i, lanes, LOWEST)); });
    const float most = maximum_of(top);
    if (most > greatest) {
      if (start > 0) exponentials *= ::exp(static_cast<double>(greatest) - most);
      greatest = most;
    }
    // A block of nothing but -inf adds nothing; but a NaN in it must show.
    const float shift = greatest == LOWEST ? 0.0f : greatest;
    exponentials +=
        blocked_sum(length, [&](int64_t i, int lanes) { return exp(fetch(from + i, lanes, LOWEST) - shift); });
    if (with_sum) sum += blocked_sum(length, [&](int64_t i, int lanes) { return fetch(from + i, lanes); });
  }
  return {greatest, exponentials, greatest + ::log(exponentials), sum};
}

// to = factor (exp(x - shift) inverse - (1 - smoothing) onehot - smoothing / count); to may be x.
template <typename T>
HEDDLE_INLINE void write_gradient(const T* x, int64_t count, int32_t target, float shift, float inverse, float smoothing,
                                  float factor, T* to) {
  const float uniform = smoothing / static_cast<float>(count);
  const float own = exp(broadcast(widened(x[target]) - shift))[0] * inverse - uniform;
  for_vectors(count, [&](int64_t i, int lanes) {
    put(to + i, (exp(fetch(x + i, lanes) - shift) * inverse - uniform) * factor, lanes);
  });
  // From the number before it was rounded: near 1 it would lose what is left of it.
  set(to[target], own * factor - (1.0f - smoothing) * factor);
}

template <typename T>
void cross_entropy(const Call& call) {
  const T* logits = elements<T>(call.in[0]);
  const int32_t* targets = integers(call.in[1]);
  float *loss = floats(call.out[0]), *log_sum_exp = floats(call.out[1]);
  T* dlogits = elements<T>(call.out[2]);
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  const int64_t pitch = call.in[0].stride[0], dlogits_pitch = call.out[2].stride[0];
  const float smoothing = attributes_of<SoftmaxCrossEntropyAttributes>(call).label_smoothing;
  parallel_ranges(call.context, rows, rows_per_task(count), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t row = first; row < last; row++) {
      const T* x = logits + row * pitch;
      const int32_t target = targets[row];
      const bool counts = target >= 0 && target < count;
      if (!counts) {
        if (loss) loss[row] = 0.0f;
        if (log_sum_exp) log_sum_exp[row] = static_cast<float>(statistics(x, count, false).log_sum_exp);
        if (dlogits) memset(dlogits + row * dlogits_pitch, 0, count * sizeof(T));
        continue;
      }
      const RowStatistics found = statistics(x, count, loss && smoothing != 0.0f);
      if (loss) {
        // The mean is needed only with smoothing: without it, a logit of -inf elsewhere must not make 0 * inf.
        double expected = widened(x[target]);
        if (smoothing != 0.0f) expected += smoothing * (found.sum / static_cast<double>(count) - expected);
        loss[row] = static_cast<float>(found.log_sum_exp - expected);
      }
      if (log_sum_exp) log_sum_exp[row] = static_cast<float>(found.log_sum_exp);
      // Not exp(x - log_sum_exp): that would carry the rounding of large logits into the probabilities.
      const float inverse = static_cast<float>(1 / found.exponentials);
      if (dlogits) write_gradient(x, count, target, found.greatest, inverse, smoothing, 1.0f, dlogits + row * dlogits_pitch);
    }
  });
}

template <typename T>
void cross_entropy_backward(const Call& call) {
  const T* logits = elements<T>(call.in[0]);
  const int32_t* targets = integers(call.in[1]);
  const float *log_sum_exp = floats(call.in[2]), *dloss = floats(call.in[3]);
  T* dlogits = elements<T>(call.out[0]);
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  const int64_t pitch = call.in[0].stride[0], dlogits_pitch = call.out[0].stride[0];
  const float smoothing = attributes_of<SoftmaxCrossEntropyBackwardAttributes>(call).label_smoothing;
  if (!dlogits) return;
  parallel_ranges(call.context, rows, rows_per_task(count), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t row = first; row < last; row++) {
      T* to = dlogits + row * dlogits_pitch;
      const int32_t target = targets[row];
      if (target >= 0 && target < count) {
        write_gradient(logits + row * pitch, count, target, log_sum_exp[row], 1.0f, smoothing, dloss[row], to);
      } else {
        memset(to, 0, count * sizeof(T));
      }
    }
  });
}

}  // namespace

void softmax_cross_entropy(const Call& call) {
  with_type(call.in[0], [&](auto type) { cross_entropy<decltype(type)>(call); });
}
void softmax_cross_entropy_backward(const Call& call) {
  with_type(call.in[0], [&](auto type) { cross_entropy_backward<decltype(type)>(call); });
}

void count_targets(const Call& call) {
  const int32_t* targets = integers(call.in[0]);
  const uint32_t limit = static_cast<uint32_t>(attributes_of<CountTargetsAttributes>(call).limit);
  const int64_t rows = call.in[0].shape[0];
  if (!call.out[0].data) return;
  int64_t total = 0;
  for (int64_t row = 0; row < rows; row++) total += static_cast<uint32_t>(targets[row]) < limit;
  *floats(call.out[0]) = static_cast<float>(total);
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
