// A token for each row of logits: the most probable, or one drawn after temperature, top-k, top-p, min-p and typicality; and
// the penalty of what was said before.
// Reads the row some thirty times from cache for each cut: 4 bytes and ~200 flops an element, nothing beside a decoding step.
// A block a row. What is kept is a threshold on (key, lower id first): its key is found by bisection on the 32 bits of an
// order-preserving number, counting or weighing what lies above it, and its id among equals by bisection too; no sort is needed.
// The draw runs in the order of ids: each thread weighs a run of neighbours, and the one that holds the target looks within.
#include "kernels.h"
#include "logits.h"

namespace heddle { namespace cuda {
namespace {

constexpr uint32_t SAMPLING_SITE = 0xFFFFFF00u;  // where dropout has its site: no dropout is numbered that high

// Tokens that come before (key, id) in an order, and that one.
struct Threshold {
  uint32_t key;
  int64_t id;
  __device__ bool keeps(uint32_t other, int64_t index) const { return other > key || (other == key && index <= id); }
};

// A row and what is left of it.
struct Row {
  const float* logits;
  int64_t count;
  float greatest, inverse_temperature;
  Threshold best;       // by logit
  double least_weight;  // of the most probable token's
  Threshold typical;    // by nearness
  double log_total, entropy;

