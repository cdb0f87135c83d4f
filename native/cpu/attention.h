// What the two directions of attention share: views of heads, the range of keys a query sees, the dropout of weights.
//
// Scores are kept transposed, keys by queries: a vector holds one key's scores for LANES queries. So a softmax needs no
// horizontal fold, keys and values are read as they lie, and the four words of a Philox vector fall on four keys. They are in
// units of ln 2, so that a softmax takes powers of two.
#pragma once
#include "../kernel.h"
#include "../numeric.h"
#include "../ops.h"
#include "math.h"
#include "parallel.h"
#include "tile.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr int QUERIES = 64;  // of a block
constexpr int VECTORS = QUERIES / LANES;
constexpr int COARSE = 64;   // keys of a tile that no mask cuts through
constexpr int FINE = 16;     // keys of any other, so that little of a causal triangle's other half is computed
constexpr int64_t WIDEST_HEAD = 768;  // D for which the blocks of either direction fit a worker's scratch

HEDDLE_INLINE int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
HEDDLE_INLINE int64_t greatest(int64_t a, int64_t b) { return a > b ? a : b; }
HEDDLE_INLINE int64_t clamp(int64_t x, int64_t low, int64_t high) { return least(greatest(x, low), high); }
HEDDLE_INLINE int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Rows of D numbers, of float or bf16.
template <typename T>
struct RowsOf {
  const T* data;
  int64_t stride;
  const T* at(int64_t i) const { return data + i * stride; }
  RowsOf from(int64_t i) const { return {at(i), stride}; }
};
typedef RowsOf<float> Rows;

// A [B, T, H, D] operand.
template <typename T>
struct Heads {
  T* data;
  int64_t batch, position, head;
  explicit Heads(const Operand& x)
      : data(static_cast<T*>(x.data)), batch(x.stride[0]), position(x.stride[1]), head(x.stride[2]) {}
  T* at(int64_t b, int64_t t, int64_t h) const { return data + b * batch + t * position + h * head; }
  RowsOf<T> rows(int64_t b, int64_t t, int64_t h) const { return {at(b, t, h), position}; }
};

// A copy in rows of whole vectors of float, filled up with zeros. Rows of a head lie far apart, often a page each: what is
// read more than once is read from such a copy.
template <typename T>
static inline Rows copied(RowsOf<T> from, int64_t rows, int64_t D, float* to) {
  const int64_t whole = D / LANES * LANES, width = quotient_up(D, LANES) * LANES;
  for (int64_t i = 0; i < rows; i++) {
    const T* row = from.at(i);
    for (int64_t d = 0; d < whole; d += LANES) store(to + i * width + d, load(row + d));
    if (whole < D) store(to + i * width + whole, load_some(row + whole, D - whole));
  }
  return {to, width};
}

// Rows where they lie, unless they are to be read `again` or must be widened.
static inline Rows readable(Rows from, int64_t rows, int64_t D, bool again, float* copy) {
  return again ? copied(from, rows, D, copy) : from;
}
static inline Rows readable(RowsOf<bf16> from, int64_t rows, int64_t D, bool, float* copy) {
  return copied(from, rows, D, copy);
}

// Asks for rows to come to the second cache: no hardware prefetcher follows them.
template <typename T>
static inline void prefetch(RowsOf<T> rows, int64_t count, int64_t D) {
  for (int64_t i = 0; i < count; i++)
    for (int64_t d = 0; d < D; d += 64 / static_cast<int64_t>(sizeof(T))) __builtin_prefetch(rows.at(i) + d, 0, 2);
}

template <typename T>
static const T* data_of(const Operand& x) { return static_cast<const T*>(x.data); }

HEDDLE_INLINE IntVector integers(int64_t x) { return static_cast<int32_t>(x) - IntVector{}; }
HEDDLE_INLINE IntVector lane_numbers() {
  IntVector result;
  for (int i = 0; i < LANES; i++) result[i] = i;
  return result;
}

