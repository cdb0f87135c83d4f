// softmax(scale q k^T + masks) v by blocks of queries with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022).
// 4 B T S H D flops (half if causal); reads q once and k, v once per block of 64 queries, from the caches when S is small.
// One task a block of queries of a head; with a handful of queries (decoding), one a row and key head, which reads k, v once.
// The split follows shapes alone, and a block keeps all its state in one worker's scratch: no reduction between workers.
#include "attention.h"
#include "parallel.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t BLOCKS = 4;               // of a task, which read the same keys and values
constexpr int64_t TASKS = 32;               // tasks are of fewer blocks where there would be less of them
constexpr int64_t CHUNK = 256;              // most keys and values that are copied at a time
constexpr int64_t CHUNK_FLOATS = 1 << 14;   // of each of the two copies, so that they stay in the second cache
constexpr int64_t BLOCK_FLOATS = 1 << 17;   // most floats in the queries or outputs of a task's blocks
constexpr int64_t FEW = 4;                  // up to so many queries a head are dealt with one by one
constexpr float LOWEST = -3.402823466e38f;  // a maximum of nothing: below every score, and LOWEST - LOWEST is a number

struct Rows {
  const float* data;
  int64_t stride;
  Rows from(int64_t i) const { return {data + i * stride, stride}; }
};

struct Forward {
  Heads q, k, v, y;
  float* log_sum_exp;
  Masks masks;
  const int32_t* slots;
  WeightDropout dropout;
  float scale;
  int64_t B, T, S, H, G, D, width;

  Forward(const Call& call, const AttentionAttributes& attributes)
      : q(call.in[0]), k(call.in[1]), v(call.in[2]), y(call.out[0]),
        log_sum_exp(static_cast<float*>(call.out[1].data)), masks(call, call.in + 3, attributes),
        slots(data_of<int32_t>(call.in[7])),
        dropout(*call.context, attributes.dropout, attributes.site, call.in[0].shape[1] * call.in[0].shape[2]),
        scale(attributes.scale), B(call.in[0].shape[0]), T(call.in[0].shape[1]), S(call.in[1].shape[1]),
        H(call.in[0].shape[2]), G(call.in[1].shape[2]), D(call.in[0].shape[3]),
        width(quotient_up(D, LANES) * LANES) {}

  // Key or value j of row b.
  const float* row(const Heads& x, int64_t b, int64_t j, int64_t g) const {
    return x.at(slots ? slots[b * S + j] : b, j, g);
  }

  // Those of begin <= j < end: where they lie, or a copy, which pays if it is read more than once.
  Rows rows(const Heads& x, int64_t b, int64_t begin, int64_t end, int64_t g, bool again, float* copy) const {
    if (!slots && !again) return {x.at(b, begin, g), x.position};
    if (!slots) copy_rows(copy, width, x.at(b, begin, g), x.position, end - begin, D);
    else for (int64_t j = begin; j < end; j++) copy_rows(copy + (j - begin) * width, 0, row(x, b, j, g), 0, 1, D);
    return {copy, width};
  }

  // Rows of a head lie far apart, often a page each, where no hardware prefetcher follows.
  void prefetch(int64_t b, int64_t g, int64_t begin, int64_t end) const {
    for (int64_t j = begin; j < end; j++)
      for (int64_t d = 0; d < D; d += 16) {
        __builtin_prefetch(row(k, b, j, g) + d, 0, 2);
        __builtin_prefetch(row(v, b, j, g) + d, 0, 2);
      }
  }

  void write_empty(int64_t b, int64_t h, int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; i++) {
      memset(y.at(b, i, h), 0, sizeof(float) * D);
      if (log_sum_exp) log_sum_exp[(b * H + h) * T + i] = -__builtin_inff();
    }
  }
};

// A block of queries of one head against chunks of keys and values. Everything is transposed: [D or keys][QUERIES].
struct Block {
  const Forward* f;
  int64_t b, h, first, count;
  Ranges ranges;
  float *query, *output;
  Vector maximum_score[VECTORS], sum[VECTORS];

