// A token for each row of logits: the most probable, or one drawn after temperature, top-k, top-p, min-p and typicality; and
// the penalty of what was said before.
// Reads the row some four times from cache and writes two numbers: 4 bytes and ~40 flops an element.
// Split by rows. Only the head of an order is needed: a heap is built in linear time and popped until enough are out.
// What is kept is a threshold on (key, lower id first), and the draw runs in the order of ids: any method agrees.
#include <math.h>

#include "../numeric.h"
#include "kernels.h"
#include "logits.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr uint32_t SAMPLING_SITE = 0xFFFFFF00u;  // where dropout has its site: no dropout is numbered that high

double total_of(const float* weights, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; i++) total += weights[i];
  return total;
}

// A row being drawn from. A token that has been cut off has weight 0.
struct Row {
  const float* logits;
  float* weights;    // exp((logit - greatest) / temperature)
  int32_t* ids;      // space for a heap
  float* nearness;   // space for the keys of another order
  int64_t count;
  float greatest, inverse_temperature;

  double scaled(int64_t i) const {
    const float difference = comparable(logits[i]) - greatest;
    return difference < 0 ? difference * inverse_temperature : difference;
  }

  Heap heap_of(const float* keys, double negligible) const {
    Heap heap = {keys, ids, 0};
    for (int64_t i = 0; i < count; i++)
      if (weights[i] > negligible) ids[heap.count++] = static_cast<int32_t>(i);
    heap.build();
    return heap;
  }

  void drop_behind(const Heap& heap, int32_t last) {
    for (int64_t i = 0; i < count; i++) {
      const int32_t id = static_cast<int32_t>(i);
      if (id != last && heap.before(last, id)) weights[i] = 0;
    }
  }

  // Drops all outside the `top_k` most probable (0: none), and then outside the smallest set of those whose share reaches
  // `top_p`; at least one token is kept.
  void cut_to_best(int64_t top_k, double top_p) {
    const bool limited = top_k > 0 && top_k < count;
    double total = total_of(weights, count);
    // Tokens below this weight have, even all together, no more than half of the share that top-p leaves out.
    const double left_out = top_p > 0 ? 1 - top_p : 1;
    Heap heap = heap_of(logits, limited ? -1 : 0.5 * total * left_out / static_cast<double>(count));
    if (heap.count == 0) return;

    // Tokens that are popped lie behind the heap, in descending order from the end.
    const int64_t size = heap.count, wanted = limited ? smaller(top_k, size) : size;
    int64_t kept = 0;
    if (limited) {
      total = 0;
      for (; kept < wanted; kept++) {
        const int32_t id = heap.pop();
        ids[size - 1 - kept] = id;
        total += weights[id];
      }
    }
    int32_t last = limited ? ids[size - kept] : 0;
    if (top_p < 1) {
      double reached = 0;
      for (int64_t place = 0; place < wanted; place++) {
        last = limited ? ids[size - 1 - place] : heap.pop();
        reached += weights[last];
        if (reached >= top_p * total) break;
      }
    }
    drop_behind(heap, last);
  }

  // Drops tokens less than min_p times as probable as the most probable, whose weight is 1.
  void cut_improbable(double min_p) {
    for (int64_t i = 0; i < count; i++)
      if (weights[i] < min_p) weights[i] = 0;
  }

  // Keeps the smallest set whose share reaches typical_p, of tokens whose surprisal is nearest to the entropy.
  void cut_atypical(double typical_p) {
    const double total = total_of(weights, count), log_total = ::log(total);
    double entropy = 0;
    for (int64_t i = 0; i < count; i++)
      if (weights[i] > 0) entropy += weights[i] / total * (log_total - scaled(i));
    for (int64_t i = 0; i < count; i++)
      nearness[i] = weights[i] > 0 ? static_cast<float>(-fabs(log_total - scaled(i) - entropy)) : IMPOSSIBLE;
    Heap heap = heap_of(nearness, 0);
    int32_t last = 0;
    for (double reached = 0; heap.count > 0;) {
      last = heap.pop();
      reached += weights[last];
      if (reached >= typical_p * total) break;
    }
    drop_behind(heap, last);
  }

  int32_t draw(double random) const {
    const double target = random * total_of(weights, count);
    double reached = 0;
    int32_t token = 0;
    for (int64_t i = 0; i < count; i++) {
      if (weights[i] == 0) continue;
      token = static_cast<int32_t>(i);  // the last possible one, should rounding leave the target unreached
      reached += weights[i];
      if (reached > target) break;
    }
    return token;
  }
};

