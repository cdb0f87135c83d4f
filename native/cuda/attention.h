// What the kernels of attention share: views of heads, the range of keys a query sees, the dropout of weights, and products
// of tiles in shared memory.
//
// A thread computes an M x N piece of a product of tiles, M rows of one against N of the other. Its rows are neighbours, so
// that one Philox vector serves four neighbouring keys and weights are stored as float4. Neighbouring threads would then
// read rows N apart, which fall on the same banks: so row r of a tile lies at place(r), where they are next to each other.
#pragma once
#include <climits>

#include "device.h"
#include "ptx.h"

namespace heddle { namespace cuda {

// Scores are in units of ln 2, so that a softmax takes powers of two.
constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;
constexpr float LOWEST = -3.402823466e38f;  // a maximum of nothing: below every score, and LOWEST - LOWEST is a number
constexpr int64_t FEW = 4;                  // up to so many queries a head are dealt with in attention_decode.cu

// A [B, T, H, D] operand. Where it is aligned, all its rows are whole vectors of 16 bytes.
template <typename Element>
struct Heads {
  Element* data;
  int64_t batch, position, head;
  bool is_aligned;
  __device__ __forceinline__ Element* at(int64_t b, int64_t t, int64_t h) const {
    return data + b * batch + t * position + h * head;
  }
};
template <typename Element>
inline Heads<Element> heads_of(const Operand& x) {
  constexpr int64_t VECTOR = 16 / sizeof(Element);
  const int64_t odd = x.stride[0] | x.stride[1] | x.stride[2] | x.shape[3];
  return {static_cast<Element*>(x.data), x.stride[0], x.stride[1], x.stride[2],
          odd % VECTOR == 0 && reinterpret_cast<uintptr_t>(x.data) % 16 == 0};
}

struct Extents {
  int B, T, S, H, G, D;
};
inline Extents extents_of(const Operand& q, const Operand& k) {
  return {int(q.shape[0]), int(q.shape[1]), int(k.shape[1]), int(q.shape[2]), int(k.shape[2]), int(q.shape[3])};
}
// What src/ops/attention.ts sees to, and whether there is anything to do.
inline bool is_valid(const Call& call, bool has_slots) {
  const Operand &q = call.in[0], &k = call.in[1];
  return (q.dtype == F32 || q.dtype == BF16) && k.dtype == q.dtype && k.shape[2] > 0 && q.shape[2] % k.shape[2] == 0 &&
         (has_slots || k.shape[0] >= q.shape[0]);
}

// The masks of src/ops/attention.ts.
struct Range {
  int low, high;  // keys low <= j < high; 0, 0 where there are none
};
struct Lengths {
  int queries, keys;
};
struct Masks {
  const int32_t *query_lengths, *key_lengths, *document_starts;
  const float* slopes;
  int T, S, window;
  bool is_causal;

