// Gradients of attention from its log-sum-exp, weights recomputed (Dao 2023, arXiv:2307.08691, algorithm 2).
// 10 B T S H D flops (half if causal): five products of blocks; traffic between them stays in the caches, widened if bf16.
// Queries and keys are cut into the same number N of spans; in phase p, task n takes queries n + p mod N against keys n.
// Within a phase no two tasks write the same rows, and a row gathers its terms in the order of phases: no atomics, no copies.
#include "attention.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t TASKS = 16;               // a row and key head is cut where there are fewer of them
constexpr int64_t SHORTEST = 4 * QUERIES;   // span
constexpr int64_t SPAN_FLOATS = 1 << 15;    // of k, v, dk or dv, so that all four stay in the second cache

template <typename E>
struct Backward {
  Heads<E> q, k, v, y, dy, dq, dk, dv;
  const float* log_sum_exp;
  Masks masks;
  WeightDropout dropout;
  float scale;
  int64_t B, T, P, S, H, G, D, width;

  Backward(const Call& call, const AttentionBackwardAttributes& attributes)
      : q(call.in[0]), k(call.in[1]), v(call.in[2]), y(call.in[3]), dy(call.in[5]), dq(call.out[0]), dk(call.out[1]),
        dv(call.out[2]), log_sum_exp(data_of<float>(call.in[4])), masks(call, call.in + 6, attributes),
        dropout(call, attributes.dropout, attributes.site), scale(attributes.scale), B(call.in[0].shape[0]), T(call.in[0].shape[1]), P(call.in[1].shape[0]), S(call.in[1].shape[1]),
        H(call.in[0].shape[2]), G(call.in[1].shape[2]), D(call.in[0].shape[3]),
        width(quotient_up(D, LANES) * LANES) {}

  // What src/ops/attention.ts sees to.
  bool valid() const { return G > 0 && H % G == 0 && D <= WIDEST_HEAD && P >= B; }

  // Keys, or queries, of a span.
  int64_t span() const {
    const int64_t longest = quotient_up(greatest(T, S), QUERIES) * QUERIES;
    const int64_t piece = quotient_up(longest, quotient_up(TASKS, B * G) * QUERIES) * QUERIES;
    return least(clamp(piece, SHORTEST, greatest(SPAN_FLOATS / width / QUERIES * QUERIES, QUERIES)), longest);
  }
};

// Keys begin <= j < end, their values, and what the gradients of both have gathered.
struct Span {
  int64_t begin, end;
  bool once;  // only one block meets them: it reads everything where it lies, if it lies in whole vectors
  Rows keys, values;
  float *key_gradients, *value_gradients;

  template <typename E>
  void load(const Backward<E>& f, int64_t b, int64_t g, float* scratch) {
    const int64_t count = end - begin, size = count * f.width;
    key_gradients = scratch, value_gradients = scratch + size;
    memset(scratch, 0, sizeof(float) * 2 * size);
    const auto k = f.k.rows(b, begin, g), v = f.v.rows(b, begin, g);
    if (once) {
      prefetch(k, count, f.D);
      prefetch(v, count, f.D);
    }
    keys = readable(k, count, f.D, !once, scratch + 2 * size);
    values = readable(v, count, f.D, !once, scratch + 3 * size);
  }
};

// A block of queries of one head against a span of keys.
template <typename E>
struct Block {
  const Backward<E>& f;
  const int64_t b, h, first, count;
  const Ranges ranges;
  Rows query, gradient;
  float *query_gradient, *query_copy, *gradient_copy;                         // [QUERIES][width]
  float *query_columns, *gradient_columns, *weights, *score_gradients;        // [D or COARSE][QUERIES]
  Vector log_sum_exp[VECTORS], delta[VECTORS];

  Block(const Backward<E>& backward, int64_t row, int64_t head, int64_t first_query, int64_t queries, float* scratch)
      : f(backward), b(row), h(head), first(first_query), count(queries), ranges(f.masks, b, first, count),
        query_gradient(scratch),
        query_copy(query_gradient + f.width * QUERIES), gradient_copy(query_copy + f.width * QUERIES),
        query_columns(gradient_copy + f.width * QUERIES), gradient_columns(query_columns + f.D * QUERIES),
        weights(gradient_columns + f.D * QUERIES), score_gradients(weights + COARSE * QUERIES) {}