// The masks of src/ops/attention.ts.
struct Masks {
  const int32_t *query_lengths, *key_lengths, *document_starts;
  const float* slopes;
  int64_t T, S, window;
  bool causal;

  template <typename Attributes>
  Masks(const Call& call, const Operand* optional, const Attributes& attributes)
      : query_lengths(data_of<int32_t>(optional[0])), key_lengths(data_of<int32_t>(optional[1])),
        document_starts(data_of<int32_t>(optional[2])), slopes(data_of<float>(optional[3])),
        T(call.in[0].shape[1]), S(call.in[1].shape[1]), window(least(attributes.window, 1 << 30)),
        causal(attributes.causal != 0) {}

  int64_t queries(int64_t b) const { return query_lengths ? clamp(query_lengths[b], 0, T) : T; }
  float slope(int64_t h) const { return slopes ? slopes[h] * LOG2_E : 0.0f; }
  int64_t keys(int64_t b) const { return key_lengths ? clamp(key_lengths[b], 0, S) : S; }
};

// The key ranges of a block of queries: of each of them, of vectors of them, and of all.
struct Ranges {
  struct Tile {
    int64_t first, count;  // keys first <= j < first + count; first is a multiple of FINE
    int begin, end;        // vectors of queries that may see any of them
    bool masked;           // not every query sees every key
  };
  IntVector low[VECTORS], high[VECTORS], position[VECTORS];
  int32_t vector_low[VECTORS], vector_high[VECTORS];
  int64_t first, last;        // outside of these keys no query sees any
  int64_t all_low, all_high;  // within these every query sees all
  int vectors;

  Ranges() {}

  // Of queries first_query <= i < first_query + count. Lanes beyond repeat the last one: nobody looks at what they give.
  Ranges(const Masks& masks, int64_t b, int64_t first_query, int64_t count) {
    const int64_t keys = masks.keys(b), offset = keys - masks.queries(b);
    const IntVector all = integers(keys), window = integers(masks.window), last_query = integers(first_query + count - 1);
    vectors = static_cast<int>(quotient_up(count, LANES));
    first = all_high = INT32_MAX;
    last = all_low = 0;
    for (int v = 0; v < vectors; v++) {
      IntVector query = integers(first_query + v * LANES) + lane_numbers();
      query = query < last_query ? query : last_query;
      const IntVector p = query + integers(offset);
      IntVector from = IntVector{}, to = all;
      if (masks.window > 0) from = p - window >= 0 ? p - window + 1 : from;
      const IntVector end = p + (masks.causal ? integers(1) : window);
      if (masks.causal || masks.window > 0) to = end < all ? end : all;
      if (masks.document_starts)
        for (int i = 0; i < LANES; i++) {
          const int32_t start = masks.document_starts[b * masks.T + query[i]];
          if (start > from[i]) from[i] = start;
        }
      low[v] = from, high[v] = to, position[v] = p;
      int32_t lowest = INT32_MAX, highest = 0;
      for (int i = 0; i < LANES; i++) {
        lowest = from[i] < lowest ? from[i] : lowest;
        highest = to[i] > highest ? to[i] : highest;
        all_low = greatest(all_low, from[i]);
        all_high = least(all_high, to[i]);
      }
      vector_low[v] = lowest, vector_high[v] = highest;
      first = least(first, lowest);
      last = greatest(last, highest);
    }
    first = first / FINE * FINE;
  }

  // The tile that begins with key j, a multiple of FINE, and ends by `limit`, another or the last key's.
  Tile tile(int64_t j, int64_t limit) const {
    const int64_t whole = all_high >= limit ? limit : all_high / FINE * FINE;
    if (j >= all_low && j < whole) return {j, least(COARSE, whole - j), 0, vectors, false};
    const int64_t end = least(j + FINE, limit);
    int begin_vector = 0, end_vector = vectors;
    while (begin_vector < end_vector && !(vector_low[begin_vector] < end && vector_high[begin_vector] > j)) begin_vector++;
    while (end_vector > begin_vector && !(vector_low[end_vector - 1] < end && vector_high[end_vector - 1] > j)) end_vector--;
    return {j, end - j, begin_vector, end_vector, true};
  }
  IntVector sees(int v, int64_t j) const {
    return (low[v] <= static_cast<int32_t>(j)) & (high[v] > static_cast<int32_t>(j));
  }