  __device__ __forceinline__ Lengths lengths(int b) const {
    return {query_lengths ? min(max(query_lengths[b], 0), T) : T, key_lengths ? min(max(key_lengths[b], 0), S) : S};
  }
  __device__ __forceinline__ float slope(int h) const { return slopes ? slopes[h] * LOG2_E : 0.0f; }
  // What the window and the causal mask leave of query i, which may be nothing: low >= high.
  __device__ __forceinline__ Range bounds(int i, Lengths n) const {
    const int position = i + n.keys - n.queries;
    const int low = window > 0 && position >= window ? position - window + 1 : 0;
    const int end = is_causal ? position + 1 : window > 0 ? position + window : n.keys;
    return {low, min(end, n.keys)};
  }
  __device__ __forceinline__ Range range(int b, int i, Lengths n) const {
    if (i >= n.queries) return {0, 0};
    Range range = bounds(i, n);
    if (document_starts) range.low = max(range.low, document_starts[int64_t(b) * T + i]);
    return range.low < range.high ? range : Range{0, 0};
  }
};
template <typename Attributes>
inline Masks masks_of(const Call& call, const Operand* optional, const Attributes& attributes) {
  constexpr int WIDEST_WINDOW = 1 << 30;  // positions and windows add without overflow
  const int window = attributes.window;
  return {static_cast<const int32_t*>(optional[0].data), static_cast<const int32_t*>(optional[1].data),
          static_cast<const int32_t*>(optional[2].data), static_cast<const float*>(optional[3].data),
          int(call.in[0].shape[1]), int(call.in[1].shape[1]), window < WIDEST_WINDOW ? window : WIDEST_WINDOW,
          attributes.causal != 0};
}

// Dropout of weights: the four words of counter (query, key / 4, step, site) are for four keys (native/numeric.h).
struct WeightDropout {
  float probability, factor;
  uint32_t site, queries;   // queries: of one row of the batch, all heads counted
  const double* scalars;    // on the device
  __device__ __forceinline__ bool is_active() const { return probability > 0.0f; }
};
template <typename Attributes>
inline WeightDropout dropout_of(const Call& call, const Attributes& attributes) {
  const float p = attributes.dropout;
  return {p, p < 1.0f ? 1.0f / (1.0f - p) : 0.0f, uint32_t(attributes.site) << 8,
          uint32_t(call.in[0].shape[1] * call.in[0].shape[2]), call.context->scalars};
}
struct Draws {
  uint32_t first_query, step, site, key[2];
  float probability;
  __device__ __forceinline__ explicit Draws(const WeightDropout& dropout)
      : first_query(to_counter(dropout.scalars[SCALAR_ROW_OFFSET]) * dropout.queries),
        step(to_counter(dropout.scalars[SCALAR_STEP])),
        site(dropout.site | to_counter(dropout.scalars[SCALAR_MICRO_STEP])), probability(dropout.probability) {
    philox_key(dropout.scalars[SCALAR_SEED], key);
  }
  // Bit n: whether key 4 quad + n is kept, for a query numbered through all rows and heads.
  __device__ __forceinline__ uint32_t keeps(int64_t query, int quad) const {
    const uint32_t counter[4] = {first_query + uint32_t(query), uint32_t(quad), step, site};
    uint32_t words[4], bits = 0;
    philox(counter, key, words);
#pragma unroll
    for (int n = 0; n < 4; n++) bits |= uint32_t(keep(words[n], probability)) << n;
    return bits;
  }
};

// The key ranges of some queries together.
struct Span {
  int first, last;            // outside of these keys no query sees any
  int whole_low, whole_high;  // within these every query sees all
};
// Of queries `first` to first + COUNT - 1. Every lane must call it. Without starts of documents neither end of a range falls
// from one query to the next, so that the first and the last query tell.
template <int COUNT>
HEDDLE_DEVICE Span span_of(const Masks& masks, int b, int first, Lengths n) {
  const int last = min(first + COUNT, n.queries) - 1;
  if (first > last) return {0, 0, 0, 0};
  const Range least = masks.bounds(first, n), most = masks.bounds(last, n);
  Span span = {least.low, most.high, most.low, last == first + COUNT - 1 ? least.high : 0};
  if (masks.document_starts) {
    int earliest = INT_MAX, latest = 0;
    for (int i = first + int(threadIdx.x) % LANES; i <= last; i += LANES) {
      const int start = masks.document_starts[int64_t(b) * masks.T + i];
      earliest = min(earliest, start), latest = max(latest, start);
    }
#pragma unroll
    for (int distance = LANES / 2; distance > 0; distance /= 2) {
      earliest = min(earliest, __shfl_xor_sync(ALL_LANES, earliest, distance));
      latest = max(latest, __shfl_xor_sync(ALL_LANES, latest, distance));
    }
    span.first = max(span.first, earliest), span.whole_low = max(span.whole_low, latest);
  }
  return span;
}

// Rows of a tile lie so far apart that eight neighbouring rows fall on different banks.
constexpr int PADDING = 4;

template <int ROWS, int EACH>
HEDDLE_DEVICE int place(int row) {
  return row % EACH * (ROWS / EACH) + row / EACH;
}

HEDDLE_DEVICE float4 load4(const float* from) { return *reinterpret_cast<const float4*>(from); }
HEDDLE_DEVICE float low_half(uint32_t pair) { return __uint_as_float(pair << 16); }
HEDDLE_DEVICE float high_half(uint32_t pair) { return __uint_as_float(pair & 0xFFFF0000u); }
HEDDLE_DEVICE float4 load4(const bf16* from) {
  const uint2 pairs = *reinterpret_cast<const uint2*>(from);
  return make_float4(low_half(pairs.x), high_half(pairs.x), low_half(pairs.y), high_half(pairs.y));
}
HEDDLE_DEVICE void store4(float* to, float4 x) { *reinterpret_cast<float4*>(to) = x; }
HEDDLE_DEVICE void store4(bf16* to, float4 x) {
  *reinterpret_cast<uint2*>(to) = make_uint2(pack_bf16(x.x, x.y), pack_bf16(x.z, x.w));
}
// The first `count` of four elements, wherever they lie; zeros for the others.
template <typename Element>
HEDDLE_DEVICE float4 load_some(const Element* from, int count) {
  return make_float4(count > 0 ? widened(from[0]) : 0.0f, count > 1 ? widened(from[1]) : 0.0f,
                     count > 2 ? widened(from[2]) : 0.0f, count > 3 ? widened(from[3]) : 0.0f);
}

// As many elements of a row as 16 bytes hold, from `column` on; zeros past its `width`.
HEDDLE_DEVICE void load_vector(float (&x)[4], const float* row, int column, int width, bool is_aligned) {
  float4 v = make_float4(0, 0, 0, 0);
  if (!is_aligned) v = load_some(row + column, width - column);
  else if (column < width) v = load4(row + column);
  x[0] = v.x, x[1] = v.y, x[2] = v.z, x[3] = v.w;
}
HEDDLE_DEVICE void load_vector(float (&x)[8], const bf16* row, int column, int width, bool is_aligned) {
  if (is_aligned) {
    const uint4 v = column < width ? *reinterpret_cast<const uint4*>(row + column) : make_uint4(0, 0, 0, 0);
    const uint32_t pairs[4] = {v.x, v.y, v.z, v.w};
#pragma unroll
    for (int i = 0; i < 4; i++) x[2 * i] = low_half(pairs[i]), x[2 * i + 1] = high_half(pairs[i]);
  } else {
#pragma unroll
    for (int i = 0; i < 8; i++) x[i] = column + i < width ? widened(row[column + i]) : 0.0f;
  }
}

// Begins to copy `count` rows of a head to a tile of ROWS x WIDTH floats, EACH of them to a thread in products. Zeros fill it
// up where rows, or their `columns`, are fewer. commit_copies, wait_for_copies and a barrier must follow.
template <int ROWS, int EACH, int WIDTH, int THREADS, typename RowAt>
HEDDLE_DEVICE void load_tile(float* tile, int count, int columns, bool is_aligned, const RowAt& row_at) {
  constexpr int PIECES = WIDTH / 4;
#pragma unroll 1
  for (int piece = threadIdx.x; piece < ROWS * PIECES; piece += THREADS) {
    const int row = piece / PIECES, column = piece % PIECES * 4;
    const bool is_there = row < count && column < columns;
    const auto* const from = is_there ? row_at(row) + column : row_at(0);
    float* const to = tile + place<ROWS, EACH>(row) * (WIDTH + PADDING) + column;
    if (is_aligned && sizeof *from == sizeof(float)) copy_async(to, from, is_there);
    else if (is_aligned) store4(to, is_there ? load4(from) : make_float4(0, 0, 0, 0));
    else store4(to, load_some(from, is_there ? columns - column : 0));
  }
}

// sum[m][n] += a[m] . b[n] over WIDTH columns. Rows of a lie A_STEP floats apart, those of b B_STEP.
template <int M, int N, int WIDTH, int A_STEP, int B_STEP>
HEDDLE_DEVICE void add_products(float (&sum)[M][N], const float* a, const float* b) {
#pragma unroll 2
  for (int column = 0; column < WIDTH; column += 4) {
    float4 y[N];
#pragma unroll
    for (int n = 0; n < N; n++) y[n] = load4(b + n * B_STEP + column);
#pragma unroll
    for (int m = 0; m < M; m++) {
      const float4 x = load4(a + m * A_STEP + column);
#pragma unroll
      for (int n = 0; n < N; n++) {
        sum[m][n] += x.x * y[n].x;
        sum[m][n] += x.y * y[n].y;
        sum[m][n] += x.z * y[n].z;
        sum[m][n] += x.w * y[n].w;
      }
    }
  }
}

// The N columns of a thread, one of ACROSS that share a row: neighbours load neighbouring vectors of VECTOR floats.
template <int N, int ACROSS>
struct Columns {
  static constexpr int VECTOR = N % 4 == 0 ? 4 : 2;
  int first;
  __device__ __forceinline__ explicit Columns(int thread) : first(thread * VECTOR) {}
  __device__ __forceinline__ int operator[](int n) const { return first + n / VECTOR * (ACROSS * VECTOR) + n % VECTOR; }