  void aim(const Forward& forward, int64_t row, int64_t head, int64_t first_query, int64_t queries, float* memory) {
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
      multiply(tile.count, tile.end - tile.begin, f->D, {keys.from(j - begin).data, keys.stride, 1},
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
      multiply(f->D, tile.end - tile.begin, tile.count, {values.from(j - begin).data, 1, values.stride},
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
        float* to = f->y.at(b, begin, h) + d;
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
void attend_blocks(const Forward& f, int64_t b, int64_t h, int64_t begin, int64_t end, float* scratch) {
  const int64_t chunk = clamp(CHUNK_FLOATS / f.width / FINE * FINE, FINE, CHUNK), g = h / (f.H / f.G);
  float *keys = scratch, *values = keys + chunk * f.width, *weights = values + chunk * f.width;
  float* memory = weights + chunk * QUERIES;
  Block blocks[BLOCKS];
  int64_t count = 0, first = INT32_MAX, last = 0;
  for (int64_t i = begin; i < end; i += QUERIES, count++, memory += 2 * f.D * QUERIES) {
    blocks[count].aim(f, b, h, i, least(QUERIES, end - i), memory);
    first = least(first, blocks[count].ranges.first);
    last = greatest(last, blocks[count].ranges.last);
  }
  f.prefetch(b, g, first, least(first + chunk, last));
  for (int64_t n = 0; n < count; n++) blocks[n].begin();
  for (int64_t j = first; j < last; j += chunk) {
    const int64_t limit = least(j + chunk, last), next = least(limit + chunk, last);
    const Rows k = f.rows(f.k, b, j, limit, g, count > 1, keys), v = f.rows(f.v, b, j, limit, g, count > 1, values);
    for (int64_t n = 0; n < count; n++) {
      f.prefetch(b, g, limit + (next - limit) * n / count, limit + (next - limit) * (n + 1) / count);
      blocks[n].attend(j, limit, k, v, weights);
    }
  }
  for (int64_t n = 0; n < count; n++) blocks[n].finish();
}

// One query position of up to GROUP heads that share a key head: for decoding, where reading k and v is all the work.
struct Position {
  static constexpr int64_t GROUP = 16;
  const Forward& f;
  const int64_t b, first_head, heads, g, t, width;
  const Ranges ranges;
  float *query, *output, *weights, *copy;
  float maximum_score[GROUP], sum[GROUP];

  Position(const Forward& forward, int64_t row, int64_t head, int64_t count, int64_t position, float* scratch)
      : f(forward), b(row), first_head(head), heads(count), g(head / (f.H / f.G)), t(position),
        width(f.width), ranges(f.masks, b, t, 1), query(scratch), output(query + GROUP * width),
        weights(output + GROUP * width), copy(weights + GROUP * CHUNK) {}

  void run() {
    const int64_t low = ranges.low[0][0], high = ranges.high[0][0];
    for (int64_t h = 0; h < heads; h++) {
      for (int64_t d = 0; d < width; d += LANES) {
        store(query + h * width + d, f.scale * LOG2_E * load_some(f.q.at(b, t, first_head + h) + d, f.D - d));
        store(output + h * width + d, Vector{});
      }
      maximum_score[h] = LOWEST, sum[h] = 0.0f;
    }
    for (int64_t j = low; j < high; j += CHUNK) {
      const int64_t end = least(j + CHUNK, high);
      score(j, end);
      for (int64_t h = 0; h < heads; h++) weigh(h, j, end);
      for (int64_t i = j; i < end; i += COARSE) {
        const int64_t count = least(COARSE, end - i);
        const Rows values = f.rows(f.v, b, i, i + count, g, f.D % LANES != 0, copy);
        multiply(heads, width / LANES, count, {weights + i - j, CHUNK, 1}, values.data, values.stride, output, width, true);
      }
    }
    for (int64_t h = 0; h < heads; h++) {
      const float factor = sum[h] == 0.0f ? 0.0f : f.dropout.factor / sum[h];
      for (int64_t d = 0; d < f.D; d += LANES)
        store_some(f.y.at(b, t, first_head + h) + d, factor * load(output + h * width + d), f.D - d);
      if (f.log_sum_exp)
        f.log_sum_exp[(b * f.H + first_head + h) * f.T + t] =
            sum[h] == 0.0f ? -__builtin_inff() : LN_2 * maximum_score[h] + log(broadcast(sum[h]))[0];
    }
  }

  void score(int64_t begin, int64_t end) {
    for (int64_t j = begin; j < end; j += LANES) {
      const int64_t count = least(LANES, end - j);
      const float* keys[LANES];
      for (int64_t i = 0; i < count; i++) keys[i] = f.row(f.k, b, j + i, g);
      for (int64_t h = 0; h < heads; h++) {
        const float *q = query + h * width, slope = f.masks.slope(first_head + h);
        Vector dots[LANES];
        for (int i = 0; i < LANES; i++)
          dots[i] = i < count ? products_of(q, keys[i], f.D) : Vector{};
        Vector scores = sums_of(dots);
        if (slope != 0.0f) {
          const IntVector distance = integers(ranges.position[0][0] - j) - lane_numbers();
          scores -= slope * magnitude(__builtin_convertvector(distance, Vector));
        }
        const IntVector there = lane_numbers() < static_cast<int32_t>(count);
        store(weights + h * CHUNK + j - begin, there ? scores : broadcast(-__builtin_inff()));
      }
    }
  }

  void weigh(int64_t h, int64_t begin, int64_t end) {
    float* scores = weights + h * CHUNK;
    Vector highest = broadcast(maximum_score[h]), total = Vector{};
    for (int64_t i = 0; i < end - begin; i += LANES) highest = maximum(load(scores + i), highest);
    highest = broadcast(maximum_of(highest));
    for (int64_t i = 0; i < end - begin; i += LANES) {
      const Vector weight = power_of_two(load(scores + i) - highest);
      total += weight;
      store(scores + i, weight);
    }
    const Vector factor = power_of_two(broadcast(maximum_score[h]) - highest);
    maximum_score[h] = highest[0];
    sum[h] = sum[h] * factor[0] + sum_of(total);
    for (int64_t d = 0; d < width; d += LANES) store(output + h * width + d, factor * load(output + h * width + d));
    if (f.dropout.active())
      for (int64_t j = begin; j < end; j++)
        if (!f.dropout.keeps((b * f.H + first_head + h) * f.T + t, j)) scores[j - begin] = 0.0f;
  }
};

}  // namespace

void attention(const Call& call) {
  const Forward f(call, *static_cast<const AttentionAttributes*>(call.attributes));
  const auto scratch = [&](int32_t worker) { return static_cast<float*>(call.context->scratch[worker]); };
  if (f.T <= FEW) {
    parallel(call.context, f.B * f.G, [&](int64_t index, int32_t worker) {
      const int64_t b = index / f.G, end_head = (index % f.G + 1) * (f.H / f.G), live = f.masks.queries(b);
      for (int64_t h = index % f.G * (f.H / f.G); h < end_head; h += Position::GROUP) {
        const int64_t heads = least(Position::GROUP, end_head - h);
        for (int64_t t = 0; t < live; t++) Position(f, b, h, heads, t, scratch(worker)).run();
        for (int64_t i = h; i < h + heads; i++) f.write_empty(b, i, live, f.T);
      }
    });
    return;
  }
  const int64_t blocks = clamp(f.B * f.H * quotient_up(f.T, QUERIES) / TASKS, 1, least(BLOCKS, BLOCK_FLOATS / QUERIES / f.D));
  const int64_t queries = blocks * QUERIES, tasks = quotient_up(f.T, queries);
  parallel(call.context, f.B * f.H * tasks, [&](int64_t index, int32_t worker) {
    // The last queries of a causal head see the most keys: they come first.
    const int64_t b = index / (f.H * tasks), h = index / tasks % f.H, begin = (tasks - 1 - index % tasks) * queries;
    const int64_t end = least(begin + queries, f.T), live = clamp(f.masks.queries(b), begin, end);
    if (live > begin) attend_blocks(f, b, h, begin, live, scratch(worker));
    f.write_empty(b, h, live, end);
  });
}

// Bound by memory: each value is read and written once.
void cache_write(const Call& call) {
  const Operand &cache = call.in[0], &values = call.in[1];
  const Heads to(cache), from(values);
  const int32_t *positions = data_of<int32_t>(call.in[2]), *lengths = data_of<int32_t>(call.in[3]);
  const int64_t S = cache.shape[1], B = values.shape[0], T = values.shape[1], G = values.shape[2], D = values.shape[3];
  const int64_t blocks = quotient_up(T, QUERIES);
  parallel(call.context, least(B, cache.shape[0]) * blocks, [&](int64_t index, int32_t) {
    const int64_t b = index / blocks, first = index % blocks * QUERIES, position = clamp(positions[b], 0, S);
    const int64_t count = least(lengths ? clamp(lengths[b], 0, T) : T, S - position);
    for (int64_t t = first; t < least(first + QUERIES, count); t++)
      for (int64_t g = 0; g < G; g++) memcpy(to.at(b, position + t, g), from.at(b, t, g), sizeof(float) * D);
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