  __device__ double scaled(int64_t i) const {
    const float difference = comparable(logits[i]) - greatest;
    return difference < 0.0f ? difference * inverse_temperature : difference;
  }
  // Of a token before any cut.
  __device__ float full_weight(int64_t i) const {
    const float difference = comparable(logits[i]) - greatest;
    if (!(difference > -INFINITY)) return 0.0f;
    return expf(difference < 0.0f ? difference * inverse_temperature : difference);
  }
  // Of a token that the cuts by probability leave.
  __device__ float probable_weight(int64_t i) const {
    const float weight = best.keeps(key_of(logits[i]), i) ? full_weight(i) : 0.0f;
    return weight < least_weight ? 0.0f : weight;
  }
  __device__ uint32_t nearness(int64_t i) const {
    return probable_weight(i) > 0.0f ? key_of(float(-fabs(log_total - scaled(i) - entropy))) : 0;
  }
  __device__ float weight(int64_t i) const {
    const float weight = probable_weight(i);
    return typical.id == count || typical.keeps(nearness(i), i) ? weight : 0.0f;
  }
};

// Sum of measure(i) over the tokens that `threshold` keeps.
template <typename Key, typename Measure>
HEDDLE_DEVICE double measure_kept(int64_t count, Threshold threshold, const Key& key, const Measure& measure) {
  double own = 0;
  for (int64_t i = threadIdx.x; i < count; i += THREADS)
    if (threshold.keeps(key(i), i)) own += measure(i);
  return ordered_sum(own);
}

// The threshold that keeps fewest and still has at least `wanted` of the measure; everything where there is not so much.
template <typename Key, typename Measure>
HEDDLE_DEVICE Threshold tightest(int64_t count, double wanted, const Key& key, const Measure& measure) {
  uint32_t low = 0, high = 0xFFFFFFFFu;  // the greatest key with enough at or above it
  while (low < high) {
    const uint32_t middle = low + (high - low) / 2 + 1;
    if (measure_kept(count, {middle, count}, key, measure) >= wanted) low = middle;
    else high = middle - 1;
  }
  int64_t first = 0, last = count - 1;  // the least id among equals with enough before it
  while (first < last) {
    const int64_t middle = (first + last) / 2;
    if (measure_kept(count, {low, middle}, key, measure) >= wanted) last = middle;
    else first = middle + 1;
  }
  return {low, first};
}

// Measures weight(i), or entropy's terms, over the whole row.
template <typename Measure>
HEDDLE_DEVICE double total_of(int64_t count, const Measure& measure) {
  double own = 0;
  for (int64_t i = threadIdx.x; i < count; i += THREADS) own += measure(i);
  return ordered_sum(own);
}

HEDDLE_DEVICE void cut_to_best(Row& row, double k, double top_p, bool greedy) {
  const auto by_logit = [&](int64_t i) { return key_of(row.logits[i]); };
  if (greedy || (k >= 1 && k < double(row.count)))
    row.best = tightest(row.count, greedy ? 1.0 : floor(k), by_logit, [](int64_t) { return 1.0; });
  if (greedy || !(top_p < 1)) return;
  const auto share = [&](int64_t i) { return double(row.probable_weight(i)); };
  const Threshold tighter = tightest(row.count, top_p * total_of(row.count, share), by_logit, share);
  if (row.best.keeps(tighter.key, tighter.id)) row.best = tighter;
}

HEDDLE_DEVICE void cut_atypical(Row& row, double typical_p) {
  const auto share = [&](int64_t i) { return double(row.probable_weight(i)); };
  const double total = total_of(row.count, share);
  row.log_total = log(total);
  row.entropy = total_of(row.count, [&](int64_t i) {
    const double weight = share(i);
    return weight > 0 ? weight / total * (row.log_total - row.scaled(i)) : 0.0;
  });
  row.typical = tightest(row.count, typical_p * total, [&](int64_t i) { return row.nearness(i); }, share);
}

__global__ void __launch_bounds__(THREADS)
    draw_tokens(const float* logits, int64_t count, const double* scalars, int32_t* tokens, float* log_probability) {
  SHARED_ARRAY(int32_t, chosen, [1]);
  const int64_t row_index = blockIdx.x;
  const float* x = logits + row_index * count;
  const float greatest = greatest_of(x, count);
  const bool possible = greatest > -INFINITY;  // else there is nothing to draw from: token 0

  const double temperature = scalars[SCALAR_TEMPERATURE], min_p = scalars[SCALAR_MIN_P];
  const double typical_p = scalars[SCALAR_TYPICAL_P];
  const bool greedy = !(temperature > 0);
  // The limit of an infinite temperature: all that are possible weigh the same, and keep their order.
  const float inverse = greedy || temperature > 1e300 ? 0.0f : float(1.0 / temperature);
  Row row = {x, count, greatest, inverse, {0, count}, 0.0, {0, count}, 0.0, 0.0};
  if (possible) cut_to_best(row, scalars[SCALAR_TOP_K], scalars[SCALAR_TOP_P], greedy);
  if (possible && !greedy && min_p > 0) row.least_weight = min_p < 1 ? min_p : 1.0;
  if (possible && !greedy && typical_p < 1) cut_atypical(row, typical_p);

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
    for (int64_t i = begin; i < end; i++) own += row.weight(i);
    const double total = ordered_sum(own, &before);
    target *= total;
    if (target >= total) target = total * (1 - 0x1p-52);  // rounded up
    if (before <= target && target < before + own) {  // true for one thread
      double reached = before;
      for (int64_t i = begin; i < end; i++) {
        const float weight = row.weight(i);
        if (weight == 0.0f) continue;
        *chosen = int32_t(i);
        reached += weight;
        if (reached > target) break;
      }
    }
  }
  __syncthreads();
  const int32_t token = *chosen;
  const double normaliser = possible ? log_of_sum(x, count, greatest) : 0.0;
  if (threadIdx.x != 0) return;
  if (tokens) tokens[row_index] = token;
  if (log_probability)
    log_probability[row_index] =
        possible ? float(double(comparable(x[token])) - greatest - normaliser) : -INFINITY;
}

// Whether the n - 1 tokens that end at `place` - 1 are also the last ones: then the token at `place` would repeat n tokens.
HEDDLE_DEVICE bool repeats(const int32_t* history, int length, int place, int n) {
  if (n < 1 || place < n - 1 || length < n - 1) return false;
  for (int back = 1; back < n; back++)
    if (history[place - back] != history[length - back]) return false;
  return true;
}

// A thread a place of the history; the first place of a token speaks for all of them, so that one thread writes it.
__global__ void __launch_bounds__(THREADS)
    penalize_rows(const float* logits, int64_t count, const int32_t* histories, int capacity, const int32_t* lengths,
                  const double* scalars, float* y) {
  const int64_t row = blockIdx.x;
  const float* x = logits + row * count;
  const int32_t* history = histories + row * capacity;
  const int length = max(0, min(lengths[row], capacity));
  const double penalty = scalars[SCALAR_REPETITION_PENALTY], size = scalars[SCALAR_NO_REPEAT_NGRAM_SIZE];
  const int n = size >= 1 && size <= double(capacity) ? int(size) : 0;
  for (int64_t i = threadIdx.x; i < count; i += THREADS) y[row * count + i] = x[i];
  __syncthreads();
  for (int place = threadIdx.x; place < length; place += THREADS) {
    const int32_t token = history[place];
    if (token < 0 || token >= count) continue;
    bool is_first = true;
    for (int other = 0; other < place && is_first; other++) is_first = history[other] != token;
    if (!is_first) continue;
    bool repeated = false;
    for (int other = place; n > 0 && other < length && !repeated; other++)
      repeated = history[other] == token && repeats(history, length, other, n);
    const float logit = x[token];
    y[row * count + token] = repeated ? -INFINITY : float(logit > 0 ? logit / penalty : logit * penalty);
  }
}

}  // namespace

Status sample(const Call& call, Stream stream) {
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  if (rows * count == 0) return cudaSuccess;
  return launch(draw_tokens, dim3(unsigned(rows)), dim3(THREADS), 0, stream, static_cast<const float*>(call.in[0].data), count,
                call.context->scalars, static_cast<int32_t*>(call.out[0].data), static_cast<float*>(call.out[1].data));
}

Status penalize_repetition(const Call& call, Stream stream) {
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  if (rows * count == 0) return cudaSuccess;
  return launch(penalize_rows, dim3(unsigned(rows)), dim3(THREADS), 0, stream, data_of<float>(call.in[0]), count,
                data_of<int32_t>(call.in[1]), int(call.in[1].shape[1]), data_of<int32_t>(call.in[2]), call.context->scalars,
                data_of<float>(call.out[0]));
}

}}  // namespace heddle::cuda