  bool sees(int64_t begin, int64_t end) const { return greatest(begin, ranges.first) < least(end, ranges.last); }

  // Adds to the gradients of the span and sets query_gradient.
  void run(const Span& span) {
    const int64_t begin = greatest(span.begin, ranges.first), end = least(span.end, ranges.last);
    prepare(span.once);
    for (int64_t j = begin; j < end;) {
      const Ranges::Tile tile = ranges.tile(j, end);
      const int64_t vectors = tile.end - tile.begin, from = tile.begin * LANES, rows = least(vectors * LANES, count - from);
      const Rows keys = span.keys.from(j - span.begin), values = span.values.from(j - span.begin);
      const Rows queries = query.from(from), gradients = gradient.from(from);
      float *s = weights + from, *ds = score_gradients + from;
      const int64_t at = (j - span.begin) * f.width, wide = f.width / LANES;
      j += tile.count;
      if (vectors == 0) continue;
      multiply(tile.count, vectors, f.D, {keys.data, keys.stride, 1}, query_columns + from, QUERIES, s, QUERIES, false);
      multiply(tile.count, vectors, f.D, {values.data, values.stride, 1}, gradient_columns + from, QUERIES, ds, QUERIES, false);
      for (int v = tile.begin; v < tile.end; v++) differentiate(tile, v);
      multiply(tile.count, wide, rows, {s, QUERIES, 1}, gradients.data, gradients.stride, span.value_gradients + at, f.width, true);
      multiply(tile.count, wide, rows, {ds, QUERIES, 1}, queries.data, queries.stride, span.key_gradients + at, f.width, true);
      multiply(rows, wide, tile.count, {ds, 1, QUERIES}, keys.data, keys.stride, query_gradient + from * f.width, f.width, true);
    }
  }

  void prepare(bool once) {
    query = readable(f.q.rows(b, first, h), count, f.D, !once, query_copy);
    gradient = readable(f.dy.rows(b, first, h), count, f.D, !once, gradient_copy);
    if (f.dq.data) prefetch(f.dq.rows(b, first, h), count, f.D);
    memset(query_gradient, 0, sizeof(float) * f.width * count);
    transpose_into(query_columns, QUERIES, query.data, query.stride, count, f.D, f.scale * LOG2_E);
    transpose_into(gradient_columns, QUERIES, gradient.data, gradient.stride, count, f.D, 1.0f);
    const float* lse = f.log_sum_exp + (b * f.H + h) * f.T + first;
    for (int v = 0; v < ranges.vectors; v++) {
      const int64_t begin = v * LANES, rows = least(LANES, count - begin);
      const Vector x = load_some(lse + begin, rows);
      log_sum_exp[v] = x == -__builtin_inff() ? Vector{} : x * LOG2_E;  // where all keys are masked
      Vector products[LANES];
      for (int i = 0; i < LANES; i++)
        products[i] = i < rows ? products_of(gradient.at(begin + i), f.y.at(b, first + begin + i, h), f.D) : Vector{};
      delta[v] = sums_of(products);
    }
  }

  // weights: scores to dropped weights. score_gradients: gradients of those to gradients of the scores before `scale`.
  void differentiate(const Ranges::Tile& tile, int v) const {
    const float slope = f.masks.slope(h);
    const Vector base = log_sum_exp[v], mean = delta[v], scale = broadcast(f.scale);
    float *s = weights + v * LANES, *ds = score_gradients + v * LANES;
    if (tile.masked || slope != 0.0f) ranges.mask(s, tile, v, slope);
    if (f.dropout.active()) return differentiate_dropped(tile, v);
    for (int64_t i = 0; i < tile.count; i++, s += QUERIES, ds += QUERIES) {
      const Vector weight = power_of_two(load(s) - base);
      store(s, weight);
      store(ds, weight * (load(ds) - mean) * scale);
    }
  }

