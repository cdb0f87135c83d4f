// Skip-gram with negative sampling over a stretch of text, vectors updated in place (src/ops/skipGram.ts has the formulas).
// A centre costs ~22 products of C elements and twice as many sums: 130 C flops; rows of a group are read from the nearest cache.
// Words are kept or dropped by segments of 1,024; then each block of 32 centres is two steps: its groups of 16, which write
// gradients of rows into the workspace, and the rows, each the sum of its gradients in the order of the text.
// No row is written by two tasks and every sum has one order. Smaller steps would be nearer to one pair at a time, larger ones
// give more threads work: beyond 32 centres gradients at old weights add up to steps that are too long (docs/word-vectors.md).
#include "../skip_gram.h"
#include "kernels.h"
#include "operand.h"
#include "philox.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t SEGMENT = 1024;
constexpr int MOST_PAIRS = 2 * SKIP_GRAM_WINDOW, MOST_CONTEXTS = SKIP_GRAM_GROUP + MOST_PAIRS;
constexpr int MOST_OUTPUTS = MOST_CONTEXTS + SKIP_GRAM_GROUP;
constexpr int64_t ENTRIES_PER_TASK = 32;

// Vectors to be added up with their weights.
template <int MOST>
struct Terms {
  const float* vectors[MOST];
  float weights[MOST];
  int count = 0;
  void add(const float* vector, float weight) { vectors[count] = vector, weights[count++] = weight; }
};

// to = (ONTO ? to : 0) + the sum of the terms, in their order.
template <bool ONTO, int MOST>
HEDDLE_INLINE void add_up(const Terms<MOST>& terms, float* to, int64_t columns) {
  constexpr int WIDE = 4;
  int64_t start = 0;
  for (; start + WIDE * LANES <= columns; start += WIDE * LANES) {
    Vector sum[WIDE];
    for (int part = 0; part < WIDE; part++) sum[part] = ONTO ? load(to + start + part * LANES) : Vector{};
    for (int i = 0; i < terms.count; i++) {
      const float* from = terms.vectors[i] + start;
      for (int part = 0; part < WIDE; part++) sum[part] += terms.weights[i] * load(from + part * LANES);
    }
    for (int part = 0; part < WIDE; part++) store(to + start + part * LANES, sum[part]);
  }
  for_vectors(columns - start, [&](int64_t rest, int lanes) {
    const int64_t at = start + rest;
    Vector sum = ONTO ? fetch(to + at, lanes) : Vector{};
    for (int i = 0; i < terms.count; i++) sum += terms.weights[i] * fetch(terms.vectors[i] + at, lanes);
    put(to + at, sum, lanes);
  });
}

// products[i] = x . vectors[i].
HEDDLE_INLINE void multiply_all(const float* x, const float* const* vectors, int count, int64_t columns, float* products) {
  constexpr int WIDE = 4;
  for (int first = 0; first < count; first += WIDE) {
    const float* from[WIDE];
    Vector sum[WIDE] = {};
    for (int i = 0; i < WIDE; i++) from[i] = vectors[first + i < count ? first + i : count - 1];
    for_vectors(columns, [&](int64_t at, int lanes) {
      const Vector v = fetch(x + at, lanes);
      for (int i = 0; i < WIDE; i++) sum[i] += v * fetch(from[i] + at, lanes);
    });
    for (int i = 0; i < WIDE && first + i < count; i++) products[first + i] = sum_of(sum[i]);
  }
}

struct Text {
  const int32_t* kept;
  const int32_t* reaches;
  int64_t count;
};

class Update {
 public:
  explicit Update(const Call& call)
      : call_(call),
        attributes_(attributes_of<SkipGramAttributes>(call)),
        words_(call.in[0].shape[0]),
        columns_(call.in[0].shape[1]),
        length_(call.in[2].shape[0]),
        at_(skip_gram_places(length_, attributes_.window, columns_)),
        floats_(static_cast<float*>(call.context->workspace)),
        integers_(static_cast<int32_t*>(call.context->workspace)),
        step_(to_counter(call.context->scalars[SCALAR_STEP])),
        rate_(static_cast<float>(call.context->scalars[SCALAR_LEARNING_RATE])) {
    philox_key(call.context->scalars[SCALAR_SEED], key_);
  }

