// softmax(scale q k^T + masks) v by tiles of keys with an online softmax (Milakov & Gimelshein 2018; Dao et al. 2022).
// In float32, and the tiles of bf16 operands too that attention_tensor.cu does not take. 4 B T S H D flops (half if causal); reads q once and k, v once per 64 queries, mostly from the second cache.
// A block takes 64 queries of one head and walks the tiles of keys that any of them sees; a thread holds 8 x 4 scores
// (D > 96: 4 x 4) and as many rows of outputs, so that products load one float for each 2 to 3 multiply-adds. Keys of the
// next tile and values of this one are copied while the products of the other run.
// Heads wider than 128 are cut into slices of the output, each its own block that computes the scores anew: no state but
// registers grows with D.
#include "attention.h"

namespace heddle { namespace cuda {
namespace {

template <int WIDTH>
struct Tiling {
  static constexpr int QUERIES = 64, KEYS = WIDTH > 96 ? 32 : 64, THREADS = 128;
  static constexpr int RESIDENT = WIDTH > 64 ? 2 : 3;  // blocks that a multiprocessor has room for
  static constexpr int ACROSS = KEYS / 4, DOWN = THREADS / ACROSS;  // threads along keys, along queries
  static constexpr int ROWS = QUERIES / DOWN, COLUMNS = WIDTH / ACROSS;  // of a thread
  static constexpr int STRIDE = WIDTH + PADDING, WEIGHT_STRIDE = KEYS + PADDING;
  static constexpr int SHARED_BYTES = 4 * ((QUERIES + 2 * KEYS) * STRIDE + QUERIES * WEIGHT_STRIDE);
};

// One thread's part of the softmax of a block.
template <int ROWS, int COLUMNS>
struct Online {
  float top[ROWS], sum[ROWS], output[ROWS][COLUMNS];
};

// Turns scores into weights relative to the greatest score so far, and what has been gathered so far with them.
template <int ROWS, int COLUMNS, int ACROSS>
HEDDLE_DEVICE void raise(Online<ROWS, COLUMNS>& state, float (&score)[ROWS][4]) {
#pragma unroll
  for (int m = 0; m < ROWS; m++) {
    float highest = state.top[m];
#pragma unroll
    for (int n = 0; n < 4; n++) highest = fmaxf(highest, score[m][n]);
#pragma unroll
    for (int distance = ACROSS / 2; distance > 0; distance /= 2)
      highest = fmaxf(highest, __shfl_xor_sync(ALL_LANES, highest, distance));
    const float factor = fast_exp2(state.top[m] - highest);
    state.top[m] = highest;
    state.sum[m] *= factor;
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) state.output[m][n] *= factor;
#pragma unroll
    for (int n = 0; n < 4; n++) {
      score[m][n] = fast_exp2(score[m][n] - highest);
      state.sum[m] += score[m][n];
    }
  }
}

template <typename Element, int WIDTH, bool IS_WIDE>
__global__ void __launch_bounds__(Tiling<WIDTH>::THREADS, Tiling<WIDTH>::RESIDENT) attend(Forward<Element> f) {
  typedef Tiling<WIDTH> Tile;
  constexpr int ROWS = Tile::ROWS, ACROSS = Tile::ACROSS, DOWN = Tile::DOWN, COLUMNS = Tile::COLUMNS;
  constexpr int STRIDE = Tile::STRIDE, THREADS = Tile::THREADS, QUERIES = Tile::QUERIES, KEYS = Tile::KEYS;
  SHARED_DYNAMIC(memory);
  float* const query_tile = reinterpret_cast<float*>(memory);
  float* const key_tile = query_tile + QUERIES * STRIDE;
  float* const value_tile = key_tile + KEYS * STRIDE;
  float* const weights = value_tile + KEYS * STRIDE;

  const Extents& e = f.extents;
  int64_t index = blockIdx.x;
  const int slice = IS_WIDE ? int(index % f.slices) : 0;
  if (IS_WIDE) index /= f.slices;
  // The last queries of a causal head see the most keys: they come first.
  const int first = (f.tiles - 1 - int(index % f.tiles)) * QUERIES;
  index /= f.tiles;
  const int h = int(index % e.H), b = int(index / e.H), g = h / (e.H / e.G);
  const int across = threadIdx.x % ACROSS, down = threadIdx.x / ACROSS;
  const Columns<COLUMNS, ACROSS> columns(across);
  const Lengths lengths = f.masks.lengths(b);
  const Span span = span_of<QUERIES>(f.masks, b, first, lengths);
  const float slope = f.masks.slope(h), scale = f.scale * LOG2_E;

  int begin = 0;
  const auto row_of = [&](int j) { return f.slots ? f.slots[int64_t(b) * e.S + j] : b; };
  const auto load_queries = [&](int column) {
    load_tile<QUERIES, ROWS, WIDTH, THREADS>(query_tile, min(QUERIES, lengths.queries - first), e.D - column, f.q.is_aligned,
                                             [&](int r) { return f.q.at(b, first + r, h) + column; });
  };
  const auto load_keys = [&](int from, int column) {
    load_tile<KEYS, 4, WIDTH, THREADS>(key_tile, min(KEYS, lengths.keys - from), e.D - column, f.k.is_aligned,
                                       [&](int r) { return f.k.at(row_of(from + r), from + r, g) + column; });
  };
  const auto load_values = [&] {
    const int column = slice * WIDTH;
    load_tile<KEYS, 4, WIDTH, THREADS>(value_tile, min(KEYS, lengths.keys - begin), e.D - column, f.v.is_aligned,
                                       [&](int r) { return f.v.at(row_of(begin + r), begin + r, g) + column; });
  };

  Online<ROWS, COLUMNS> state;
#pragma unroll
  for (int m = 0; m < ROWS; m++) {
    state.top[m] = LOWEST, state.sum[m] = 0.0f;
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) state.output[m][n] = 0.0f;
  }

