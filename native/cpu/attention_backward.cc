// Gradients of attention from its log-sum-exp, weights recomputed (Dao 2023, arXiv:2307.08691, algorithm 2).
// 10 B T S H D flops (half if causal): five products of blocks; traffic between them stays in the caches.
// Queries and keys are cut into the same number N of spans; in phase p, task n takes queries n + p mod N against keys n.
// Within a phase no two tasks write the same rows, and a row gathers its terms in the order of phases: no atomics, no copies.
#include "attention.h"
#include "parallel.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t TASKS = 32;                 // a row and key head is cut where there are fewer of them
constexpr int64_t SHORTEST = 2 * QUERIES;     // span
constexpr int64_t SPAN_FLOATS = 1 << 16;      // of k, v, dk or dv: four of them fill half of a 2 MiB cache

struct Backward {
  Heads q, k, v, y, dy, dq, dk, dv;
  const float* log_sum_exp;
  Masks masks;
  WeightDropout dropout;
  float scale;
  int64_t B, T, S, H, G, D, width;

  Backward(const Call& call, const AttentionBackwardAttributes& attributes)
      : q(call.in[0]), k(call.in[1]), v(call.in[2]), y(call.in[3]), dy(call.in[5]), dq(call.out[0]), dk(call.out[1]),
        dv(call.out[2]), log_sum_exp(data_of<float>(call.in[4])), masks(call, call.in + 6, attributes),
        dropout(*call.context, attributes.dropout, attributes.site, call.in[0].shape[1] * call.in[0].shape[2]),
        scale(attributes.scale), B(call.in[0].shape[0]), T(call.in[0].shape[1]), S(call.in[1].shape[1]),
        H(call.in[0].shape[2]), G(call.in[1].shape[2]), D(call.in[0].shape[3]),
        width(quotient_up(D, LANES) * LANES) {}

  int64_t span() const {
    const int64_t pieces = quotient_up(TASKS, B * G), longest = greatest(T, S);
    const int64_t limit = greatest(SPAN_FLOATS / width / QUERIES * QUERIES, SHORTEST);
    return clamp(quotient_up(quotient_up(longest, pieces), QUERIES) * QUERIES, SHORTEST, limit);
  }
};

// A block of queries of one head against a span of keys.
struct Block {
  const Backward& f;
  const int64_t b, h, g, first, count;
  const Ranges ranges;
  // [D][QUERIES] twice, [COARSE][QUERIES] twice; then [rows][width], used where D is not whole vectors.
  float *query, *gradient, *weights, *score_gradients, *query_copy, *gradient_copy, *key_copy, *product;
  Vector log_sum_exp[VECTORS], delta[VECTORS];

  Block(const Backward& backward, int64_t row, int64_t head, int64_t first_query, int64_t queries, float* scratch)
      : f(backward), b(row), h(head), g(head / (f.H / f.G)), first(first_query), count(queries),
        ranges(f.masks, b, first, count), query(scratch), gradient(query + f.D * QUERIES),
        weights(gradient + f.D * QUERIES), score_gradients(weights + COARSE * QUERIES),
        query_copy(score_gradients + COARSE * QUERIES) {
    const int64_t copy = f.D % LANES ? f.width * QUERIES : 0;
    gradient_copy = query_copy + copy;
    key_copy = gradient_copy + copy;
    product = key_copy + copy;
  }

  void run(int64_t begin, int64_t end) {
    begin = greatest(begin, ranges.first);
    end = least(end, ranges.last);
    if (begin >= end) return;
    prepare();
    const Strided queries = whole(f.q.at(b, first, h), f.q.position, count, query_copy);
    const Strided gradients = whole(f.dy.at(b, first, h), f.dy.position, count, gradient_copy);
    for (int64_t j = begin; j < end;) {
      const Ranges::Tile tile = ranges.tile(j, end);
      j += tile.count;
      if (tile.begin >= tile.end) continue;
      const int64_t from = tile.begin * LANES, rows = least(tile.end * LANES, count) - from;
      const float *key = f.k.at(b, tile.first, g), *value = f.v.at(b, tile.first, g);
      multiply(tile.count, tile.end - tile.begin, f.D, {key, f.k.position, 1}, query + from, QUERIES, weights + from, QUERIES,
               false);
      multiply(tile.count, tile.end - tile.begin, f.D, {value, f.v.position, 1}, gradient + from, QUERIES,
               score_gradients + from, QUERIES, false);
      for (int v = tile.begin; v < tile.end; v++) differentiate(tile, v);
      const Strided keys = whole(key, f.k.position, tile.count, key_copy);
      accumulate(tile.count, rows, {weights + from, QUERIES, 1}, gradients.data + from * gradients.row, gradients.row,
                 f.dv, tile.first, g);
      accumulate(tile.count, rows, {score_gradients + from, QUERIES, 1}, queries.data + from * queries.row, queries.row,
                 f.dk, tile.first, g);
      accumulate(rows, tile.count, {score_gradients + from, 1, QUERIES}, keys.data, keys.row, f.dq, first + from, h);
    }
  }