  void run() {
    keep_words();
    for (int64_t start = 0; start < text_.count; start += SKIP_GRAM_BLOCK) {
      const int64_t end = smaller(text_.count, start + SKIP_GRAM_BLOCK);
      parallel(call_.context, divide_up(end - start, SKIP_GRAM_GROUP),
               [&](int64_t group, int32_t) { differentiate(start, start + group * SKIP_GRAM_GROUP, group); });
      apply(start, end);
    }
    double loss = 0, pairs = 0;
    for (int64_t group = 0; group < divide_up(text_.count, SKIP_GRAM_GROUP); group++)
      loss += floats_[at_.losses + group], pairs += integers_[at_.pairs + group];
    if (call_.out[0].data) *floats(call_.out[0]) = static_cast<float>(loss);
    if (call_.out[1].data) *floats(call_.out[1]) = static_cast<float>(pairs);
  }

 private:
  // Occurrences that are kept, with their reach: first to the front of each segment, then of the whole text.
  void keep_words() {
    const int32_t* ids = integers(call_.in[2]);
    const float* keep = floats(call_.in[3]);
    int32_t *kept = integers_ + at_.kept, *reaches = integers_ + at_.reaches, *counts = integers_ + at_.counts;
    const int64_t segments = divide_up(length_, SEGMENT);
    parallel(call_.context, segments, [&](int64_t segment, int32_t) {
      const int64_t start = segment * SEGMENT, end = smaller(length_, start + SEGMENT);
      int64_t filled = start;
      uint32_t random[4 * PHILOX_BLOCKS], rest;
      for (int64_t first = start; first < end; first += PHILOX_BLOCKS) {
        philox_words(0, static_cast<uint32_t>(first), step_, SKIP_GRAM_TEXT_SITE, key_, random);
        for (int64_t i = first; i < smaller(end, first + PHILOX_BLOCKS); i++) {
          const uint32_t* word = random + 4 * (i - first);
          if (ids[i] < 0 || ids[i] >= words_ || !skip_gram_keeps(word[0], keep[ids[i]])) continue;
          kept[filled] = ids[i];
          reaches[filled++] = static_cast<int32_t>(1 + drawn_below(word[1], static_cast<uint32_t>(attributes_.window), &rest));
        }
      }
      counts[segment] = static_cast<int32_t>(filled - start);
    });
    int64_t filled = 0;
    for (int64_t segment = 0; segment < segments; segment++) {
      memmove(kept + filled, kept + segment * SEGMENT, counts[segment] * sizeof(int32_t));
      memmove(reaches + filled, reaches + segment * SEGMENT, counts[segment] * sizeof(int32_t));
      filled += counts[segment];
    }
    text_ = {kept, reaches, filled};
  }

  float* gradient(int64_t row) const { return floats_ + at_.gradients + row * at_.stride; }
  const float* centre(int64_t word) const { return floats(call_.in[0]) + word * columns_; }
  const float* context(int64_t word) const { return floats(call_.in[1]) + word * columns_; }

  // Gradients of the group of centres that begins at `first`, the `number`th of the block that begins at `block`.
  void differentiate(int64_t block, int64_t first, int64_t number) const {
    const int64_t window = attributes_.window, last = smaller(text_.count, first + SKIP_GRAM_GROUP);
    const int64_t low = larger(0, first - window), high = smaller(text_.count, last + window);
    const int contexts = static_cast<int>(high - low), outputs = contexts + SKIP_GRAM_GROUP;
    // Rows of the workspace: the block's centres, then for each group its contexts and negatives.
    const int64_t first_output = SKIP_GRAM_BLOCK + number * at_.outputs;
    int32_t* rows = integers_ + at_.rows + first_output;
    for (int i = 0; i < contexts; i++) rows[i] = text_.kept[low + i];
    draw_negatives(first / SKIP_GRAM_GROUP, rows + contexts);
    for (int64_t i = outputs; i < at_.outputs; i++) rows[i] = -1;

    Terms<SKIP_GRAM_GROUP> changes[MOST_OUTPUTS];
    float loss = 0;
    int32_t pairs = 0;
    for (int64_t c = first; c < last; c++) {
      Terms<MOST_PAIRS + SKIP_GRAM_GROUP> terms;
      int places[MOST_PAIRS + SKIP_GRAM_GROUP];
      const int64_t begin = larger(0, c - text_.reaches[c]), end = smaller(text_.count, c + text_.reaches[c] + 1);
      const auto add = [&](int place) {
        places[terms.count] = place;
        terms.add(context(rows[place]), 0);
      };
      for (int64_t o = begin; o < end; o++)
        if (o != c) add(static_cast<int>(o - low));
      const int own = terms.count;
      for (int n = contexts; n < outputs; n++) add(n);
      pairs += own;

      const float* x = centre(text_.kept[c]);
      multiply_all(x, terms.vectors, terms.count, columns_, terms.weights);
      const float weight = static_cast<float>(attributes_.negatives) * static_cast<float>(own) / SKIP_GRAM_GROUP;
      loss += errors(terms.weights, own, 1, -1) + errors(terms.weights + own, SKIP_GRAM_GROUP, -weight, 1);
      add_up<false>(terms, gradient(c - block), columns_);
      for (int i = 0; i < terms.count; i++) changes[places[i]].add(x, terms.weights[i]);
    }
    for (int i = 0; i < outputs; i++) add_up<false>(changes[i], gradient(first_output + i), columns_);
    floats_[at_.losses + first / SKIP_GRAM_GROUP] = loss;
    integers_[at_.pairs + first / SKIP_GRAM_GROUP] = pairs;
  }