  begin = span.first < span.last ? span.first / KEYS * KEYS : 0;
  if (!IS_WIDE && begin < span.last) {
    load_queries(0);
    load_keys(begin, 0);
    commit_copies();
  }
  for (; begin < span.last; begin += KEYS) {
    float score[ROWS][4] = {};
    const auto multiply = [&] {
      add_products<ROWS, 4, WIDTH, DOWN * STRIDE, ACROSS * STRIDE>(score, query_tile + down * STRIDE,
                                                                   key_tile + across * STRIDE);
    };
    if (IS_WIDE) {
      for (int column = 0; column < e.D; column += WIDTH) {
        __syncthreads();  // the part before, and at first the values before, have been read
        load_queries(column);
        load_keys(begin, column);
        if (column == 0) load_values();
        commit_copies();
        wait_for_copies<0>();
        __syncthreads();
        multiply();
      }
    } else {
      wait_for_copies<0>();
      __syncthreads();  // the keys are there; the values before have been read
      load_values();
      commit_copies();
      multiply();
    }

    const bool is_masked = begin < span.whole_low || begin + KEYS > span.whole_high;
    const int key = begin + 4 * across;
#pragma unroll
    for (int m = 0; m < ROWS; m++) {
      const int i = down * ROWS + m;
#pragma unroll
      for (int n = 0; n < 4; n++) score[m][n] *= scale;
      if (slope != 0.0f) {
        const int position = first + i + lengths.keys - lengths.queries;
#pragma unroll
        for (int n = 0; n < 4; n++) score[m][n] -= slope * fabsf(float(position - key - n));
      }
      if (is_masked) {
        const Range range = f.masks.range(b, first + i, lengths);
#pragma unroll
        for (int n = 0; n < 4; n++)
          if (key + n < range.low || key + n >= range.high) score[m][n] = -INFINITY;
      }
    }
    raise<ROWS, COLUMNS, ACROSS>(state, score);
    if (f.dropout.is_active()) {
      const Draws draws(f.dropout);  // here, so that it takes no registers elsewhere
      const int64_t query = (int64_t(b) * e.H + h) * e.T + first + down * ROWS;
      uint32_t keeps = 0;
#pragma unroll 1
      for (int m = 0; m < ROWS; m++) keeps |= draws.keeps(query + m, key / 4) << 4 * m;
#pragma unroll
      for (int m = 0; m < ROWS; m++)
#pragma unroll
        for (int n = 0; n < 4; n++)
          if (!(keeps >> (4 * m + n) & 1)) score[m][n] = 0.0f;
    }
#pragma unroll
    for (int m = 0; m < ROWS; m++)
      store4(weights + (down + m * DOWN) * Tile::WEIGHT_STRIDE + 4 * across,
             make_float4(score[m][0], score[m][1], score[m][2], score[m][3]));

    wait_for_copies<0>();
    __syncthreads();  // values and weights are there; the keys have been read
    if (!IS_WIDE && begin + KEYS < span.last) {
      load_keys(begin + KEYS, 0);
      commit_copies();
    }
    add_weighted<ROWS, COLUMNS, ACROSS, KEYS, WIDTH, DOWN * Tile::WEIGHT_STRIDE>(
        state.output, weights + down * Tile::WEIGHT_STRIDE, value_tile, columns);
  }

#pragma unroll
  for (int m = 0; m < ROWS; m++)
#pragma unroll
    for (int distance = ACROSS / 2; distance > 0; distance /= 2)
      state.sum[m] += __shfl_xor_sync(ALL_LANES, state.sum[m], distance);
#pragma unroll
  for (int m = 0; m < ROWS; m++) {
    const int i = first + down * ROWS + m;
    if (i >= e.T) continue;
    const bool is_empty = state.sum[m] == 0.0f;
    const float factor = is_empty ? 0.0f : f.dropout.factor / state.sum[m];
#pragma unroll
    for (int n = 0; n < COLUMNS; n++) state.output[m][n] *= factor;
    columns.store(f.y.at(b, i, h) + slice * WIDTH, state.output[m], e.D - slice * WIDTH, f.y.is_aligned);
    if (f.log_sum_exp && slice == 0 && across == 0)
      f.log_sum_exp[(int64_t(b) * e.H + h) * e.T + i] = is_empty ? -INFINITY : LN_2 * state.top[m] + logf(state.sum[m]);
  }
}

template <typename Element, int WIDTH, bool IS_WIDE>
Status launch_attend(Forward<Element> f, Stream stream) {
  const Extents& e = f.extents;
  f.tiles = int(divide_up(e.T, Tiling<WIDTH>::QUERIES));
  f.slices = IS_WIDE ? int(divide_up(e.D, WIDTH)) : 1;
  const int64_t blocks = int64_t(e.B) * e.H * f.tiles * f.slices;
  return launch(attend<Element, WIDTH, IS_WIDE>, dim3(unsigned(blocks)), dim3(Tiling<WIDTH>::THREADS),
                Tiling<WIDTH>::SHARED_BYTES, stream, f);
}

template <typename Element>
Forward<Element> forward_of(const Call& call) {
  const AttentionAttributes& attributes = attributes_of<AttentionAttributes>(call);
  Forward<Element> f;
  f.q = heads_of<Element>(call.in[0]), f.k = heads_of<Element>(call.in[1]), f.v = heads_of<Element>(call.in[2]);
  f.y = heads_of<Element>(call.out[0]);
  f.log_sum_exp = static_cast<float*>(call.out[1].data);
  f.slots = static_cast<const int32_t*>(call.in[7].data);
  f.masks = masks_of(call, call.in + 3, attributes);
  f.dropout = dropout_of(call, attributes);
  f.scale = attributes.scale;
  f.extents = extents_of(call.in[0], call.in[1]);
  f.tiles = f.slices = 1;
  return f;
}

}  // namespace

