// Gradients of attention from its log-sum-exp, weights recomputed (Dao 2023, arXiv:2307.08691, algorithm 2), in
// float32, and for the bf16 operands too that attention_tensor_backward.cu does not take.
// 14 B T S H D flops (half if causal) where five products would do with 10: keys and queries have a launch each, which
// compute scores and gradients of weights anew, so that every gradient is summed by one thread in one order. No atomics.
// In either, a block keeps one side's tile (dK, dV: 64 keys; dQ: 64 queries; 32 of them where D > 96) and walks the tiles of
// 32 of the other; a thread holds 4 x 4 scores and four rows of the gradients. Heads wider than 128 are cut into
// slices of the gradients, each its own block.
// Before them eight lanes a query compute the sum of dy * y, which every score's gradient needs.
#include "attention.h"

namespace heddle { namespace cuda {
namespace {

constexpr int TEAM = 8;  // lanes that compute the statistics of a query

template <typename Element>
__global__ void __launch_bounds__(THREADS) compute_statistics(Backward<Element> f) {
  constexpr int VECTOR = 16 / sizeof(Element), TEAMS = LANES / TEAM;
  const Extents& e = f.extents;
  const int lane = threadIdx.x % LANES;
  const int64_t rows = int64_t(e.B) * e.T * e.H, step = int64_t(gridDim.x) * (THREADS / TEAM);
  for (int64_t first = (int64_t(blockIdx.x) * (THREADS / LANES) + threadIdx.x / LANES) * TEAMS; first < rows; first += step) {
    const int64_t row = min(first + lane / TEAM, rows - 1);
    const int h = int(row % e.H);
    const int64_t i = row / e.H % e.T, b = row / e.H / e.T, at = (b * e.H + h) * e.T + i;
    const Element *const y = f.y.at(b, i, h), *const dy = f.dy.at(b, i, h);
    float sum = 0.0f;
    for (int column = lane % TEAM * VECTOR; column < e.D; column += TEAM * VECTOR) {
      float a[VECTOR], c[VECTOR];
      load_vector(a, y, column, e.D, f.y.is_aligned);
      load_vector(c, dy, column, e.D, f.dy.is_aligned);
#pragma unroll
      for (int n = 0; n < VECTOR; n++) sum += a[n] * c[n];
    }
#pragma unroll
    for (int distance = TEAM / 2; distance > 0; distance /= 2) sum += __shfl_xor_sync(ALL_LANES, sum, distance);
    if (lane % TEAM == 0 && first + lane / TEAM < rows) {
      const float base = f.log_sum_exp[at];
      f.bases[at] = base == -INFINITY ? 0.0f : base * LOG2_E;  // where all keys are masked
      f.deltas[at] = sum;
    }
  }
}

template <int WIDTH>
struct Tiling {
  static constexpr int STAYING = WIDTH > 96 ? 32 : 64, PASSING = 32;
  static constexpr int ACROSS = PASSING / 4, DOWN = STAYING / 4, THREADS = ACROSS * DOWN;
  static constexpr int COLUMNS = WIDTH / ACROSS;  // of a thread
  static constexpr int STRIDE = WIDTH + PADDING, WEIGHT_STRIDE = PASSING + PADDING;
  static constexpr int SHARED_BYTES = 4 * (2 * (STAYING + PASSING) * STRIDE + STAYING * WEIGHT_STRIDE);
};

// Blocks that share a multiprocessor: as many as registers allow without spilling.
template <typename Element, int WIDTH, bool IS_WIDE, Side SIDE>
__global__ void __launch_bounds__(Tiling<WIDTH>::THREADS, SIDE == KEYS && WIDTH > 32 ? 2 : 3)
differentiate(Backward<Element> f) {
  typedef Tiling<WIDTH> Tile;
  constexpr int STAYING = Tile::STAYING, PASSING = Tile::PASSING, STRIDE = Tile::STRIDE, THREADS = Tile::THREADS;
  constexpr int ACROSS = Tile::ACROSS, DOWN = Tile::DOWN, COLUMNS = Tile::COLUMNS;
  constexpr int QUERY_COUNT = SIDE == QUERIES ? STAYING : PASSING, KEY_COUNT = SIDE == KEYS ? STAYING : PASSING;
  SHARED_DYNAMIC(memory);
  SHARED_ARRAY(float, bases, [QUERY_COUNT]);
  SHARED_ARRAY(float, deltas, [QUERY_COUNT]);
  // The product of the first pair of tiles gives scores, that of the second, values and dy, gradients of weights.
  float* const staying[2] = {reinterpret_cast<float*>(memory), reinterpret_cast<float*>(memory) + STAYING * STRIDE};
  float* const passing[2] = {staying[1] + STAYING * STRIDE, staying[1] + (STAYING + PASSING) * STRIDE};
  float* const weights = passing[1] + PASSING * STRIDE;

  const Extents& e = f.extents;
  const int heads = e.H / e.G;
  int64_t index = blockIdx.x;
  const int slice = IS_WIDE ? int(index % f.slices) : 0;
  if (IS_WIDE) index /= f.slices;
  // Those causal masks leave most to come first: the last queries, the first keys.
  const int tile = int(index % f.tiles), first = (SIDE == QUERIES ? f.tiles - 1 - tile : tile) * STAYING;
  index /= f.tiles;
  const int own_heads = SIDE == QUERIES ? e.H : e.G, b = int(index / own_heads);
  int h = int(index % own_heads) * (SIDE == QUERIES ? 1 : heads);
  const int g = h / heads;
  const int across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS;
  const Columns<COLUMNS, ACROSS> columns(across);
  const Lengths lengths = f.masks.lengths(b);
  const float scale = f.scale * LOG2_E;

  float gradient[SIDE == KEYS ? 2 : 1][4][COLUMNS] = {};  // of keys and values, or of queries

  Span span;
  const auto read_queries = [&](int query) {
    span = span_of<QUERY_COUNT>(f.masks, b, query, lengths);
    for (int i = threadIdx.x; i < QUERY_COUNT; i += THREADS) {
      const bool is_there = query + i < lengths.queries;
      const int64_t at = (int64_t(b) * e.H + h) * e.T + query + i;
      bases[i] = is_there ? f.bases[at] : 0.0f;
      deltas[i] = is_there ? f.deltas[at] : 0.0f;
    }
  };
  const auto load_queries = [&](float* const (&tiles)[2], int query, int column) {
    constexpr int EACH = 4;
    const int count = min(QUERY_COUNT, lengths.queries - query);
    load_tile<QUERY_COUNT, EACH, WIDTH, THREADS>(tiles[0], count, e.D - column, f.q.is_aligned,
                                                 [&](int r) { return f.q.at(b, query + r, h) + column; });
    load_tile<QUERY_COUNT, EACH, WIDTH, THREADS>(tiles[1], count, e.D - column, f.dy.is_aligned,
                                                 [&](int r) { return f.dy.at(b, query + r, h) + column; });
  };
  const auto load_keys = [&](float* const (&tiles)[2], int key, int column) {
    constexpr int EACH = 4;
    const int count = min(KEY_COUNT, lengths.keys - key);
    load_tile<KEY_COUNT, EACH, WIDTH, THREADS>(tiles[0], count, e.D - column, f.k.is_aligned,
                                               [&](int r) { return f.k.at(b, key + r, g) + column; });
    load_tile<KEY_COUNT, EACH, WIDTH, THREADS>(tiles[1], count, e.D - column, f.v.is_aligned,
                                               [&](int r) { return f.v.at(b, key + r, g) + column; });
  };
  const auto store_weights = [&](const float (&x)[4][4]) {
#pragma unroll
    for (int m = 0; m < 4; m++)
      store4(weights + (down + m * DOWN) * Tile::WEIGHT_STRIDE + 4 * across,
             make_float4(x[m][0], x[m][1], x[m][2], x[m][3]));
  };
  const auto gather = [&](float (&sum)[4][COLUMNS], const float* from) {
    add_weighted<4, COLUMNS, ACROSS, PASSING, WIDTH, DOWN * Tile::WEIGHT_STRIDE>(
        sum, weights + down * Tile::WEIGHT_STRIDE, from, columns);
  };

  // Adds what queries from `query` on and keys from `key` on give. Whoever read shared memory before has done so.
  const auto meet = [&](int query, int key) {
    float score[4][4] = {}, dweight[4][4] = {};
    const auto multiply = [&] {
      const int row = down * STRIDE, other = across * STRIDE;
      add_products<4, 4, WIDTH, DOWN * STRIDE, ACROSS * STRIDE>(score, staying[0] + row, passing[0] + other);
      add_products<4, 4, WIDTH, DOWN * STRIDE, ACROSS * STRIDE>(dweight, staying[1] + row, passing[1] + other);
    };
    for (int n = 1; n <= f.slices; n++) {
      const int column = (slice + n) % f.slices * WIDTH;  // the own slice comes last, and is there for the gradients
      if (IS_WIDE && n > 1) __syncthreads();
      if (IS_WIDE || SIDE == KEYS) load_queries(SIDE == KEYS ? passing : staying, query, column);
      if (IS_WIDE || SIDE == QUERIES) load_keys(SIDE == KEYS ? staying : passing, key, column);
      commit_copies();
      wait_for_copies<0>();
      __syncthreads();
      multiply();
    }

    const bool is_masked = key < span.whole_low || key + KEY_COUNT > span.whole_high;
    const float slope = f.masks.slope(h);
    const int own_query = 4 * (SIDE == QUERIES ? down : across), own_key = key + 4 * (SIDE == KEYS ? down : across);
    uint32_t keeps = ~0u;
    if (f.dropout.is_active()) {
      const Draws draws(f.dropout);  // here, so that it takes no registers elsewhere
      const int64_t row = (int64_t(b) * e.H + h) * e.T + query + own_query;
      keeps = 0;
#pragma unroll 1
      for (int i = 0; i < 4; i++) keeps |= draws.keeps(row + i, own_key / 4) << 4 * i;
    }
#pragma unroll
    for (int i = 0; i < 4; i++) {
      const float base = bases[own_query + i], delta = deltas[own_query + i];
      const Range range = is_masked ? f.masks.range(b, query + own_query + i, lengths) : Range{0, INT_MAX};
      const int position = query + own_query + i + lengths.keys - lengths.queries;
#pragma unroll
      for (int j = 0; j < 4; j++) {
        float& s = SIDE == QUERIES ? score[i][j] : score[j][i];
        float& ds = SIDE == QUERIES ? dweight[i][j] : dweight[j][i];
        const float distance = slope == 0.0f ? 0.0f : slope * fabsf(float(position - own_key - j));
        const bool is_seen = own_key + j >= range.low && own_key + j < range.high;
        const float factor = keeps >> (4 * i + j) & 1 ? f.dropout.factor : 0.0f;
        const float weight = is_seen ? fast_exp2(s * scale - distance - base) : 0.0f;
        s = weight * factor;
        ds = is_seen ? weight * (ds * factor - delta) * f.scale : 0.0f;
      }
    }
    // Weights are shared by the threads of one row of the tile, which are of one warp.
    if (SIDE == KEYS && f.dv.data) {
      store_weights(score);
      __syncwarp();
      gather(gradient[SIDE == KEYS], passing[1]);
      __syncwarp();
    }
    if (SIDE == QUERIES || f.dk.data) {
      store_weights(dweight);
      __syncwarp();
      gather(gradient[0], passing[0]);
    }
    __syncthreads();
  };

  if (SIDE == QUERIES) {
    read_queries(first);
    if (!IS_WIDE && span.first < span.last) load_queries(staying, first, 0);
    const int begin = span.first < span.last ? span.first / PASSING * PASSING : 0;
    for (int key = begin; key < span.last; key += PASSING) meet(first, key);
  } else if (first < lengths.keys) {
    if (!IS_WIDE) load_keys(staying, first, 0);
    // Outside of these no query can see the tile.
    const int offset = lengths.keys - lengths.queries, end = min(first + STAYING, lengths.keys);
    const int begin = f.masks.is_causal ? max(0, first - offset) / PASSING * PASSING : 0;
    const int limit = f.masks.window > 0 ? min(lengths.queries, end - 1 + f.masks.window - offset) : lengths.queries;
    for (const int last_head = h + heads; h < last_head; h++)
      for (int query = begin; query < limit; query += PASSING) {
        read_queries(query);
        if (span.first < end && span.last > first) meet(query, first);
        else __syncthreads();  // the statistics have been written before they are again
      }
    commit_copies();
    wait_for_copies<0>();
  }

#pragma unroll
  for (int m = 0; m < 4; m++) {
    const int i = first + down * 4 + m, left = e.D - slice * WIDTH;
    if (i >= (SIDE == QUERIES ? e.T : e.S)) continue;
    const auto write = [&](const Heads<Element>& to, const float (&from)[COLUMNS]) {
      if (to.data) columns.store(to.at(b, i, SIDE == QUERIES ? h : g) + slice * WIDTH, from, left, to.is_aligned);
    };
    write(SIDE == QUERIES ? f.dq : f.dk, gradient[0][m]);
    if (SIDE == KEYS) write(f.dv, gradient[SIDE == KEYS][m]);
  }
}

template <typename Element, int WIDTH, bool IS_WIDE, Side SIDE>
Status launch_side(Backward<Element> f, Stream stream) {
  typedef Tiling<WIDTH> Tile;
  const Extents& e = f.extents;
  f.tiles = int(divide_up(SIDE == QUERIES ? e.T : e.S, Tile::STAYING));
  f.slices = IS_WIDE ? int(divide_up(e.D, WIDTH)) : 1;
  const int64_t blocks = int64_t(e.B) * (SIDE == QUERIES ? e.H : e.G) * f.tiles * f.slices;
  if (blocks == 0) return cudaSuccess;
  return launch(differentiate<Element, WIDTH, IS_WIDE, SIDE>, dim3(unsigned(blocks)), dim3(Tile::THREADS),
                Tile::SHARED_BYTES, stream, f);
}

template <int WIDTH, bool IS_WIDE, typename Element>
Status launch_both(const Backward<Element>& f, Stream stream) {
  Status status = cudaSuccess;
  if (f.dk.data || f.dv.data) status = launch_side<Element, WIDTH, IS_WIDE, KEYS>(f, stream);
  if (status == cudaSuccess && f.dq.data) status = launch_side<Element, WIDTH, IS_WIDE, QUERIES>(f, stream);
  return status;
}

Status launch_width(const Backward<float>& f, Stream stream) {
  const int D = f.extents.D;
  if (D <= 32) return launch_both<32, false>(f, stream);
  if (D <= 64) return launch_both<64, false>(f, stream);
  if (D <= 96) return launch_both<96, false>(f, stream);
  if (D <= 128) return launch_both<128, false>(f, stream);
  return launch_both<128, true>(f, stream);
}
Status launch_width(const Backward<bf16>& f, Stream stream) {
  const bool is_aligned = f.q.is_aligned && f.k.is_aligned && f.v.is_aligned && f.dy.is_aligned && f.dq.is_aligned &&
                          f.dk.is_aligned && f.dv.is_aligned;
  if (is_aligned && f.extents.D <= WIDEST_TENSOR) return differentiate_by_tensor_cores(f, stream);
  return f.extents.D <= 64 ? launch_both<64, false>(f, stream) : launch_both<128, true>(f, stream);
}

template <typename Element>
Status launch_all(const Call& call, Stream stream) {
  const AttentionBackwardAttributes& attributes = attributes_of<AttentionBackwardAttributes>(call);
  Backward<Element> f;
  f.q = heads_of<Element>(call.in[0]), f.k = heads_of<Element>(call.in[1]), f.v = heads_of<Element>(call.in[2]);
  f.y = heads_of<Element>(call.in[3]), f.dy = heads_of<Element>(call.in[5]);
  f.dq = heads_of<Element>(call.out[0]), f.dk = heads_of<Element>(call.out[1]), f.dv = heads_of<Element>(call.out[2]);
  f.log_sum_exp = static_cast<const float*>(call.in[4].data);
  const int64_t rows = extent_of(call.in[0], 0, 3);
  f.bases = static_cast<float*>(call.context->workspace), f.deltas = f.bases + rows;
  f.masks = masks_of(call, call.in + 6, attributes);
  f.dropout = dropout_of(call, attributes);
  f.scale = attributes.scale;
  f.extents = extents_of(call.in[0], call.in[1]);
  f.tiles = f.slices = 1;
  if (rows > 0) {
    const Status status = launch(compute_statistics<Element>, blocks_for(rows * TEAM), dim3(THREADS), 0, stream, f);
    if (status != cudaSuccess) return status;
  }
  return launch_width(f, stream);
}

}  // namespace

int64_t attention_backward_workspace(const Call& call) {
  return 2 * extent_of(call.in[0], 0, 3) * int64_t(sizeof(float));
}

Status attention_backward(const Call& call, Stream stream) {
  if (!is_valid(call, false)) return cudaErrorInvalidValue;
  if (call.in[0].shape[3] == 0 || call.in[0].shape[0] == 0) return cudaSuccess;
  return call.in[0].dtype == BF16 ? launch_all<bf16>(call, stream) : launch_all<float>(call, stream);
}

}}  // namespace heddle::cuda
