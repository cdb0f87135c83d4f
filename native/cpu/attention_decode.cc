// Attention of a few queries to many keys in a cache, and writing to that cache: decoding.
// Bound by memory: all heads that share a key head read k and v once, 8 B Tk G D bytes (half in bf16) for 4 B Tk H D flops.
// One task a row and key head, a chunk of scores at a time; dot products with keys as they lie, then one product with values.
// A split over keys would help one row with one key head only, and would need a second pass.
#include "attention.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t CHUNK = 256;  // scores of a head that are held at a time
constexpr int64_t GROUP = 16;   // heads that are dealt with at a time

// One query position of up to GROUP heads that share a key head: for decoding, where reading k and v is all the work.
template <typename E>
struct Position {
  const Forward<E>& f;
  const int64_t b, first_head, heads, g, t, width;
  const Ranges ranges;
  float *query, *output, *weights, *copy;
  float maximum_score[GROUP], sum[GROUP];

  Position(const Forward<E>& forward, int64_t row, int64_t head, int64_t count, int64_t position, float* scratch)
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
      const E* keys[LANES];
      for (int64_t i = 0; i < count; i++) {
        keys[i] = f.row(f.k, b, j + i, g);
        // A head's rows lie apart: nothing else brings the next keys, and the values that come after the scores.
        if (j + LANES + i < end) prefetch(RowsOf<E>{f.row(f.k, b, j + LANES + i, g), 0}, 1, f.D);
        prefetch(RowsOf<E>{f.row(f.v, b, j + i, g), 0}, 1, f.D);
      }
      for (int64_t h = 0; h < heads; h++) {
        const float *q = query + h * width, slope = f.masks.slope(first_head + h);
        Vector dots[LANES];
        for (int i = 0; i < LANES; i++) dots[i] = i < count ? products_of(q, keys[i], f.D) : Vector{};
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

template <typename E>
void attend_few(const Forward<E>& f, Context* context) {
  const int64_t heads = f.H / f.G;
  parallel(context, f.B * f.G, [&](int64_t index, int32_t worker) {
    const int64_t b = index / f.G, end = (index % f.G + 1) * heads, live = f.masks.queries(b);
    for (int64_t h = end - heads; h < end; h++) f.write_empty(b, h, live, f.T);
    for (int64_t h = end - heads; h < end; h += GROUP)
      for (int64_t t = 0; t < live; t++)
        Position<E>(f, b, h, least(GROUP, end - h), t, static_cast<float*>(context->scratch[worker])).run();
  });
}

template <typename E>
void write_cache(const Call& call) {
  const Operand &cache = call.in[0], &values = call.in[1];
  const Heads<E> to(cache), from(values);
  const int32_t *positions = data_of<int32_t>(call.in[2]), *lengths = data_of<int32_t>(call.in[3]);
  const int64_t S = cache.shape[1], B = values.shape[0], T = values.shape[1], G = values.shape[2], D = values.shape[3];
  const int64_t blocks = quotient_up(T, QUERIES);
  parallel(call.context, least(B, cache.shape[0]) * blocks, [&](int64_t index, int32_t) {
    const int64_t b = index / blocks, first = index % blocks * QUERIES, position = clamp(positions[b], 0, S);
    const int64_t count = least(lengths ? clamp(lengths[b], 0, T) : T, S - position);
    for (int64_t t = first; t < least(first + QUERIES, count); t++)
      for (int64_t g = 0; g < G; g++) memcpy(to.at(b, position + t, g), from.at(b, t, g), sizeof(E) * D);
  });
}

}  // namespace

void attend_positions(const Forward<float>& f, Context* context) { attend_few(f, context); }
void attend_positions(const Forward<bf16>& f, Context* context) { attend_few(f, context); }

// Bound by memory: each value is read and written once.
void cache_write(const Call& call) { call.in[0].dtype == BF16 ? write_cache<bf16>(call) : write_cache<float>(call); }

}}}  // namespace heddle::cpu::HEDDLE_ISA