int64_t attention_workspace(const Call& call) {
  return call.in[0].shape[1] <= FEW ? attend_positions_workspace(call) : 0;
}

Status attention(const Call& call, Stream stream) {
  if (!is_valid(call, call.in[7].data != nullptr)) return cudaErrorInvalidValue;
  if (size_of(call.in[0]) == 0) return cudaSuccess;
  if (call.in[0].shape[1] <= FEW) return attend_positions(call, stream);
  const int64_t D = call.in[0].shape[3];
  if (call.in[0].dtype == BF16) {
    const Forward<bf16> f = forward_of<bf16>(call);
    const bool is_aligned = f.q.is_aligned && f.k.is_aligned && f.v.is_aligned && f.y.is_aligned;
    if (is_aligned && D <= WIDEST_TENSOR) return attend_by_tensor_cores(f, stream);
    return D <= 64 ? launch_attend<bf16, 64, false>(f, stream) : launch_attend<bf16, 128, true>(f, stream);
  }
  const Forward<float> f = forward_of<float>(call);
  if (D <= 32) return launch_attend<float, 32, false>(f, stream);
  if (D <= 64) return launch_attend<float, 64, false>(f, stream);
  if (D <= 96) return launch_attend<float, 96, false>(f, stream);
  if (D <= 128) return launch_attend<float, 128, false>(f, stream);
  return launch_attend<float, 128, true>(f, stream);
}

}}  // namespace heddle::cuda
