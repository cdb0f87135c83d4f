// softmax(scale q k^T + masks) v in bf16 on tensor cores, softmax and sums in float32 (Dao 2023, arXiv:2307.08691, algorithm 1).
// 4 B T S H D flops (half if causal); reads q once and k, v once per tile of queries, mostly from the second cache.
// A block takes 128 queries of one head (64 where D > 96), a warp 32 of them, so that two products share each fragment of
// keys and values: shared memory would else be slower than the tensor cores. Scores become weights in the registers where the
// first product left them, which is where the second takes them from. Keys of the next tile are copied during softmax and
// second product, values of this one during the first.
#include "attention_tensor.h"

namespace heddle { namespace cuda {
namespace {

template <int WIDTH>
struct Tiling {
  static constexpr int M = WIDTH > 96 ? 1 : 2;  // blocks of 16 queries of a warp
  static constexpr int QUERIES = 16 * M * TENSOR_WARPS, KEYS = 64;
  static constexpr int RESIDENT = 2;  // blocks that share a multiprocessor, by their registers
  static constexpr int SHARED_BYTES = (QUERIES + 2 * KEYS) * ROW_STEP<WIDTH> * int(sizeof(bf16));
};

// The softmax of a lane's rows, two for each of the warp's M blocks: greatest score so far in units of ln 2, and the lane's
// share of the sum of weights relative to it.
template <int M, int WIDTH>
struct Online {
  float top[M][2], sum[M][2], output[M][WIDTH / 8][4];
};

// Turns scores, which `factor` brings to units of ln 2, into weights relative to the greatest score so far, and what has been
// gathered so far with them (Dao 2023, section 3.1.1).
template <int M, int N, int WIDTH>
HEDDLE_DEVICE void raise(Online<M, WIDTH>& state, float (&score)[M][N][4], float factor) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float highest = -INFINITY;
#pragma unroll
      for (int n = 0; n < N; n++) highest = fmaxf(highest, fmaxf(score[m][n][2 * half], score[m][n][2 * half + 1]));
      highest = fmaxf(highest, __shfl_xor_sync(ALL_LANES, highest, 1));
      highest = fmaxf(highest, __shfl_xor_sync(ALL_LANES, highest, 2));
      const float top = fmaxf(state.top[m][half], highest * factor), shrink = fast_exp2(state.top[m][half] - top);
      state.top[m][half] = top;
      state.sum[m][half] *= shrink;
#pragma unroll
      for (int n = 0; n < WIDTH / 8; n++) state.output[m][n][2 * half] *= shrink, state.output[m][n][2 * half + 1] *= shrink;
#pragma unroll
      for (int n = 0; n < N; n++)
#pragma unroll
        for (int i = 2 * half; i < 2 * half + 2; i++) {
          score[m][n][i] = fast_exp2(score[m][n][i] * factor - top);
          state.sum[m][half] += score[m][n][i];
        }
    }
}

template <int WIDTH>
__global__ void __launch_bounds__(TENSOR_THREADS, Tiling<WIDTH>::RESIDENT) attend_tiles(Forward<bf16> f) {
  typedef Tiling<WIDTH> Tile;
  constexpr int M = Tile::M, N = Tile::KEYS / 8, QUERIES = Tile::QUERIES, KEYS = Tile::KEYS, STEP = ROW_STEP<WIDTH>;
  SHARED_DYNAMIC(memory);
  bf16* const query_tile = reinterpret_cast<bf16*>(memory);
  bf16* const key_tile = query_tile + QUERIES * STEP;
  bf16* const value_tile = key_tile + KEYS * STEP;

  const Extents& e = f.extents;
  int64_t index = blockIdx.x;
  // The last queries of a causal head see the most keys: they come first.
  const int first = (f.tiles - 1 - int(index % f.tiles)) * QUERIES;
  index /= f.tiles;
  const int h = int(index % e.H), b = int(index / e.H), g = h / (e.H / e.G);
  const int warp_row = int(threadIdx.x) / LANES * 16 * M;
  bf16* const own_queries = query_tile + warp_row * STEP;
  const Lengths lengths = f.masks.lengths(b);
  const Span span = span_of<QUERIES>(f.masks, b, first, lengths);
  const float slope = f.masks.slope(h), scale = f.scale * LOG2_E;
  // The greatest score is that of the greatest product only where nothing is added and the sign stays.
  const bool is_scaled_late = slope == 0.0f && scale > 0.0f;

  const auto copy_keys = [&](bf16* tile, const Heads<bf16>& x, int from) {
    copy_rows<KEYS, WIDTH>(tile, min(KEYS, lengths.keys - from), e.D, [&](int r) {
      return x.at(f.slots ? f.slots[int64_t(b) * e.S + from + r] : b, from + r, g);
    });
  };

  Online<M, WIDTH> state = {};
#pragma unroll
  for (int m = 0; m < M; m++) state.top[m][0] = state.top[m][1] = LOWEST;

  int begin = span.first < span.last ? span.first / KEYS * KEYS : 0;
  if (begin < span.last) {
    copy_rows<QUERIES, WIDTH>(query_tile, min(QUERIES, lengths.queries - first), e.D,
                              [&](int r) { return f.q.at(b, first + r, h); });
    copy_keys(key_tile, f.k, begin);
    commit_copies();
  }
#pragma unroll 1
  for (; begin < span.last; begin += KEYS) {
    wait_for_copies<0>();
    __syncthreads();  // the keys are there; the values before have been read
    copy_keys(value_tile, f.v, begin);
    commit_copies();
    float score[M][N][4] = {};
    multiply_rows<M, N, WIDTH>(score, own_queries, key_tile);

    const int query = first + warp_row + fragment_row(), key = begin + fragment_column();
    if (!is_scaled_late) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int i = 0; i < 4; i++) {
          const int distance = query + 16 * m + 8 * (i / 2) + lengths.keys - lengths.queries - key - i % 2;
#pragma unroll
          for (int n = 0; n < N; n++)
            score[m][n][i] = score[m][n][i] * scale - slope * fabsf(float(distance - 8 * n));
        }
    }
    if (begin < span.whole_low || begin + KEYS > span.whole_high) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int half = 0; half < 2; half++) {
          const Range range = f.masks.range(b, query + 16 * m + 8 * half, lengths);
#pragma unroll
          for (int n = 0; n < N; n++)
#pragma unroll
            for (int i = 0; i < 2; i++) {
              const int j = key + 8 * n + i;
              if (j < range.low || j >= range.high) score[m][n][2 * half + i] = -INFINITY;
            }
        }
    }

    wait_for_copies<0>();
    __syncthreads();  // the values are there; the keys have been read
    if (begin + KEYS < span.last) {
      copy_keys(key_tile, f.k, begin + KEYS);
      commit_copies();
    }
    raise<M, N, WIDTH>(state, score, is_scaled_late ? scale : 1.0f);
    if (f.dropout.is_active()) {
      const Draws draws(f.dropout);  // here, so that it takes no registers elsewhere
#pragma unroll
      for (int m = 0; m < M; m++) {
        const int64_t row = (int64_t(b) * e.H + h) * e.T + first + warp_row + 16 * m;
        const Kept<heddle::cuda::QUERIES, N> kept(draws, row, begin);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
          for (int i = 0; i < 4; i++)
            if (!kept.at(n, i)) score[m][n][i] = 0.0f;
      }
    }
    multiply_weights<M, WIDTH / 8, N, WIDTH>(state.output, score, value_tile);
  }

