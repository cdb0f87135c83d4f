// Gradients of attention from its log-sum-exp, weights recomputed (Dao 2023, arXiv:2307.08691, algorithm 2).
// 10 B T S H D flops (half if causal): five products of blocks; traffic between them stays in the caches.
// Queries and keys are cut into the same number N of spans; in phase p, task n takes queries n + p mod N against keys n.
// Within a phase no two tasks write the same rows, and a row gathers its terms in the order of phases: no atomics, no copies.
#include "attention.h"
#include "parallel.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t TASKS = 16;               // a row and key head is cut where there are fewer of them
constexpr int64_t SHORTEST = 4 * QUERIES;   // span
constexpr int64_t SPAN_FLOATS = 1 << 15;    // of k, v, dk or dv, so that all four stay in the second cache

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
    const int64_t limit = greatest(SPAN_FLOATS / width / QUERIES * QUERIES, QUERIES);
    return least(greatest(quotient_up(quotient_up(longest, pieces), QUERIES) * QUERIES, SHORTEST), limit);
  }
};

// Rows begin <= i < end of keys and values, and what their gradients have gathered. All are rows of whole vectors.
struct Span {
  int64_t begin, end;
  bool once;
  int64_t key_stride, value_stride;
  const float *keys, *values;
  float *key_gradients, *value_gradients;

  // Copies them to `scratch`, unless they are whole vectors and read just once.
  void load(const Backward& f, int64_t b, int64_t g, bool only, float* scratch) {
    once = only;
    const int64_t size = (end - begin) * f.width;
    key_gradients = scratch, value_gradients = scratch + size;
    memset(scratch, 0, sizeof(float) * 2 * size);
    keys = f.k.at(b, begin, g), values = f.v.at(b, begin, g);
    key_stride = f.k.position, value_stride = f.v.position;
    if (once && f.D % LANES == 0) {
      prefetch_rows(keys, key_stride, end - begin, f.D);
      prefetch_rows(values, value_stride, end - begin, f.D);
      return;
    }
    float *key_copy = scratch + 2 * size, *value_copy = scratch + 3 * size;
    copy_rows(key_copy, f.width, keys, key_stride, end - begin, f.D);
    copy_rows(value_copy, f.width, values, value_stride, end - begin, f.D);
    keys = key_copy, values = value_copy;
    key_stride = value_stride = f.width;
  }
};

// A block of queries of one head against a span of keys.
struct Block {
  const Backward& f;
  const int64_t b, h, first, count;
  const Ranges ranges;
  // [QUERIES][width]; [D][QUERIES]; [COARSE][QUERIES].
  const float *query, *gradient;
  int64_t query_stride, gradient_stride;
  float *query_copy, *gradient_copy, *query_gradient, *query_columns, *gradient_columns, *weights, *score_gradients;
  Vector log_sum_exp[VECTORS], delta[VECTORS];

  Block(const Backward& backward, int64_t row, int64_t head, int64_t first_query, int64_t queries, float* scratch)
      : f(backward), b(row), h(head), first(first_query), count(queries), ranges(f.masks, b, first, count),
        query_copy(scratch), gradient_copy(query_copy + f.width * QUERIES), query_gradient(gradient_copy + f.width * QUERIES),
        query_columns(query_gradient + f.width * QUERIES), gradient_columns(query_columns + f.D * QUERIES),
        weights(gradient_columns + f.D * QUERIES), score_gradients(weights + COARSE * QUERIES) {}

  bool sees(int64_t begin, int64_t end) const { return greatest(begin, ranges.first) < least(end, ranges.last); }

  // Adds to the gradients of the span and sets query_gradient.
  void run(const Span& span) {
    const int64_t begin = greatest(span.begin, ranges.first), end = least(span.end, ranges.last);
    prepare(span.once);
    if (f.dq.data) prefetch_rows(f.dq.at(b, first, h), f.dq.position, count, f.D);
    for (int64_t j = begin; j < end;) {
      const Ranges::Tile tile = ranges.tile(j, end);
      const int64_t vectors = tile.end - tile.begin, from = tile.begin * LANES, rows = least(vectors * LANES, count - from);
      const int64_t at = (j - span.begin) * f.width;
      const float *keys = span.keys + (j - span.begin) * span.key_stride;
      const float* values = span.values + (j - span.begin) * span.value_stride;
      float *s = weights + from, *ds = score_gradients + from;
      multiply(tile.count, vectors, f.D, {keys, span.key_stride, 1}, query_columns + from, QUERIES, s, QUERIES, false);
      multiply(tile.count, vectors, f.D, {values, span.value_stride, 1}, gradient_columns + from, QUERIES, ds, QUERIES, false);
      for (int v = tile.begin; v < tile.end; v++) differentiate(tile, v);
      multiply(tile.count, f.width / LANES, rows, {s, QUERIES, 1}, gradient + from * gradient_stride, gradient_stride,
               span.value_gradients + at, f.width, true);
      multiply(tile.count, f.width / LANES, rows, {ds, QUERIES, 1}, query + from * query_stride, query_stride,
               span.key_gradients + at, f.width, true);
      multiply(rows, f.width / LANES, tile.count, {ds, 1, QUERIES}, keys, span.key_stride, query_gradient + from * f.width,
               f.width, true);
      j += tile.count;
    }
  }