  // Makes the scores of a tile's keys (QUERIES apart) for the queries of vector v ready for a softmax: subtracts ALiBi's
  // slope * distance, and puts -inf where a query does not see a key.
  void mask(float* scores, const Tile& tile, int v, float slope) const {
    const IntVector from = low[v], to = high[v], p = position[v];
    for (int64_t i = 0; i < tile.count; i++, scores += QUERIES) {
      const IntVector j = integers(tile.first + i);
      Vector s = load(scores);
      if (slope != 0.0f) s -= slope * magnitude(__builtin_convertvector(p - j, Vector));
      store(scores, ((j >= from) & (j < to)) != 0 ? s : broadcast(-__builtin_inff()));
    }
  }
};

// The two halves of the products of 32-bit lanes.
HEDDLE_INLINE void multiply_wide(UintVector a, uint32_t factor, UintVector* high, UintVector* low) {
  typedef uint64_t Wide __attribute__((vector_size(LANES * 4)));
  const Wide even = reinterpret_cast<Wide>(a), odd = even >> 32;
#if defined(__AVX512F__)
  const __m512i m = _mm512_set1_epi32(static_cast<int>(factor));
  const Wide p = reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(even), m));
  const Wide r = reinterpret_cast<Wide>(_mm512_maskz_mul_epu32(0xFF, reinterpret_cast<__m512i>(odd), m));
#elif defined(__AVX2__)
  const __m256i m = _mm256_set1_epi32(static_cast<int>(factor));
  const Wide p = reinterpret_cast<Wide>(_mm256_mul_epu32(reinterpret_cast<__m256i>(even), m));
  const Wide r = reinterpret_cast<Wide>(_mm256_mul_epu32(reinterpret_cast<__m256i>(odd), m));
#else
  const Wide p = (even & 0xFFFFFFFFull) * factor, r = odd * factor;
#endif
  *low = reinterpret_cast<UintVector>((p & 0xFFFFFFFFull) | r << 32);
  *high = reinterpret_cast<UintVector>(p >> 32 | (r & 0xFFFFFFFF00000000ull));
}

// Dropout of weights: the four words of counter (query, key / 4, step, site) are for four keys (native/numeric.h).
struct WeightDropout {
  float probability, factor;
  uint32_t first_query, step, site, key[2];

  WeightDropout(const Call& call, float dropout, int32_t number)
      : probability(dropout), factor(dropout < 1.0f ? 1.0f / (1.0f - dropout) : 0.0f), first_query(0), step(0), site(0) {
    if (!(dropout > 0.0f)) return;
    const double* scalars = call.context->scalars;
    first_query = to_counter(scalars[SCALAR_ROW_OFFSET]) * static_cast<uint32_t>(call.in[0].shape[1] * call.in[0].shape[2]);
    step = to_counter(scalars[SCALAR_STEP]);
    site = static_cast<uint32_t>(number) << 8 | to_counter(scalars[SCALAR_MICRO_STEP]);
    philox_key(scalars[SCALAR_SEED], key);
  }
  bool active() const { return probability > 0.0f; }

  bool keeps(int64_t query, int64_t j) const {
    const uint32_t counter[4] = {first_query + static_cast<uint32_t>(query), static_cast<uint32_t>(j >> 2), step, site};
    uint32_t words[4];
    philox(counter, key, words);
    return keep(words[j & 3], probability);
  }

