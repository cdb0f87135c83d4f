// Attention of a few queries to many keys in a cache, and writing to that cache: decoding, in float32 or bf16.
// Bound by memory: k and v are read once per four rows (queries of all heads that share a key head), 2 B Tk G D elements.
// A block takes one key head's four rows against 128 keys and leaves a maximum, a sum and an output of its own, which a
// second kernel combines in the order of the keys: one sequence has too few heads to fill a GPU otherwise.
// Eight lanes read a key or value together, 128 bytes at a time, so that a warp has four of them under way and a score
// needs three shuffles. Keys are split by S, the room in the cache, so that a captured graph serves any length.
#include "attention.h"

namespace heddle { namespace cuda {
namespace {

constexpr int SPLIT = 128;           // keys of a block
constexpr int ROWS = 4;              // queries of a block
constexpr int DECODE_THREADS = 128;
constexpr int WARPS = DECODE_THREADS / LANES;
constexpr int TEAM = 8;              // lanes that read one key
constexpr int TEAMS = LANES / TEAM;  // of a warp
template <typename Element>
constexpr int VECTOR = 16 / sizeof(Element);  // columns of a lane
template <typename Element>
constexpr int PIECE = VECTOR<Element> * TEAM;  // columns they read at a time
constexpr int DEPTH = 4;             // keys a team has under way

template <typename Element>
struct Positions {
  Heads<Element> q, k, v, y;
  float* log_sum_exp;
  const int32_t* slots;
  Masks masks;
  WeightDropout dropout;
  float scale;
  Extents extents;
  int splits, row_blocks;
  // Of each row [B, H, T] and split: maximum and sum, and the output before it is divided by the sum.
  float2* statistics;
  float* partial;
};

// Row `r` of those that share key head g: query r % T of head g (H / G) + r / T.
struct Row {
  int h, t;
  int64_t number;  // in [B, H, T]
};
HEDDLE_DEVICE Row row_of(const Extents& e, int b, int g, int r) {
  const int h = g * (e.H / e.G) + r / e.T, t = r % e.T;
  return {h, t, (int64_t(b) * e.H + h) * e.T + t};
}

template <typename Element>
HEDDLE_DEVICE void write_result(const Positions<Element>& f, int b, Row row, int d, float output, float top, float sum) {
  const bool is_empty = sum == 0.0f;
  set(f.y.at(b, row.t, row.h)[d], is_empty ? 0.0f : output * (f.dropout.factor / sum));
  if (f.log_sum_exp && d == 0) f.log_sum_exp[row.number] = is_empty ? -INFINITY : LN_2 * top + logf(sum);
}

template <typename Element>
__global__ void __launch_bounds__(DECODE_THREADS, 4) attend_split(Positions<Element> f) {
  constexpr int VECTOR = cuda::VECTOR<Element>, PIECE = cuda::PIECE<Element>;
  SHARED_ARRAY(Range, ranges, [ROWS]);
  SHARED_ARRAY(float, scores, [ROWS][SPLIT]);
  SHARED_ARRAY(float2, statistics, [ROWS]);
  SHARED_ARRAY(float, outputs, [WARPS][ROWS][PIECE]);
  SHARED_ARRAY(int, places, [SPLIT]);  // rows of the cache
  const Extents& e = f.extents;
  int64_t index = blockIdx.x;
  const int split = int(index % f.splits), begin = split * SPLIT;
  index /= f.splits;
  const int first_row = int(index % f.row_blocks) * ROWS, rows = min(ROWS, e.H / e.G * e.T - first_row);
  index /= f.row_blocks;
  const int g = int(index % e.G), b = int(index / e.G);
  const int thread = threadIdx.x, lane = thread % LANES, warp = thread / LANES, team = lane / TEAM, column = lane % TEAM * VECTOR;
  const Lengths lengths = f.masks.lengths(b);

  if (thread < ROWS) {
    const bool is_there = thread < rows;
    const Range range = is_there ? f.masks.range(b, (first_row + thread) % e.T, lengths) : Range{0, 0};
    ranges[thread] = {max(range.low, begin), min(range.high, begin + SPLIT)};
  }
  const int count = min(SPLIT, lengths.keys - begin);
  for (int j = thread; j < count; j += DECODE_THREADS) places[j] = f.slots ? f.slots[int64_t(b) * e.S + begin + j] : b;
  __syncthreads();
  int first = SPLIT, last = 0;  // keys that any row sees, counted from `begin`
#pragma unroll
  for (int r = 0; r < ROWS; r++)
    if (ranges[r].low < ranges[r].high) first = min(first, ranges[r].low - begin), last = max(last, ranges[r].high - begin);
  first = first / TEAMS * TEAMS;

  // Scores: a team of a warp has DEPTH keys, all rows.
  const float scale = f.scale * LOG2_E;
  constexpr int STEP = WARPS * TEAMS * DEPTH;
  for (int from = first + warp * TEAMS * DEPTH; from < last; from += STEP) {
    float sum[DEPTH][ROWS] = {};
    const Element* keys[DEPTH];
#pragma unroll
    for (int n = 0; n < DEPTH; n++) {
      const int j = min(from + n * TEAMS + team, last - 1);
      keys[n] = f.k.at(places[j], begin + j, g);
    }
    for (int d = column; d < e.D; d += PIECE) {
      float key[DEPTH][VECTOR];
#pragma unroll
      for (int n = 0; n < DEPTH; n++) load_vector(key[n], keys[n], d, e.D, f.k.is_aligned);
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        if (r >= rows) continue;
        const Row row = row_of(e, b, g, first_row + r);
        float q[VECTOR];
        load_vector(q, f.q.at(b, row.t, row.h), d, e.D, f.q.is_aligned);
#pragma unroll
        for (int n = 0; n < DEPTH; n++)
#pragma unroll
          for (int i = 0; i < VECTOR; i++) sum[n][r] += q[i] * key[n][i];
      }
    }
#pragma unroll
    for (int n = 0; n < DEPTH; n++)
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        if (r >= rows) continue;
#pragma unroll
        for (int distance = TEAM / 2; distance > 0; distance /= 2)
          sum[n][r] += __shfl_xor_sync(ALL_LANES, sum[n][r], distance);
        const int j = from + n * TEAMS + team;
        if (column == 0 && j < last) scores[r][j] = sum[n][r] * scale;
      }
  }
  __syncthreads();

