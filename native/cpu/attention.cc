// softmax(scale q k^T + masks) v by blocks of queries with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022).
// 4 B T S H D flops (half if causal); reads q once and k, v once per 256 queries.
// One task for up to four blocks of queries of a head, whose keys and values it copies chunk by chunk, to lie closely.
// bf16 is widened where queries are turned and keys and values are copied. The split follows shapes alone, and a block keeps all its state in one worker's scratch: no reduction between workers.
#include "attention.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t BLOCKS = 4;              // of a task, which read the same keys and values
constexpr int64_t TASKS = 32;              // tasks are of fewer blocks where there would be less of them
constexpr int64_t CHUNK = 256;             // most keys and values that are dealt with at a time
constexpr int64_t CHUNK_FLOATS = 1 << 14;  // of either copy of them, so that they stay in the second cache
constexpr int64_t TASK_FLOATS = 1 << 17;   // most floats in the queries or the outputs of a task

// A block of queries of one head against chunks of keys and values. Everything is transposed: [D or keys][QUERIES].
template <typename E>
struct Block {
  const Forward<E>* f;
  int64_t b, h, first, count;
  Ranges ranges;
  float *query, *output;
  Vector maximum_score[VECTORS], sum[VECTORS];

  void aim(const Forward<E>& forward, int64_t row, int64_t head, int64_t first_query, int64_t queries, float* memory) {
    f = &forward, b = row, h = head, first = first_query, count = queries;
    ranges = Ranges(f->masks, b, first, count);
    query = memory;
    output = query + f->D * QUERIES;
  }

  void begin() {
    transpose_into(query, QUERIES, f->q.at(b, first, h), f->q.position, count, f->D, f->scale * LOG2_E);
    memset(output, 0, sizeof(float) * f->D * QUERIES);
    for (int v = 0; v < ranges.vectors; v++) maximum_score[v] = broadcast(LOWEST), sum[v] = Vector{};
  }

  // Keys begin <= j < end, whose rows and those of their values are given.
  void attend(int64_t begin, int64_t end, Rows keys, Rows values, float* weights) {
    const int64_t from = greatest(begin, ranges.first), to = least(end, ranges.last);
    if (from >= to) return;
    score(from, to, keys.from(from - begin), weights);
    weigh(from, to, values.from(from - begin), weights);
  }

  // weights = scaled and masked scores; raises the maxima and lowers what is summed so far to fit.
  void score(int64_t begin, int64_t end, Rows keys, float* weights) {
    const float slope = f->masks.slope(h);
    Vector highest[VECTORS];
    for (int v = 0; v < ranges.vectors; v++) highest[v] = maximum_score[v];
    for (int64_t j = begin; j < end;) {
      const Ranges::Tile tile = ranges.tile(j, end);
      float* scores = weights + (j - begin) * QUERIES;
      multiply(tile.count, tile.end - tile.begin, f->D, {keys.at(j - begin), keys.stride, 1},
               query + tile.begin * LANES, QUERIES, scores + tile.begin * LANES, QUERIES, false);
      for (int v = tile.begin; v < tile.end; v++) {
        float* at = scores + v * LANES;
        Vector top = highest[v];
        if (tile.masked || slope != 0.0f) ranges.mask(at, tile, v, slope);
        for (int64_t i = 0; i < tile.count; i++) top = maximum(load(at + i * QUERIES), top);
        highest[v] = top;
      }
      j += tile.count;
    }
    for (int v = 0; v < ranges.vectors; v++) {
      const Vector factor = power_of_two(maximum_score[v] - highest[v]);
      maximum_score[v] = highest[v];
      sum[v] *= factor;
      if (begin > ranges.first)
        for (int64_t d = 0; d < f->D; d++) {
          float* at = output + d * QUERIES + v * LANES;
          store(at, load(at) * factor);
        }
    }
  }

  // sum += weights, output += values^T weights, with weights = 2^(scores - maximum).
  void weigh(int64_t begin, int64_t end, Rows values, float* weights) {
    for (int64_t j = begin; j < end;) {
      const Ranges::Tile tile = ranges.tile(j, end);
      float* scores = weights + (j - begin) * QUERIES;
      for (int v = tile.begin; v < tile.end; v++) {
        const Vector top = maximum_score[v];
        Vector total = sum[v];
        float* at = scores + v * LANES;
        for (int64_t i = 0; i < tile.count; i++, at += QUERIES) {
          const Vector weight = power_of_two(load(at) - top);
          total += weight;
          store(at, weight);
        }
        sum[v] = total;
        if (f->dropout.active()) drop(scores, v, j, tile.count);
      }
      multiply(f->D, tile.end - tile.begin, tile.count, {values.at(j - begin), 1, values.stride},
               scores + tile.begin * LANES, QUERIES, output + tile.begin * LANES, QUERIES, true);
      j += tile.count;
    }
  }