  void draw_negatives(int64_t group, int32_t* words) const {
    const float* probability = floats(call_.in[4]);
    const int32_t* alias = integers(call_.in[5]);
    for (uint32_t draw = 0; draw < SKIP_GRAM_GROUP / 4; draw++) {
      const uint32_t counter[4] = {draw, static_cast<uint32_t>(group), step_, SKIP_GRAM_NEGATIVES_SITE};
      uint32_t random[4];
      philox(counter, key_, random);
      for (int i = 0; i < 4; i++)
        words[4 * draw + i] = skip_gram_negative(random[i], probability, alias, static_cast<uint32_t>(words_));
    }
  }

  // Products become weight * s(sign * product); returns the sum of |weight| log(1 + e^(sign * product)), the loss.
  static float errors(float* products, int count, float weight, float sign) {
    Vector sum = {};
    for_vectors(count, [&](int64_t i, int lanes) {
      const Vector x = sign * fetch(products + i, lanes, -sign * 1e30f), e = exp(-magnitude(x));
      const Vector share = 1.0f / (1.0f + e);
      put(products + i, weight * (x < 0.0f ? e * share : share), lanes);
      sum += maximum(x, broadcast(0.0f)) + log(1.0f + e);
    });
    return sum_of(sum) * (weight < 0 ? -weight : weight);
  }

  // Adds up the gradients of each row of a block where it first occurs.
  void apply(int64_t start, int64_t end) const {
    int32_t* rows = integers_ + at_.rows;
    for (int64_t i = 0; i < SKIP_GRAM_BLOCK; i++) rows[i] = start + i < end ? text_.kept[start + i] : -1;
    const int64_t outputs = divide_up(end - start, SKIP_GRAM_GROUP) * at_.outputs;
    const int64_t tasks = divide_up(outputs, ENTRIES_PER_TASK);
    parallel(call_.context, 1 + tasks, [&](int64_t task, int32_t) {
      if (task == 0) return apply_rows(0, SKIP_GRAM_BLOCK, 0, SKIP_GRAM_BLOCK, floats(call_.in[0]));
      const int64_t first = SKIP_GRAM_BLOCK + (task - 1) * ENTRIES_PER_TASK, all = SKIP_GRAM_BLOCK + outputs;
      apply_rows(first, smaller(all, first + ENTRIES_PER_TASK), SKIP_GRAM_BLOCK, all, floats(call_.in[1]));
    });
  }

  // The entries [first, last) of [begin, end): row numbers of `table`.
  void apply_rows(int64_t first, int64_t last, int64_t begin, int64_t end, float* table) const {
    constexpr int MOST = SKIP_GRAM_BLOCK + SKIP_GRAM_GROUPS * MOST_OUTPUTS;
    const int32_t* rows = integers_ + at_.rows;
    for (int64_t entry = first; entry < last; entry++) {
      if (rows[entry] < 0 || occurs(rows, rows[entry], begin, entry)) continue;
      Terms<MOST> terms;
      terms.add(gradient(entry), rate_);
      if (occurs(rows, rows[entry], entry + 1, end))
        for (int64_t other = entry + 1; other < end; other++)
          if (rows[other] == rows[entry]) terms.add(gradient(other), rate_);
      add_up<true>(terms, table + rows[entry] * columns_, columns_);
    }
  }

  static bool occurs(const int32_t* rows, int32_t row, int64_t begin, int64_t end) {
    int32_t found = 0;  // without a branch: the compiler compares whole vectors
    for (int64_t i = begin; i < end; i++) found |= rows[i] == row;
    return found != 0;
  }

  const Call& call_;
  const SkipGramAttributes& attributes_;
  const int64_t words_, columns_, length_;
  const SkipGramPlaces at_;
  float* const floats_;
  int32_t* const integers_;
  const uint32_t step_;
  const float rate_;
  uint32_t key_[2];
  Text text_ = {};
};

}  // namespace

void skip_gram(const Call& call) { Update(call).run(); }

}}}  // namespace heddle::cpu::HEDDLE_ISA