  // Weights: a warp has a row.
  for (int r = warp; r < ROWS; r += WARPS) {
    const Range range = ranges[r];
    const Row row = row_of(e, b, g, first_row + min(r, rows - 1));
    const float slope = f.masks.slope(row.h);
    const int position = row.t + lengths.keys - lengths.queries;
    const auto score_of = [&](int j) {
      if (begin + j < range.low || begin + j >= range.high) return -INFINITY;
      return slope == 0.0f ? scores[r][j] : scores[r][j] - slope * fabsf(float(position - begin - j));
    };
    float top = LOWEST, sum = 0.0f;
    for (int j = first + lane; j < last; j += LANES) top = fmaxf(top, score_of(j));
    top = warp_maximum(top);
    for (int j = first + lane; j < last; j += LANES) {
      const float weight = fast_exp2(score_of(j) - top);
      sum += weight;
      const bool is_kept = !f.dropout.is_active() || (Draws(f.dropout).keeps(row.number, (begin + j) / 4) >> (j % 4) & 1);
      scores[r][j] = is_kept ? weight : 0.0f;
    }
    sum = warp_sum(sum);
    if (lane == 0) statistics[r] = make_float2(top, sum);
  }
  __syncthreads();

  // Outputs, PIECE columns at a time: teams have every sixteenth key, and their sums are added in order.
  for (int d = 0; d < e.D; d += PIECE) {
    float output[ROWS][VECTOR] = {};
#pragma unroll 4
    for (int j = first + warp * TEAMS + team; j < last; j += WARPS * TEAMS) {
      float value[VECTOR];
      load_vector(value, f.v.at(places[j], begin + j, g), d + column, e.D, f.v.is_aligned);
#pragma unroll
      for (int r = 0; r < ROWS; r++) {
        if (r >= rows) continue;
        const float weight = scores[r][j];
#pragma unroll
        for (int i = 0; i < VECTOR; i++) output[r][i] += weight * value[i];
      }
    }
#pragma unroll
    for (int r = 0; r < ROWS; r++) {
      if (r >= rows) continue;
#pragma unroll
      for (int i = 0; i < VECTOR; i++) {
#pragma unroll
        for (int distance = TEAM; distance < LANES; distance *= 2)
          output[r][i] += __shfl_xor_sync(ALL_LANES, output[r][i], distance);
        if (team == 0) outputs[warp][r][column + i] = output[r][i];
      }
    }
    __syncthreads();
    for (int i = thread; i < rows * PIECE; i += DECODE_THREADS) {
      const int r = i / PIECE, own = i % PIECE;
      if (d + own >= e.D) continue;
      float total = 0.0f;
#pragma unroll
      for (int w = 0; w < WARPS; w++) total += outputs[w][r][own];
      const Row row = row_of(e, b, g, first_row + r);
      const float2 s = statistics[r];
      if (f.splits == 1) {
        write_result(f, b, row, d + own, total, s.x, s.y);
      } else {
        f.partial[(row.number * f.splits + split) * e.D + d + own] = total;
        if (d + own == 0) f.statistics[row.number * f.splits + split] = s;
      }
    }
    __syncthreads();
  }
}

// A block a row: what its splits found, as if their maxima had been the greatest of them.
template <typename Element>
__global__ void __launch_bounds__(DECODE_THREADS) combine_splits(Positions<Element> f) {
  const Extents& e = f.extents;
  const int64_t number = blockIdx.x;
  const float2* const statistics = f.statistics + number * f.splits;
  float top = LOWEST, sum = 0.0f;
  for (int split = threadIdx.x % LANES; split < f.splits; split += LANES) top = fmaxf(top, statistics[split].x);
  top = warp_maximum(top);
  for (int split = threadIdx.x % LANES; split < f.splits; split += LANES)
    sum += statistics[split].y * fast_exp2(statistics[split].x - top);
  sum = warp_sum(sum);
  const Row row = {int(number / e.T % e.H), int(number % e.T), number};
  for (int d = threadIdx.x; d < e.D; d += DECODE_THREADS) {
    float output = 0.0f;
    for (int split = 0; split < f.splits; split++) {
      const float2 s = statistics[split];
      if (s.y != 0.0f) output += fast_exp2(s.x - top) * f.partial[(number * f.splits + split) * e.D + d];
    }
    write_result(f, int(number / e.T / e.H), row, d, output, top, sum);
  }
}

// Bound by memory: each value is read and written once. A block a token.
template <typename Element>
__global__ void __launch_bounds__(THREADS) write_tokens(Heads<Element> cache, Heads<Element> values, const int32_t* positions,
                                                        const int32_t* lengths, int T, int S, int G, int D) {
  const int b = int(blockIdx.x / T), t = int(blockIdx.x % T), position = min(max(positions[b], 0), S);
  const int count = min(lengths ? min(max(lengths[b], 0), T) : T, S - position);
  if (t >= count) return;
  for (int i = threadIdx.x; i < G * D; i += THREADS) {
    const int g = i / D, d = i % D;
    cache.at(b, position + t, g)[d] = values.at(b, t, g)[d];
  }
}

int splits_of(const Call& call) {
  const int64_t splits = divide_up(call.in[1].shape[1], SPLIT);
  return int(splits > 1 ? splits : 1);
}

template <typename Element>
Status launch_positions(const Call& call, Stream stream) {
  const AttentionAttributes& attributes = attributes_of<AttentionAttributes>(call);
  Positions<Element> f;
  f.q = heads_of<Element>(call.in[0]), f.k = heads_of<Element>(call.in[1]), f.v = heads_of<Element>(call.in[2]);
  f.y = heads_of<Element>(call.out[0]);
  f.log_sum_exp = static_cast<float*>(call.out[1].data);
  f.slots = static_cast<const int32_t*>(call.in[7].data);
  f.masks = masks_of(call, call.in + 3, attributes);
  f.dropout = dropout_of(call, attributes);
  f.scale = attributes.scale;
  f.extents = extents_of(call.in[0], call.in[1]);
  const Extents& e = f.extents;
  f.splits = splits_of(call);
  f.row_blocks = int(divide_up(int64_t(e.H / e.G) * e.T, ROWS));
  const int64_t rows = extent_of(call.in[0], 0, 3), blocks = int64_t(e.B) * e.G * f.row_blocks * f.splits;
  f.statistics = static_cast<float2*>(call.context->workspace);
  f.partial = reinterpret_cast<float*>(f.statistics + rows * f.splits);
  const Status status = launch(attend_split<Element>, dim3(unsigned(blocks)), dim3(DECODE_THREADS), 0, stream, f);
  if (status != cudaSuccess || f.splits == 1) return status;
  return launch(combine_splits<Element>, dim3(unsigned(rows)), dim3(DECODE_THREADS), 0, stream, f);
}

template <typename Element>
Status launch_write(const Call& call, Stream stream) {
  const Operand &cache = call.in[0], &values = call.in[1];
  const int64_t B = values.shape[0] < cache.shape[0] ? values.shape[0] : cache.shape[0], T = values.shape[1];
  if (B == 0 || size_of(values) == 0) return cudaSuccess;
  return launch(write_tokens<Element>, dim3(unsigned(B * T)), dim3(THREADS), 0, stream, heads_of<Element>(cache), heads_of<Element>(values),
                static_cast<const int32_t*>(call.in[2].data), static_cast<const int32_t*>(call.in[3].data), int(T),
                int(cache.shape[1]), int(values.shape[2]), int(values.shape[3]));
}

}  // namespace

int64_t attend_positions_workspace(const Call& call) {
  const int64_t rows = extent_of(call.in[0], 0, 3), D = call.in[0].shape[3], splits = splits_of(call);
  return splits == 1 ? 0 : rows * splits * int64_t(sizeof(float2) + D * sizeof(float));
}

Status attend_positions(const Call& call, Stream stream) {
  return call.in[0].dtype == BF16 ? launch_positions<bf16>(call, stream) : launch_positions<float>(call, stream);
}

Status cache_write(const Call& call, Stream stream) {
  const int dtype = call.in[0].dtype;
  if (call.in[1].dtype != dtype || (dtype != F32 && dtype != BF16)) return cudaErrorInvalidValue;
  return dtype == BF16 ? launch_write<bf16>(call, stream) : launch_write<float>(call, stream);
}

}}  // namespace heddle::cuda