  void drop(float* scores, int v, int64_t j, int64_t keys) const {
    for (int64_t i = 0; i < keys; i += 4) {
      IntVector keeps[4];
      f->dropout.keep4((b * f->H + h) * f->T + first + v * LANES, (j + i) / 4, keeps);
      for (int64_t w = 0; w < 4 && i + w < keys; w++) {
        float* at = scores + (i + w) * QUERIES + v * LANES;
        store(at, keeps[w] ? load(at) : Vector{});
      }
    }
  }

  void finish() {
    for (int v = 0; v < ranges.vectors; v++) {
      const IntVector empty = sum[v] == 0.0f;
      const Vector factor = empty ? Vector{} : f->dropout.factor / sum[v];
      const int64_t begin = first + v * LANES, rows = least(LANES, first + count - begin);
      for (int64_t d = 0; d < f->D; d += LANES) {
        E* to = f->y.at(b, begin, h) + d;
        const float* from = output + d * QUERIES + v * LANES;
        Vector block[LANES];
        if (rows == LANES && d + LANES <= f->D) {
#pragma GCC unroll 16
          for (int i = 0; i < LANES; i++) block[i] = factor * load(from + i * QUERIES);
          transpose(block);
#pragma GCC unroll 16
          for (int i = 0; i < LANES; i++) store(to + i * f->y.position, block[i]);
        } else {
          for (int i = 0; i < LANES; i++) block[i] = d + i < f->D ? factor * load(from + i * QUERIES) : Vector{};
          transpose(block);
          for (int i = 0; i < LANES && i < rows; i++) store_some(to + i * f->y.position, block[i], f->D - d);
        }
      }
      if (f->log_sum_exp) {
        const Vector result = empty ? broadcast(-__builtin_inff()) : LN_2 * maximum_score[v] + log(sum[v]);
        store_some(f->log_sum_exp + (b * f->H + h) * f->T + begin, result, rows);
      }
    }
  }
};

// Queries begin <= i < end of one head, at most BLOCKS blocks of them.
template <typename E>
void attend_blocks(const Forward<E>& f, int64_t b, int64_t h, int64_t begin, int64_t end, float* scratch) {
  const int64_t chunk = clamp(CHUNK_FLOATS / f.width / FINE * FINE, FINE, CHUNK), g = h / (f.H / f.G);
  float *keys = scratch, *values = keys + chunk * f.width, *weights = values + chunk * f.width;
  float* memory = weights + chunk * QUERIES;
  Block<E> blocks[BLOCKS];
  int64_t count = 0, first = INT32_MAX, last = 0;
  for (int64_t i = begin; i < end; i += QUERIES, count++, memory += 2 * f.D * QUERIES) {
    blocks[count].aim(f, b, h, i, least(QUERIES, end - i), memory);
    first = least(first, blocks[count].ranges.first);
    last = greatest(last, blocks[count].ranges.last);
  }
  const auto prefetch_keys = [&](int64_t from, int64_t to) {
    for (int64_t j = from; j < to; j++) prefetch(RowsOf<E>{f.row(f.k, b, j, g), 0}, 1, f.D), prefetch(RowsOf<E>{f.row(f.v, b, j, g), 0}, 1, f.D);
  };
  prefetch_keys(first, least(first + chunk, last));
  for (int64_t n = 0; n < count; n++) blocks[n].begin();
  for (int64_t j = first; j < last; j += chunk) {
    const int64_t limit = least(j + chunk, last), next = least(limit + chunk, last) - limit;
    const Rows k = f.rows(f.k, b, j, limit, g, count > 1, keys), v = f.rows(f.v, b, j, limit, g, count > 1, values);
    for (int64_t n = 0; n < count; n++) {
      prefetch_keys(limit + next * n / count, limit + next * (n + 1) / count);
      blocks[n].attend(j, limit, k, v, weights);
    }
  }
  for (int64_t n = 0; n < count; n++) blocks[n].finish();
}

template <typename E>
void attend(const Call& call) {
  const Forward<E> f(call);
  if (!f.valid()) return;
  if (f.T <= FEW) return attend_positions(f, call.context);
  const int64_t wanted = f.B * f.H * quotient_up(f.T, QUERIES) / TASKS;
  const int64_t queries = QUERIES * clamp(wanted, 1, least(BLOCKS, TASK_FLOATS / QUERIES / f.D));
  const int64_t tasks = quotient_up(f.T, queries);
  parallel(call.context, f.B * f.H * tasks, [&](int64_t index, int32_t worker) {
    // The last queries of a causal head see the most keys: they come first.
    const int64_t b = index / (f.H * tasks), h = index / tasks % f.H, begin = (tasks - 1 - index % tasks) * queries;
    const int64_t end = least(begin + queries, f.T), live = clamp(f.masks.queries(b), begin, end);
    if (live > begin) attend_blocks(f, b, h, begin, live, static_cast<float*>(call.context->scratch[worker]));
    f.write_empty(b, h, live, end);
  });
}

}  // namespace

void attention(const Call& call) { call.in[0].dtype == BF16 ? attend<bf16>(call) : attend<float>(call); }

}}}  // namespace heddle::cpu::HEDDLE_ISA
