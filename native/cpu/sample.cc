// A token for each row of logits: the most probable, or one drawn after temperature, top-k and top-p.
// Reads the row three times from cache and writes two numbers: 4 bytes and ~40 flops an element.
// Split by rows. Only the head of an order is needed: a heap is built in linear time and popped until enough are out.
// What is kept is a threshold on (logit, lower id first), and the draw runs in the order of ids: any method agrees.
#include <math.h>

#include "../numeric.h"
#include "kernels.h"
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr uint32_t SAMPLING_SITE = 0xFFFFFF00u;  // where dropout has its site: no dropout is numbered that high
constexpr float GREATEST = 3.40282347e38f;

// NaN counts as impossible and inf as the greatest number, so that whatever comes, something comparable is left.
HEDDLE_INLINE float comparable(float logit) {
  return logit != logit ? -__builtin_inff() : logit < GREATEST ? logit : GREATEST;
}
HEDDLE_INLINE Vector comparable(Vector logit) {
  const Vector bounded = minimum(logit, broadcast(GREATEST));
  return logit == logit ? bounded : broadcast(-__builtin_inff());
}

// Token ids with the most probable on top; of equals, the lowest id.
struct Heap {
  const float* logits;
  int32_t* ids;
  int64_t count;

  bool before(int32_t a, int32_t b) const {
    const float x = comparable(logits[a]), y = comparable(logits[b]);
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

double total_of(const float* weights, int64_t count) {
  double total = 0;
  for (int64_t i = 0; i < count; i++) total += weights[i];
  return total;
}

// Sets the weights of all tokens outside the `top_k` most probable (0: all), and then outside the smallest set of those
// whose share reaches `top_p`, to 0; at least one token is kept.
void cut(const float* logits, float* weights, int32_t* ids, int64_t count, int64_t top_k, double top_p) {
  const bool limited = top_k > 0 && top_k < count;
  double total = total_of(weights, count);
  // Tokens below this weight have, even all together, no more than half of the share that top-p leaves out.
  const double left_out = top_p > 0 ? 1 - top_p : 1;
  const double negligible = limited ? -1 : 0.5 * total * left_out / static_cast<double>(count);
  Heap heap = {logits, ids, 0};
  for (int64_t i = 0; i < count; i++) {
    if (weights[i] > negligible) ids[heap.count++] = static_cast<int32_t>(i);
  }
  if (heap.count == 0) return;
  heap.build();

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
  for (int64_t i = 0; i < count; i++) {
    const int32_t id = static_cast<int32_t>(i);
    if (id != last && heap.before(last, id)) weights[i] = 0;
  }
}

// A number in [0, 1) from the 53 high bits of two words.
double uniform(const uint32_t words[4]) { return ((words[0] >> 5) * 67108864.0 + (words[1] >> 6)) * 0x1p-53; }

int32_t draw(const float* weights, int64_t count, double random) {
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

}  // namespace

void sample(const Call& call) {
  const float* logits = floats(call.in[0]);
  int32_t* tokens = integers(call.out[0]);
  float* log_probability = floats(call.out[1]);
  const int64_t rows = call.in[0].shape[0], count = call.in[0].shape[1];
  const double* scalars = call.context->scalars;
  const double temperature = scalars[SCALAR_TEMPERATURE], top_p = scalars[SCALAR_TOP_P], k = scalars[SCALAR_TOP_K];
  const int64_t top_k = k >= 1 && k < static_cast<double>(count) ? static_cast<int64_t>(k) : 0;
  const bool greedy = !(temperature > 0), uniformly = temperature > 1e300;
  uint32_t key[2];
  philox_key(scalars[SCALAR_SEED], key);
  const uint32_t offset = to_counter(scalars[SCALAR_ROW_OFFSET]), step = to_counter(scalars[SCALAR_STEP]);
  const uint32_t site = SAMPLING_SITE | to_counter(scalars[SCALAR_MICRO_STEP]);
  if (count == 0) return;

  parallel(call.context, rows, [&](int64_t row, int32_t) {
    const float* x = logits + row * count;
    float* weights = static_cast<float*>(call.context->workspace) + 2 * row * count;
    int32_t* ids = reinterpret_cast<int32_t*>(weights + count);
    constexpr float LOWEST = -__builtin_inff();
    Vector top = broadcast(LOWEST);
    for_vectors(count, [&](int64_t i, int lanes) { top = maximum(top, comparable(fetch(x + i, lanes, LOWEST))); });
    const float greatest = maximum_of(top);
    const bool possible = greatest > LOWEST;  // else there is nothing to draw from: token 0
    int32_t token = 0;
    while (comparable(x[token]) != greatest) token++;
    const auto relative = [&](int64_t i, int lanes) { return comparable(fetch(x + i, lanes, LOWEST)) - greatest; };
    if (possible && !greedy) {
      // The limit of an infinite temperature: all that are possible weigh the same, and keep their order.
      const float inverse = uniformly ? 0.0f : static_cast<float>(1.0 / temperature);
      for_vectors(count, [&](int64_t i, int lanes) {
        const Vector difference = relative(i, lanes);
        const Vector scaled = difference < 0.0f ? difference * inverse : difference;
        put(weights + i, difference > LOWEST ? exp(scaled) : broadcast(0.0f), lanes);
      });
      if (top_k > 0 || top_p < 1) cut(x, weights, ids, count, top_k, top_p);
      const uint32_t counter[4] = {static_cast<uint32_t>(row) + offset, 0, step, site};
      uint32_t words[4];
      philox(counter, key, words);
      token = draw(weights, count, uniform(words));
    }
    if (tokens) tokens[row] = token;
    if (!log_probability) return;
    const double sum = possible ? blocked_sum(count, [&](int64_t i, int lanes) { return exp(relative(i, lanes)); }) : 0;
    log_probability[row] =
        possible ? static_cast<float>(static_cast<double>(comparable(x[token])) - greatest - ::log(sum)) : LOWEST;
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