  // Of LANES queries from `query` (numbered through all rows and heads) and keys 4 * quad to 4 * quad + 3.
  void keep4(int64_t query, int64_t quad, IntVector (&keeps)[4]) const {
    UintVector c0 = reinterpret_cast<UintVector>(lane_numbers()) + (first_query + static_cast<uint32_t>(query));
    UintVector c1 = static_cast<uint32_t>(quad) - UintVector{}, c2 = step - UintVector{}, c3 = site - UintVector{};
    uint32_t k0 = key[0], k1 = key[1];
    for (int round = 0; round < PHILOX_ROUNDS; round++, k0 += PHILOX_WEYL_0, k1 += PHILOX_WEYL_1) {
      UintVector high0, low0, high1, low1;
      multiply_wide(c0, PHILOX_MULTIPLIER_0, &high0, &low0);
      multiply_wide(c2, PHILOX_MULTIPLIER_1, &high1, &low1);
      c0 = high1 ^ c1 ^ k0;
      c2 = high0 ^ c3 ^ k1;
      c1 = low1;
      c3 = low0;
    }
    const UintVector words[4] = {c0, c1, c2, c3};
    for (int w = 0; w < 4; w++)
      keeps[w] = __builtin_convertvector(reinterpret_cast<IntVector>(words[w] >> 8), Vector) * 0x1p-24f >= probability;
  }
};

// The operands of attention.
template <typename E>
struct Forward {
  Heads<E> q, k, v, y;
  float* log_sum_exp;
  Masks masks;
  const int32_t* slots;
  WeightDropout dropout;
  float scale;
  int64_t B, T, P, S, H, G, D, width;  // width: D as whole vectors

  explicit Forward(const Call& call)
      : Forward(call, *static_cast<const AttentionAttributes*>(call.attributes)) {}
  Forward(const Call& call, const AttentionAttributes& attributes)
      : q(call.in[0]), k(call.in[1]), v(call.in[2]), y(call.out[0]),
        log_sum_exp(static_cast<float*>(call.out[1].data)), masks(call, call.in + 3, attributes),
        slots(data_of<int32_t>(call.in[7])), dropout(call, attributes.dropout, attributes.site), scale(attributes.scale),
        B(call.in[0].shape[0]), T(call.in[0].shape[1]), P(call.in[1].shape[0]), S(call.in[1].shape[1]),
        H(call.in[0].shape[2]), G(call.in[1].shape[2]), D(call.in[0].shape[3]),
        width(quotient_up(D, LANES) * LANES) {}

  // What src/ops/attention.ts sees to.
  bool valid() const { return G > 0 && H % G == 0 && D <= WIDEST_HEAD && (slots || P >= B); }

  // Key or value j of row b.
  const E* row(const Heads<E>& x, int64_t b, int64_t j, int64_t g) const {
    return x.at(slots ? slots[b * S + j] : b, j, g);
  }

  // Those of begin <= j < end, where they lie or, if they are scattered or to be read `again`, copied.
  Rows rows(const Heads<E>& x, int64_t b, int64_t begin, int64_t end, int64_t g, bool again, float* copy) const {
    if (!slots) return readable(x.rows(b, begin, g), end - begin, D, again, copy);
    for (int64_t j = begin; j < end; j++) copied(RowsOf<E>{row(x, b, j, g), 0}, 1, D, copy + (j - begin) * width);
    return {copy, width};
  }

  void write_empty(int64_t b, int64_t h, int64_t begin, int64_t end) const {
    for (int64_t i = begin; i < end; i++) {
      memset(y.at(b, i, h), 0, sizeof(E) * D);
      if (log_sum_exp) log_sum_exp[(b * H + h) * T + i] = -__builtin_inff();
    }
  }
};

constexpr int64_t FEW = 4;                  // up to so many queries a head are dealt with one by one
constexpr float LOWEST = -3.402823466e38f;  // a maximum of nothing: below every score, and LOWEST - LOWEST is a number

// In attention_decode.cc: for T <= FEW.
void attend_positions(const Forward<float>& f, Context* context);
void attend_positions(const Forward<bf16>& f, Context* context);

}}}  // namespace heddle::cpu::HEDDLE_ISA