  void prepare() {
    transpose_into(query, QUERIES, f.q.at(b, first, h), f.q.position, count, f.D, f.scale * LOG2_E);
    transpose_into(gradient, QUERIES, f.dy.at(b, first, h), f.dy.position, count, f.D, 1.0f);
    const float* lse = f.log_sum_exp + (b * f.H + h) * f.T + first;
    for (int v = 0; v < ranges.vectors; v++) {
      const int64_t begin = v * LANES, rows = least(LANES, count - begin);
      const Vector x = load_some(lse + begin, rows);
      log_sum_exp[v] = x == -__builtin_inff() ? Vector{} : x * LOG2_E;  // where all keys are masked
      Vector products[LANES];
      for (int i = 0; i < LANES; i++)
        products[i] = i < rows ? products_of(f.dy.at(b, first + begin + i, h), f.y.at(b, first + begin + i, h), f.D) : Vector{};
      delta[v] = sums_of(products);
    }
  }

  // weights: scores to dropped weights. score_gradients: gradients of those to gradients of the scores before `scale`.
  void differentiate(const Ranges::Tile& tile, int v) const {
    const float slope = f.masks.slope(h);
    const bool plain = !tile.masked && slope == 0.0f;
    IntVector keeps[4];
    for (int64_t i = 0; i < tile.count; i++) {
      float *s = weights + i * QUERIES + v * LANES, *ds = score_gradients + i * QUERIES + v * LANES;
      const Vector scores = plain ? load(s) : ranges.masked(load(s), v, tile.first + i, slope);
      const Vector weight = power_of_two(scores - log_sum_exp[v]);
      Vector kept = weight, dweight = load(ds);
      if (f.dropout.active()) {
        if (i % 4 == 0) f.dropout.keep4((b * f.H + h) * f.T + first + v * LANES, (tile.first + i) / 4, keeps);
        kept = keeps[i % 4] ? weight * f.dropout.factor : Vector{};
        dweight = keeps[i % 4] ? dweight * f.dropout.factor : Vector{};
      }
      store(s, kept);
      store(ds, weight * (dweight - delta[v]) * f.scale);
    }
  }

  // Rows as whole vectors: where they lie, or copied and filled up with zeros.
  Strided whole(const float* from, int64_t stride, int64_t rows, float* copy) const {
    if (f.D % LANES == 0) return {from, stride, 1};
    for (int64_t i = 0; i < rows; i++)
      for (int64_t d = 0; d < f.D; d += LANES) store(copy + i * f.width + d, load_some(from + i * stride + d, f.D - d));
    return {copy, f.width, 1};
  }

  // `rows` rows of a gradient (which nobody may have asked for) += a times rows of whole vectors.
  void accumulate(int64_t rows, int64_t depth, Strided a, const float* from, int64_t from_row, const Heads& sum,
                  int64_t position, int64_t head) const {
    if (!sum.data) return;
    float* to = sum.at(b, position, head);
    const int64_t to_row = sum.position;
    if (f.D % LANES == 0) return multiply(rows, f.D / LANES, depth, a, from, from_row, to, to_row, true);
    multiply(rows, f.width / LANES, depth, a, from, from_row, product, f.width, false);
    for (int64_t i = 0; i < rows; i++)
      for (int64_t d = 0; d < f.D; d += LANES) {
        const Vector x = load_some(to + i * to_row + d, f.D - d) + load(product + i * f.width + d);
        store_some(to + i * to_row + d, x, f.D - d);
      }
  }
};

void clear(const Heads& x, int64_t b, int64_t begin, int64_t end, int64_t head, int64_t D) {
  if (!x.data) return;
  for (int64_t i = begin; i < end; i++) memset(x.at(b, i, head), 0, sizeof(float) * D);
}

}  // namespace

void attention_backward(const Call& call) {
  const Backward f(call, *static_cast<const AttentionBackwardAttributes*>(call.attributes));
  const int64_t span = f.span(), spans = quotient_up(greatest(f.T, f.S), span), heads = f.H / f.G;
  for (int64_t phase = 0; phase < spans; phase++)
    parallel(call.context, f.B * f.G * spans, [&](int64_t index, int32_t worker) {
      const int64_t b = index / (f.G * spans), g = index / spans % f.G;
      const int64_t key = index % spans * span, query = (index + phase) % spans * span;
      const int64_t key_end = least(key + span, f.S), query_end = least(query + span, f.T);
      if (phase == 0) {
        clear(f.dk, b, key, key_end, g, f.D);
        clear(f.dv, b, key, key_end, g, f.D);
        for (int64_t h = g * heads; h < (g + 1) * heads; h++) clear(f.dq, b, query, query_end, h, f.D);
      }
      if (key >= key_end) return;
      const int64_t live = least(query_end, f.masks.queries(b));
      for (int64_t h = g * heads; h < (g + 1) * heads; h++)
        for (int64_t i = query; i < live; i += QUERIES)
          Block(f, b, h, i, least(QUERIES, live - i), static_cast<float*>(call.context->scratch[worker])).run(key, key_end);
    });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