  void prepare(bool once) {
    query = f.q.at(b, first, h), gradient = f.dy.at(b, first, h);
    query_stride = f.q.position, gradient_stride = f.dy.position;
    if (!once || f.D % LANES) {
      copy_rows(query_copy, f.width, query, query_stride, count, f.D);
      copy_rows(gradient_copy, f.width, gradient, gradient_stride, count, f.D);
      query = query_copy, gradient = gradient_copy;
      query_stride = gradient_stride = f.width;
    }
    memset(query_gradient, 0, sizeof(float) * f.width * count);
    transpose_into(query_columns, QUERIES, query, query_stride, count, f.D, f.scale * LOG2_E);
    transpose_into(gradient_columns, QUERIES, gradient, gradient_stride, count, f.D, 1.0f);
    const float* lse = f.log_sum_exp + (b * f.H + h) * f.T + first;
    for (int v = 0; v < ranges.vectors; v++) {
      const int64_t begin = v * LANES, rows = least(LANES, count - begin);
      const Vector x = load_some(lse + begin, rows);
      log_sum_exp[v] = x == -__builtin_inff() ? Vector{} : x * LOG2_E;  // where all keys are masked
      Vector products[LANES];
      for (int i = 0; i < LANES; i++)
        products[i] = i < rows ? products_of(gradient + (begin + i) * gradient_stride, f.y.at(b, first + begin + i, h), f.D) : Vector{};
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
void write_rows(const Heads& to, int64_t b, int64_t begin, int64_t end, int64_t head, const float* from, int64_t D,
                int64_t width, bool add) {
  if (!to.data) return;
  const int64_t whole = D / LANES * LANES;
  float* row = to.at(b, begin, head);
  for (int64_t i = begin; i < end; i++, from += width, row += to.position) {
    for (int64_t d = 0; d < whole; d += LANES) store(row + d, add ? load(row + d) + load(from + d) : load(from + d));
    if (whole == D) continue;
    const Vector last = load(from + whole);
    store_some(row + whole, add ? load_some(row + whole, D - whole) + last : last, D - whole);
  }
}

void clear(const Heads& x, int64_t b, int64_t begin, int64_t end, int64_t head, int64_t D) {
  if (!x.data) return;
  for (int64_t i = begin; i < end; i++) memset(x.at(b, i, head), 0, sizeof(float) * D);
}

// Queries query <= i < query_end of all heads that share a key head against a span of its keys. When `first`, all their
// gradients are written; later what was found is added.
void meet(const Backward& f, int64_t b, int64_t g, int64_t query, int64_t query_end, Span span, bool first, float* scratch) {
  const int64_t heads = f.H / f.G, live = clamp(f.masks.queries(b), query, greatest(query, query_end));
  float* memory = scratch + 4 * greatest(0, span.end - span.begin) * f.width;
  bool loaded = false;
  for (int64_t h = g * heads; h < (g + 1) * heads; h++)
    for (int64_t i = query; i < query_end; i += QUERIES) {
      int64_t written = i;
      const int64_t end = least(i + QUERIES, query_end), live_end = least(end, live);
      if (live_end > i) {
        Block block(f, b, h, i, live_end - i, memory);
        if (block.sees(span.begin, span.end)) {
          if (!loaded) span.load(f, b, g, heads == 1 && query_end - query <= QUERIES, scratch);
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

}  // namespace

void attention_backward(const Call& call) {
  const Backward f(call, *static_cast<const AttentionBackwardAttributes*>(call.attributes));
  const int64_t length = f.span(), spans = quotient_up(greatest(f.T, f.S), length);
  for (int64_t phase = 0; phase < spans; phase++)
    parallel(call.context, f.B * f.G * spans, [&](int64_t index, int32_t worker) {
      const int64_t b = index / (f.G * spans), g = index / spans % f.G;
      const int64_t key = index % spans * length, query = (index + phase) % spans * length;
      Span span = {};
      span.begin = key, span.end = least(key + length, f.S);
      meet(f, b, g, query, least(query + length, f.T), span, phase == 0, static_cast<float*>(call.context->scratch[worker]));
    });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