#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int half = 0; half < 2; half++) {
      float sum = state.sum[m][half];
      sum += __shfl_xor_sync(ALL_LANES, sum, 1);
      sum += __shfl_xor_sync(ALL_LANES, sum, 2);
      const bool is_empty = sum == 0.0f;
      const float factor = is_empty ? 0.0f : f.dropout.factor / sum;
#pragma unroll
      for (int n = 0; n < WIDTH / 8; n++) state.output[m][n][2 * half] *= factor, state.output[m][n][2 * half + 1] *= factor;
      const int i = first + warp_row + 16 * m + fragment_row() + 8 * half;
      if (f.log_sum_exp && fragment_column() == 0 && i < e.T)
        f.log_sum_exp[(int64_t(b) * e.H + h) * e.T + i] = is_empty ? -INFINITY : LN_2 * state.top[m][half] + logf(sum);
    }
  write_rows<M, WIDTH>(own_queries, state.output, e.T - first - warp_row, e.D,
                       [&](int r) { return f.y.at(b, first + warp_row + r, h); });
}

template <int WIDTH>
Status launch_width(Forward<bf16> f, Stream stream) {
  typedef Tiling<WIDTH> Tile;
  f.tiles = int(divide_up(f.extents.T, Tile::QUERIES));
  const int64_t blocks = int64_t(f.extents.B) * f.extents.H * f.tiles;
  return launch(attend_tiles<WIDTH>, dim3(unsigned(blocks)), dim3(TENSOR_THREADS), Tile::SHARED_BYTES, stream, f);
}

}  // namespace

Status attend_by_tensor_cores(const Forward<bf16>& f, Stream stream) {
  const int D = f.extents.D;
  if (D <= 32) return launch_width<32>(f, stream);
  if (D <= 64) return launch_width<64>(f, stream);
  if (D <= 96) return launch_width<96>(f, stream);
  return launch_width<128>(f, stream);
}

}}  // namespace heddle::cuda