  void differentiate_dropped(const Ranges::Tile& tile, int v) const {
    IntVector keeps[4];
    for (int64_t i = 0; i < tile.count; i++) {
      float *s = weights + i * QUERIES + v * LANES, *ds = score_gradients + i * QUERIES + v * LANES;
      if (i % 4 == 0) f.dropout.keep4((b * f.H + h) * f.T + first + v * LANES, (tile.first + i) / 4, keeps);
      const Vector weight = power_of_two(load(s) - log_sum_exp[v]);
      const Vector dweight = keeps[i % 4] ? load(ds) * f.dropout.factor : Vector{};
      store(s, keeps[i % 4] ? weight * f.dropout.factor : Vector{});
      store(ds, weight * (dweight - delta[v]) * f.scale);
    }
  }
};

// Rows begin <= i < end of a gradient, which nobody may have asked for, become or gain what was gathered.
template <typename E>
void write_rows(const Heads<E>& to, int64_t b, int64_t begin, int64_t end, int64_t head, const float* from, int64_t D,
                int64_t width, bool add) {
  if (!to.data) return;
  const int64_t whole = D / LANES * LANES;
  E* row = to.at(b, begin, head);
  for (int64_t i = begin; i < end; i++, from += width, row += to.position) {
    for (int64_t d = 0; d < whole; d += LANES) store(row + d, add ? load(row + d) + load(from + d) : load(from + d));
    if (whole == D) continue;
    const Vector last = load(from + whole);
    store_some(row + whole, add ? load_some(row + whole, D - whole) + last : last, D - whole);
  }
}

template <typename E>
void clear(const Heads<E>& x, int64_t b, int64_t begin, int64_t end, int64_t head, int64_t D) {
  if (!x.data) return;
  for (int64_t i = begin; i < end; i++) memset(x.at(b, i, head), 0, sizeof(E) * D);
}

// Queries query <= i < query_end of all heads that share a key head against a span of its keys. When `first`, all their
// gradients are written; later what was found is added.
template <typename E>
void meet(const Backward<E>& f, int64_t b, int64_t g, int64_t query, int64_t query_end, Span span, bool first, float* scratch) {
  const int64_t heads = f.H / f.G, live = clamp(f.masks.queries(b), query, greatest(query, query_end));
  float* memory = scratch + 4 * greatest(0, span.end - span.begin) * f.width;
  bool loaded = false;
  for (int64_t h = g * heads; h < (g + 1) * heads; h++)
    for (int64_t i = query; i < query_end; i += QUERIES) {
      int64_t written = i;
      const int64_t end = least(i + QUERIES, query_end), live_end = least(end, live);
      if (live_end > i) {
        Block<E> block(f, b, h, i, live_end - i, memory);
        if (block.sees(span.begin, span.end)) {
          if (!loaded) span.load(f, b, g, scratch);
          loaded = true;
          block.run(span);
          write_rows(f.dq, b, i, live_end, h, block.query_gradient, f.D, f.width, !first);
          written = live_end;
        }
      }
      if (first) clear(f.dq, b, written, end, h, f.D);
    }
  if (loaded) {
    write_rows(f.dk, b, span.begin, span.end, g, span.key_gradients, f.D, f.width, !first);
    write_rows(f.dv, b, span.begin, span.end, g, span.value_gradients, f.D, f.width, !first);
  } else if (first) {
    clear(f.dk, b, span.begin, span.end, g, f.D);
    clear(f.dv, b, span.begin, span.end, g, f.D);
  }
}

template <typename E>
void attend_backward(const Call& call) {
  const Backward<E> f(call, *static_cast<const AttentionBackwardAttributes*>(call.attributes));
  if (!f.valid()) return;
  const int64_t length = f.span(), spans = quotient_up(greatest(f.T, f.S), length);
  for (int64_t phase = 0; phase < spans; phase++)
    parallel(call.context, f.B * f.G * spans, [&](int64_t index, int32_t worker) {
      const int64_t b = index / (f.G * spans), g = index / spans % f.G;
      const int64_t key = index % spans * length, query = (index + phase) % spans * length;
      Span span = {};
      span.begin = key, span.end = least(key + length, f.S);
      span.once = f.H == f.G && length <= QUERIES && f.D % LANES == 0;
      meet(f, b, g, query, least(query + length, f.T), span, phase == 0, static_cast<float*>(call.context->scratch[worker]));
    });
}

}  // namespace

void attention_backward(const Call& call) {
  call.in[0].dtype == BF16 ? attend_backward<bf16>(call) : attend_backward<float>(call);
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