  __device__ __forceinline__ void load(float (&x)[N], const float* row) const {
#pragma unroll
    for (int n = 0; n < N; n += VECTOR) {
      const float* const from = row + (*this)[n];
      if (VECTOR == 4) {
        const float4 v = load4(from);
        x[n] = v.x, x[n + 1] = v.y, x[(n + 2) % N] = v.z, x[(n + 3) % N] = v.w;
      } else {
        const float2 v = *reinterpret_cast<const float2*>(from);
        x[n] = v.x, x[n + 1] = v.y;
      }
    }
  }
  // To a row of an operand of which `count` columns are left.
  template <typename Element>
  __device__ __forceinline__ void store(Element* row, const float (&x)[N], int count, bool is_aligned) const {
#pragma unroll
    for (int n = 0; n < N; n += VECTOR) {
      const int column = (*this)[n];
      if (VECTOR == 4 && is_aligned) {
        if (column < count) store4(row + column, make_float4(x[n], x[n + 1], x[(n + 2) % N], x[(n + 3) % N]));
      } else {
#pragma unroll
        for (int i = 0; i < VECTOR; i++)
          if (column + i < count) set(row[column + i], x[n + i]);
      }
    }
  }
};

// sum[m][n] += sum over the ROWS rows of a tile of weights[m][row] * tile[row][columns[n]]. A thread's rows of weights lie
// STEP floats apart, their elements in the order of the rows; four rows of the tile were one thread's before.
template <int M, int N, int ACROSS, int ROWS, int WIDTH, int STEP>
HEDDLE_DEVICE void add_weighted(float (&sum)[M][N], const float* weights, const float* tile, Columns<N, ACROSS> columns) {
#pragma unroll 2
  for (int row = 0; row < ROWS; row += 4) {
    float w[M][4];
#pragma unroll
    for (int m = 0; m < M; m++) {
      const float4 v = load4(weights + m * STEP + row);
      w[m][0] = v.x, w[m][1] = v.y, w[m][2] = v.z, w[m][3] = v.w;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      float x[N];
      columns.load(x, tile + (i * (ROWS / 4) + row / 4) * (WIDTH + PADDING));
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < N; n++) sum[m][n] += w[m][i] * x[n];
    }
  }
}

// What the kernels of either direction are given.
template <typename Element>
struct Forward {
  Heads<Element> q, k, v, y;
  float* log_sum_exp;
  const int32_t* slots;
  Masks masks;
  WeightDropout dropout;
  float scale;
  Extents extents;
  int tiles, slices;
};
template <typename Element>
struct Backward {
  Heads<Element> q, k, v, y, dy, dq, dk, dv;
  const float* log_sum_exp;
  float *bases, *deltas;  // [B, H, T]: log-sum-exps in units of ln 2, 0 where a query sees nothing; sums of dy * y
  Masks masks;
  WeightDropout dropout;
  float scale;
  Extents extents;
  int tiles, slices;
};
enum Side { QUERIES, KEYS };  // whose tile stays in a block of the backward kernels, and whose gradients are computed

// In attention_decode.cu: for T <= FEW.
int64_t attend_positions_workspace(const Call& call);
Status attend_positions(const Call& call, Stream stream);

// In attention_tensor.cu and attention_tensor_backward.cu: for heads up to WIDEST_TENSOR whose operands are aligned.
constexpr int WIDEST_TENSOR = 128;
Status attend_by_tensor_cores(const Forward<bf16>& f, Stream stream);
Status differentiate_by_tensor_cores(const Backward<bf16>& f, Stream stream);

}}  // namespace heddle::cuda