// A number in [0, 1) from the 53 high bits of two words.
double uniform(const uint32_t words[4]) { return ((words[0] >> 5) * 67108864.0 + (words[1] >> 6)) * 0x1p-53; }

// Whether the n - 1 tokens that end at `place` - 1 are also the last ones: then the token at `place` would repeat n tokens.
bool repeats(const int32_t* history, int64_t length, int64_t place, int64_t n) {
  if (n < 1 || place < n - 1 || length < n - 1) return false;
  for (int64_t back = 1; back < n; back++)
    if (history[place - back] != history[length - back]) return false;
  return true;
}

}  // namespace

void sample(const Call& call) {
  const float* logits = floats(call.in[0]);
  int32_t* tokens = integers(call.out[0]);
  float* log_probability = floats(call.out[1]);
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  const double* scalars = call.context->scalars;
  const double temperature = scalars[SCALAR_TEMPERATURE], top_p = scalars[SCALAR_TOP_P], k = scalars[SCALAR_TOP_K];
  const double min_p = scalars[SCALAR_MIN_P], typical_p = scalars[SCALAR_TYPICAL_P];
  const int64_t top_k = k >= 1 && k < static_cast<double>(count) ? static_cast<int64_t>(k) : 0;
  const bool greedy = !(temperature > 0), uniformly = temperature > 1e300;
  uint32_t key[2];
  philox_key(scalars[SCALAR_SEED], key);
  const uint32_t offset = to_counter(scalars[SCALAR_ROW_OFFSET]), step = to_counter(scalars[SCALAR_STEP]);
  const uint32_t site = SAMPLING_SITE | to_counter(scalars[SCALAR_MICRO_STEP]);
  if (count == 0) return;

  parallel(call.context, rows, [&](int64_t index, int32_t) {
    const float* x = logits + index * count;
    float* weights = static_cast<float*>(call.context->workspace) + 3 * index * count;
    // The limit of an infinite temperature: all that are possible weigh the same, and keep their order.
    const float greatest = greatest_of(x, count), inverse = uniformly ? 0.0f : static_cast<float>(1.0 / temperature);
    Row row = {x, weights, reinterpret_cast<int32_t*>(weights + count), weights + 2 * count, count, greatest, inverse};
    const bool possible = greatest > IMPOSSIBLE;  // else there is nothing to draw from: token 0
    int32_t token = 0;
    while (comparable(x[token]) != greatest) token++;
    if (possible && !greedy) {
      for_vectors(count, [&](int64_t i, int lanes) {
        const Vector difference = comparable(fetch(x + i, lanes, IMPOSSIBLE)) - greatest;
        const Vector scaled = difference < 0.0f ? difference * inverse : difference;
        put(weights + i, difference > IMPOSSIBLE ? exp(scaled) : broadcast(0.0f), lanes);
      });
      if (top_k > 0 || top_p < 1) row.cut_to_best(top_k, top_p);
      if (min_p > 0) row.cut_improbable(min_p);
      if (typical_p < 1) row.cut_atypical(typical_p);
      const uint32_t counter[4] = {static_cast<uint32_t>(index) + offset, 0, step, site};
      uint32_t words[4];
      philox(counter, key, words);
      token = row.draw(uniform(words));
    }
    if (tokens) tokens[index] = token;
    if (!log_probability) return;
    const double relative = static_cast<double>(comparable(x[token])) - greatest;
    log_probability[index] = possible ? static_cast<float>(relative - log_of_sum(x, count, greatest)) : IMPOSSIBLE;
  });
}

void penalize_repetition(const Call& call) {
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1], capacity = call.in[1].shape[1];
  const double penalty = call.context->scalars[SCALAR_REPETITION_PENALTY];
  const double size = call.context->scalars[SCALAR_NO_REPEAT_NGRAM_SIZE];
  const int64_t n = size >= 1 && size <= static_cast<double>(capacity) ? static_cast<int64_t>(size) : 0;
  parallel(call.context, rows, [&](int64_t row, int32_t) {
    const float* x = floats(call.in[0]) + row * count;
    float* y = floats(call.out[0]) + row * count;
    const int32_t* history = integers(call.in[1]) + row * capacity;
    const int64_t length = larger(0, smaller(integers(call.in[2])[row], capacity));
    memcpy(y, x, sizeof(float) * count);
    for (int64_t place = 0; place < length; place++) {
      const int32_t token = history[place];
      if (token < 0 || token >= count || y[token] == IMPOSSIBLE) continue;
      y[token] = static_cast<float>(x[token] > 0 ? x[token] / penalty : x[token] * penalty);
      if (repeats(history, length, place, n)) y[token] = IMPOSSIBLE;
    }
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
