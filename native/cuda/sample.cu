// A token for each row of logits: the most probable, or one drawn after temperature, top-k and top-p.
// Reads the row some thirty times from cache: 4 bytes and ~200 flops an element, nothing beside a decoding step.
// A block a row. What is kept is a threshold on (logit, lower id first): its logit is found by bisection on the 32 bits of an
// order-preserving key, counting or weighing what lies above it, and its id among equals by bisection too; no sort is needed.
// The draw runs in the order of ids: each thread weighs a run of neighbours, and the one that holds the target looks within.
#include "device.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr uint32_t SAMPLING_SITE = 0xFFFFFF00u;  // where dropout has its site: no dropout is numbered that high
constexpr float GREATEST = 3.40282347e38f;

// NaN counts as impossible and inf as the greatest number, so that whatever comes, something comparable is left.
HEDDLE_DEVICE float comparable(float logit) {
  return logit != logit ? -INFINITY : logit < GREATEST ? logit : GREATEST;
}
// Ascending with the logit.
HEDDLE_DEVICE uint32_t key_of(float logit) {
  const float x = comparable(logit) + 0.0f;  // -0 and 0 are equal
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

struct Row {
  const float* logits;
  int64_t count;
  float greatest, inverse_temperature;

  __device__ float weight(int64_t i) const {
    const float difference = comparable(logits[i]) - greatest;
    if (!(difference > -INFINITY)) return 0.0f;
    return expf(difference < 0.0f ? difference * inverse_temperature : difference);
  }
};

// Tokens that are kept: those before (key, id) in the order, and that one.
struct Threshold {
  uint32_t key;
  int64_t id;
  __device__ bool keeps(uint32_t other, int64_t index) const { return other > key || (other == key && index <= id); }
};

// Sum of measure(i) over the tokens that `threshold` keeps.
template <typename Measure>
HEDDLE_DEVICE double measure_kept(const Row& row, Threshold threshold, const Measure& measure) {
  double own = 0;
  for (int64_t i = threadIdx.x; i < row.count; i += THREADS)
    if (threshold.keeps(key_of(row.logits[i]), i)) own += measure(i);
  return ordered_sum(own);
}

// The threshold that keeps fewest and still has at least `wanted` of the measure; everything where there is not so much.
template <typename Measure>
HEDDLE_DEVICE Threshold tightest(const Row& row, double wanted, const Measure& measure) {
  uint32_t low = 0, high = 0xFFFFFFFFu;  // the greatest key with enough at or above it
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2 + 1;
    if (measure_kept(row, {middle, row.count}, measure) >= wanted) low = middle;
    else high = middle - 1;
  }
  int64_t first = 0, last = row.count - 1;  // the least id among equals with enough before it
  while (first < last) {
    const int64_t middle = (first + last) / 2;
    if (measure_kept(row, {low, middle}, measure) >= wanted) last = middle;
    else first = middle + 1;
  }
  return {low, first};
}

__global__ void __launch_bounds__(THREADS)
    draw_tokens(const float* logits, int64_t count, const double* scalars, int32_t* tokens, float* log_probability) {
  SHARED_ARRAY(int32_t, chosen, [1]);
  const int64_t row_index = blockIdx.x;
  Row row = {logits + row_index * count, count, -INFINITY, 0.0f};
  for (int64_t i = threadIdx.x; i < count; i += THREADS) row.greatest = fmaxf(row.greatest, comparable(row.logits[i]));
  row.greatest = block_maximum(row.greatest);
  const bool possible = row.greatest > -INFINITY;  // else there is nothing to draw from: token 0

  const double temperature = scalars[SCALAR_TEMPERATURE], top_p = scalars[SCALAR_TOP_P], k = scalars[SCALAR_TOP_K];
  const bool greedy = !(temperature > 0);
  // The limit of an infinite temperature: all that are possible weigh the same, and keep their order.
  row.inverse_temperature = greedy || temperature > 1e300 ? 0.0f : float(1.0 / temperature);

  Threshold kept = {0, count};
  if (possible && (greedy || (k >= 1 && k < double(count))))
    kept = tightest(row, greedy ? 1.0 : floor(k), [](int64_t) { return 1.0; });
  if (possible && !greedy && top_p < 1) {
    const auto share = [&](int64_t i) { return kept.keeps(key_of(row.logits[i]), i) ? double(row.weight(i)) : 0.0; };
    const double total = measure_kept(row, kept, share);
    const Threshold tighter = tightest(row, top_p * total, share);
    if (kept.keeps(tighter.key, tighter.id)) kept = tighter;
  }

  if (threadIdx.x == 0) *chosen = 0;
  if (possible) {
    double target = 0;
    if (!greedy) {
      uint32_t key[2], words[4];
      philox_key(scalars[SCALAR_SEED], key);
      const uint32_t counter[4] = {uint32_t(row_index) + to_counter(scalars[SCALAR_ROW_OFFSET]), 0,
                                   to_counter(scalars[SCALAR_STEP]), SAMPLING_SITE | to_counter(scalars[SCALAR_MICRO_STEP])};
      philox(counter, key, words);
      target = ((words[0] >> 5) * 67108864.0 + (words[1] >> 6)) * 0x1p-53;  // [0, 1) from 53 bits
    }
    // Greedy: one token is kept, with a weight above 0, and the target is 0.
    const int64_t run = (count + THREADS - 1) / THREADS, begin = threadIdx.x * run,
                  end = begin + run < count ? begin + run : count;
    double own = 0, before = 0;
    for (int64_t i = begin; i < end; i++)
      if (kept.keeps(key_of(row.logits[i]), i)) own += row.weight(i);
    const double total = ordered_sum(own, &before);
    target *= total;
    if (target >= total) target = total * (1 - 0x1p-52);  // rounded up
    if (before <= target && target < before + own) {  // true for one thread
      double reached = before;
      for (int64_t i = begin; i < end; i++) {
        const float weight = kept.keeps(key_of(row.logits[i]), i) ? row.weight(i) : 0.0f;
        if (weight == 0.0f) continue;
        *chosen = int32_t(i);
        reached += weight;
        if (reached > target) break;
      }
    }
  }
  __syncthreads();
  const int32_t token = *chosen;
  double sum = 0;
  row.inverse_temperature = 1.0f;
  if (possible)
    for (int64_t i = threadIdx.x; i < count; i += THREADS) sum += row.weight(i);
  sum = ordered_sum(sum);
  if (threadIdx.x != 0) return;
  if (tokens) tokens[row_index] = token;
  if (log_probability)
    log_probability[row_index] =
        possible ? float(double(comparable(row.logits[token])) - row.greatest - log(sum)) : -INFINITY;
}

}  // namespace

Status sample(const Call& call, Stream stream) {
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  if (rows * count == 0) return cudaSuccess;
  return launch(draw_tokens, dim3(unsigned(rows)), dim3(THREADS), 0, stream, static_cast<const float*>(call.in[0].data), count,
                call.context->scalars, static_cast<int32_t*>(call.out[0].data), static_cast<float*>(call.out[1].data));
}

}}  // namespace heddle::cuda
