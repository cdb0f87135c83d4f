// Cross entropy of softmax(logits) with smoothed targets, and its gradient; the number of targets that count.
// Reads the logits once for their statistics and once for dlogits: 8 to 12 bytes, ~30 flops each.
// A warp a row up to 1,024 columns, else a block. Each thread carries the greatest logit and the sum of exponentials along
// together (Milakov & Gimelshein 2018, arXiv:1805.02867), so that a vocabulary of any size is read once for both.
#include "device.h"
#include "group.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

struct RowStatistics {
  float greatest, exponentials;  // sum of exp(x - greatest)
  float sum;                     // of the logits
};

template <typename Group, typename T>
HEDDLE_DEVICE RowStatistics statistics(const T* x, int64_t count) {
  float own = -INFINITY, exponentials = 0, sum = 0;
  for (int64_t i = Group::lane(); i < count; i += Group::SIZE) {
    const float v = widened(x[i]);
    if (v > own) {
      exponentials *= expf(own - v);
      own = v;
    }
    // Nothing but -inf so far adds nothing; but a NaN must show.
    exponentials += expf(v - (own == -INFINITY ? 0.0f : own));
    sum += v;
  }
  const float greatest = Group::maximum(own);
  if (own == -INFINITY) own = greatest == -INFINITY ? 0.0f : greatest;  // a thread without finite logits: its sum is 0 or NaN
  const float shift = greatest == -INFINITY ? 0.0f : greatest;
  return {greatest, Group::sum(exponentials * expf(own - shift)), Group::sum(sum)};
}

// to = factor (exp(x - shift) inverse - (1 - smoothing) onehot - smoothing / count); to may be x.
template <typename Group, typename T>
HEDDLE_DEVICE void write_gradient(const T* x, int64_t count, int32_t target, float shift, float inverse, float smoothing,
                                  float factor, T* to) {
  const float uniform = smoothing / float(count);
  for (int64_t i = Group::lane(); i < count; i += Group::SIZE) {
    const float value = (expf(widened(x[i]) - shift) * inverse - uniform) * factor;
    set(to[i], i == target ? value - (1.0f - smoothing) * factor : value);
  }
}

template <typename Group, typename T>
HEDDLE_DEVICE void clear(T* to, int64_t count) {
  for (int64_t i = Group::lane(); i < count; i += Group::SIZE) to[i] = T{};
}

template <typename Group, typename T>
__global__ void __launch_bounds__(Group::THREADS)
    cross_entropy(const T* logits, const int32_t* targets, float* loss, float* log_sum_exp, T* dlogits, int64_t rows,
                  int64_t count, int64_t pitch, int64_t dlogits_pitch, float smoothing) {
  for (int64_t row = Group::first_row(); row < rows; row += Group::row_step()) {
    const T* x = logits + row * pitch;
    const int32_t target = targets[row];
    const bool counts = target >= 0 && target < count;
    const RowStatistics found = statistics<Group>(x, count);
    const float logarithm = found.greatest + logf(found.exponentials);
    if (Group::lane() == 0) {
      if (log_sum_exp) log_sum_exp[row] = logarithm;
      if (loss) {
        float value = 0;
        if (counts) {
          // The mean is needed only with smoothing: without it, a logit of -inf elsewhere must not make 0 * inf.
          const float chosen = widened(x[target]);
          value = found.greatest - chosen + logf(found.exponentials);
          if (smoothing != 0.0f) value -= smoothing * (found.sum / float(count) - chosen);
        }
        loss[row] = value;
      }
    }
    if (!dlogits) continue;
    // Every thread has read what it needs of the row before anybody writes: dlogits may lie on the logits.
    __syncwarp();
    if (Group::ROWS == 1) __syncthreads();
    // Not exp(x - log_sum_exp): that would carry the rounding of large logits into the probabilities.
    T* const to = dlogits + row * dlogits_pitch;
    if (counts)
      write_gradient<Group>(x, count, target, found.greatest, 1.0f / found.exponentials, smoothing, 1.0f, to);
    else clear<Group>(to, count);
  }
}

template <typename Group, typename T>
__global__ void __launch_bounds__(Group::THREADS)
    cross_entropy_backward(const T* logits, const int32_t* targets, const float* log_sum_exp, const float* dloss,
                           T* dlogits, int64_t rows, int64_t count, int64_t pitch, int64_t dlogits_pitch, float smoothing) {
  for (int64_t row = Group::first_row(); row < rows; row += Group::row_step()) {
    const int32_t target = targets[row];
    T* const to = dlogits + row * dlogits_pitch;
    if (target >= 0 && target < count)
      write_gradient<Group>(logits + row * pitch, count, target, log_sum_exp[row], 1.0f, smoothing, dloss[row], to);
    else clear<Group>(to, count);
  }
}

__global__ void count_valid(const int32_t* targets, int64_t rows, uint32_t limit, float* count) {
  int32_t own = 0;
  for (int64_t row = threadIdx.x; row < rows; row += THREADS) own += uint32_t(targets[row]) < limit;
  own = block_total(own);
  if (threadIdx.x == 0) *count = float(own);
}

}  // namespace

Status softmax_cross_entropy(const Call& call, Stream stream) {
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  if (rows * count == 0) return cudaSuccess;
  const float smoothing = attributes_of<SoftmaxCrossEntropyAttributes>(call).label_smoothing;
  return with_type(call.in[0], [&](auto type) {
    return with_group(count, [&](auto group) {
      using Group = decltype(group);
      using T = decltype(type);
      return launch(cross_entropy<Group, T>, Group::blocks(rows), dim3(Group::THREADS), 0, stream,
                    static_cast<const T*>(call.in[0].data), static_cast<const int32_t*>(call.in[1].data),
                    static_cast<float*>(call.out[0].data), static_cast<float*>(call.out[1].data),
                    static_cast<T*>(call.out[2].data), rows, count, call.in[0].stride[0], call.out[2].stride[0], smoothing);
    });
  });
}

Status softmax_cross_entropy_backward(const Call& call, Stream stream) {
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  if (!call.out[0].data || rows * count == 0) return cudaSuccess;
  const float smoothing = attributes_of<SoftmaxCrossEntropyBackwardAttributes>(call).label_smoothing;
  return with_type(call.in[0], [&](auto type) {
    return with_group(count, [&](auto group) {
      using Group = decltype(group);
      using T = decltype(type);
      return launch(cross_entropy_backward<Group, T>, Group::blocks(rows), dim3(Group::THREADS), 0, stream,
                    static_cast<const T*>(call.in[0].data), static_cast<const int32_t*>(call.in[1].data),
                    static_cast<const float*>(call.in[2].data), static_cast<const float*>(call.in[3].data),
                    static_cast<T*>(call.out[0].data), rows, count, call.in[0].stride[0], call.out[0].stride[0], smoothing);
    });
  });
}

Status count_targets(const Call& call, Stream stream) {
  if (!call.out[0].data) return cudaSuccess;
  return launch(count_valid, dim3(1), dim3(THREADS), 0, stream, static_cast<const int32_t*>(call.in[0].data),
                call.in[0].shape[0], uint32_t(attributes_of<CountTargetsAttributes>(call).limit),
                static_cast<float*>(call.out[0].data));
}

}}  // namespace heddle::cuda
