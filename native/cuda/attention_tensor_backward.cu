// Gradients of attention in bf16 on tensor cores, sums in float32, weights recomputed from the log-sum-exp (Dao 2023,
// arXiv:2307.08691, algorithm 2): P = exp(S - L), dV = P^T dY, dP = dY V^T, dS = P (dP - delta), dQ = dS K, dK = dS^T Q.
// 14 B T S H D flops (half if causal) where 10 would do: keys and queries have a launch each, which compute S and dP anew, so
// that every gradient is summed in the registers of one warp in one order. No atomics.
// A block keeps one side's pair of tiles (K, V or Q, dY) in shared memory and walks pairs of the other side's, the next of them
// being copied meanwhile. Rows of the products belong to the side that stays: P and dS (transposed where keys stay) go from the
// registers where they are made into the products that sum gradients.
#include "attention_tensor.h"

namespace heddle { namespace cuda {
namespace {

template <int WIDTH, Side SIDE>
struct Tiling {
  static constexpr int M = WIDTH > 64 ? 1 : 2;  // blocks of 16 staying rows of a warp
  static constexpr int STAYING = 16 * M * TENSOR_WARPS, PASSING = 32;
  static constexpr int RESIDENT = 2;  // blocks that share a multiprocessor, by their registers
  static constexpr int STATISTICS = SIDE == KEYS ? 2 * PASSING : 0;  // bases and deltas of passing queries
  static constexpr int SHARED_BYTES = 2 * (STAYING + 2 * PASSING) * ROW_STEP<WIDTH> * int(sizeof(bf16)) +
                                      2 * STATISTICS * int(sizeof(float));
};

template <int WIDTH, Side SIDE>
__global__ void __launch_bounds__(TENSOR_THREADS, (Tiling<WIDTH, SIDE>::RESIDENT)) differentiate_tiles(Backward<bf16> f) {
  typedef Tiling<WIDTH, SIDE> Tile;
  constexpr int STAYING = Tile::STAYING, PASSING = Tile::PASSING, STEP = ROW_STEP<WIDTH>;
  constexpr int M = Tile::M, N = PASSING / 8, KEY_COUNT = SIDE == KEYS ? STAYING : PASSING;
  SHARED_DYNAMIC(memory);
  // Two tiles of the side that stays; twice two of the other; statistics of either of these.
  bf16* const staying = reinterpret_cast<bf16*>(memory);
  bf16* const passing = staying + 2 * STAYING * STEP;
  float* const statistics = reinterpret_cast<float*>(passing + 4 * PASSING * STEP);

  const Extents& e = f.extents;
  const int heads = e.H / e.G;
  int64_t index = blockIdx.x;
  // Those causal masks leave most to come first: the last queries, the first keys.
  const int tile = int(index % f.tiles), first = (SIDE == QUERIES ? f.tiles - 1 - tile : tile) * STAYING;
  index /= f.tiles;
  const int own_heads = SIDE == QUERIES ? e.H : e.G, b = int(index / own_heads);
  const int first_head = int(index % own_heads) * (SIDE == QUERIES ? 1 : heads), g = first_head / heads;
  const int warp_row = int(threadIdx.x) / LANES * 16 * M;
  const Lengths lengths = f.masks.lengths(b);
  const int offset = lengths.keys - lengths.queries, end = min(first + STAYING, lengths.keys);
  const float scale = f.scale * LOG2_E;

  // The pair that passes: of queries `at` on of a head, or of keys `at` on.
  struct Place {
    int head, at;
    bool is_masked;  // some of its queries do not see all of the keys
  };
  const auto masks_some = [](Span span, int key) { return key < span.whole_low || key + KEY_COUNT > span.whole_high; };
  Span own_span = {};  // of the queries that stay
  int begin, limit;
  if (SIDE == QUERIES) {
    own_span = span_of<STAYING>(f.masks, b, first, lengths);
    begin = own_span.first < own_span.last ? own_span.first / PASSING * PASSING : 0;
    limit = own_span.last;
  } else {
    // Outside of these no query can see the tile.
    begin = f.masks.is_causal ? max(0, first - offset) / PASSING * PASSING : 0;
    limit = f.masks.window > 0 ? min(lengths.queries, end - 1 + f.masks.window - offset) : lengths.queries;
    if (first >= lengths.keys) limit = 0;
  }
  const int last_head = first_head + (SIDE == QUERIES ? 1 : heads);
  // Moves on to a pair of which the block needs something, from `place` on.
  const auto settle = [&](Place& place) {
    for (; place.head < last_head; place.head++, place.at = begin)
      for (; place.at < limit; place.at += PASSING) {
        const Span span = SIDE == QUERIES ? own_span : span_of<PASSING>(f.masks, b, place.at, lengths);
        place.is_masked = masks_some(span, SIDE == QUERIES ? place.at : first);
        if (SIDE == QUERIES || (span.first < end && span.last > first)) return;
      }
  };
  const auto copy_passing = [&](const Place& place, int stage) {
    bf16* const tiles = passing + stage * 2 * PASSING * STEP;
    const int count = min(PASSING, (SIDE == QUERIES ? lengths.keys : lengths.queries) - place.at);
    const int h = SIDE == QUERIES ? g : place.head;
    const Heads<bf16>&one = SIDE == QUERIES ? f.k : f.q, &other = SIDE == QUERIES ? f.v : f.dy;
    copy_rows<PASSING, WIDTH>(tiles, count, e.D, [&](int r) { return one.at(b, place.at + r, h); });
    copy_rows<PASSING, WIDTH>(tiles + PASSING * STEP, count, e.D, [&](int r) { return other.at(b, place.at + r, h); });
    for (int i = threadIdx.x; i < Tile::STATISTICS; i += TENSOR_THREADS) {
      const int r = i % PASSING;
      const float* const from = (i < PASSING ? f.bases : f.deltas) + (int64_t(b) * e.H + place.head) * e.T + place.at;
      copy_async_word(statistics + stage * Tile::STATISTICS + i, r < count ? from + r : from, r < count);
    }
    commit_copies();
  };

  float gradient[SIDE == KEYS ? 2 : 1][M][WIDTH / 8][4] = {};  // of keys and values, or of queries
  // A lane's rows and columns of scores, counted through all fragments.
  const auto row_at = [&](int n) { return warp_row + fragment_row() + n / 2 * 16 + n % 2 * 8; };
  const auto column_at = [&](int n) { return fragment_column() + n / 2 * 8 + n % 2; };
  constexpr int QUERY_COUNT = SIDE == QUERIES ? 2 * M : 2 * N, KEYS_OF_LANE = SIDE == QUERIES ? 2 * N : 2 * M;
  float own_bases[SIDE == QUERIES ? 2 * M : 1], own_deltas[SIDE == QUERIES ? 2 * M : 1];

  // Adds what the pair gives that has arrived.
  const auto meet = [&](const Place& place, int stage) {
    const bf16* const own = staying + warp_row * STEP;
    const bf16* const other = passing + stage * 2 * PASSING * STEP;
    float score[M][N][4] = {}, dweight[M][N][4] = {};
    multiply_rows<M, N, WIDTH>(score, own, other);
    multiply_rows<M, N, WIDTH>(dweight, own + STAYING * STEP, other + PASSING * STEP);

    const int query = SIDE == QUERIES ? first : place.at, key = SIDE == QUERIES ? place.at : first;
    const float slope = f.masks.slope(place.head);
    const float* const bases = statistics + stage * Tile::STATISTICS;
    const auto query_at = [&](int i) { return SIDE == QUERIES ? row_at(i) : column_at(i); };
    const auto key_at = [&](int j) { return SIDE == QUERIES ? column_at(j) : row_at(j); };
    // Element of a lane's query i and key j.
    const auto at = [&](float (&x)[M][N][4], int i, int j) -> float& {
      return SIDE == QUERIES ? x[i / 2][j / 2][i % 2 * 2 + j % 2] : x[j / 2][i / 2][j % 2 * 2 + i % 2];
    };
#pragma unroll
    for (int i = 0; i < QUERY_COUNT; i++) {
      const float base = SIDE == QUERIES ? own_bases[SIDE == QUERIES ? i : 0] : bases[query_at(i)];
#pragma unroll
      for (int j = 0; j < KEYS_OF_LANE; j++) at(score, i, j) = at(score, i, j) * scale - base;
    }
    if (slope != 0.0f) {
#pragma unroll
      for (int i = 0; i < QUERY_COUNT; i++)
#pragma unroll
        for (int j = 0; j < KEYS_OF_LANE; j++)
          at(score, i, j) -= slope * fabsf(float(query + query_at(i) + offset - key - key_at(j)));
    }
    if (place.is_masked) {
#pragma unroll
      for (int i = 0; i < QUERY_COUNT; i++) {
        const Range range = f.masks.range(b, query + query_at(i), lengths);
#pragma unroll
        for (int j = 0; j < KEYS_OF_LANE; j++)
          if (key + key_at(j) < range.low || key + key_at(j) >= range.high) at(score, i, j) = -INFINITY;
      }
    }
#pragma unroll
    for (int i = 0; i < QUERY_COUNT; i++)
#pragma unroll
      for (int j = 0; j < KEYS_OF_LANE; j++) at(score, i, j) = fast_exp2(at(score, i, j));
    // Dropped weights become negative until the last product, which alone leaves them out.
    if (f.dropout.is_active()) {
      const Draws draws(f.dropout);  // here, so that it takes no registers elsewhere
      const int64_t row = (int64_t(b) * e.H + place.head) * e.T + query;
#pragma unroll
      for (int m = 0; m < M; m++) {
        const int down = warp_row + 16 * m;
        const Kept<SIDE, N> kept(draws, SIDE == QUERIES ? row + down : row, SIDE == QUERIES ? key : key + down);
#pragma unroll
        for (int n = 0; n < N; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const bool is_kept = kept.at(n, i);
            score[m][n][i] = is_kept ? score[m][n][i] : -score[m][n][i];
            dweight[m][n][i] = is_kept ? dweight[m][n][i] * f.dropout.factor : 0.0f;
          }
      }
    }
#pragma unroll
    for (int i = 0; i < QUERY_COUNT; i++) {
      const float delta = SIDE == QUERIES ? own_deltas[SIDE == QUERIES ? i : 0] : bases[PASSING + query_at(i)];
#pragma unroll
      for (int j = 0; j < KEYS_OF_LANE; j++) at(dweight, i, j) = fabsf(at(score, i, j)) * (at(dweight, i, j) - delta);
    }
    multiply_weights<M, WIDTH / 8, N, WIDTH>(gradient[0], dweight, other);
    if (SIDE == KEYS) {
      if (f.dropout.is_active()) {
#pragma unroll
        for (int m = 0; m < M; m++)
#pragma unroll
          for (int n = 0; n < N; n++)
#pragma unroll
            for (int i = 0; i < 4; i++) score[m][n][i] = fmaxf(score[m][n][i], 0.0f);
      }
      multiply_weights<M, WIDTH / 8, N, WIDTH>(gradient[SIDE == KEYS], score, other + PASSING * STEP);
    }
  };

  Place place = {first_head, begin, false};
  settle(place);
  if (place.head < last_head) {
    const int count = min(STAYING, (SIDE == QUERIES ? lengths.queries : lengths.keys) - first);
    const int h = SIDE == QUERIES ? first_head : g;
    const Heads<bf16>&one = SIDE == QUERIES ? f.q : f.k, &other = SIDE == QUERIES ? f.dy : f.v;
    copy_rows<STAYING, WIDTH>(staying, count, e.D, [&](int r) { return one.at(b, first + r, h); });
    copy_rows<STAYING, WIDTH>(staying + STAYING * STEP, count, e.D, [&](int r) { return other.at(b, first + r, h); });
    copy_passing(place, 0);
  }
  if (SIDE == QUERIES) {
#pragma unroll
    for (int n = 0; n < 2 * M; n++) {
      const int i = first + row_at(n);
      const int64_t at = (int64_t(b) * e.H + first_head) * e.T + i;
      own_bases[SIDE == QUERIES ? n : 0] = i < lengths.queries ? f.bases[at] : 0.0f;
      own_deltas[SIDE == QUERIES ? n : 0] = i < lengths.queries ? f.deltas[at] : 0.0f;
    }
  }
#pragma unroll 1
  for (int stage = 0; place.head < last_head; stage ^= 1) {
    Place next = place;
    next.at += PASSING;
    settle(next);
    wait_for_copies<0>();
    __syncthreads();  // this pair is there; the one before, whose place the next takes, has been read
    if (next.head < last_head) copy_passing(next, stage ^ 1);
    meet(place, stage);
    place = next;
  }

  const auto write = [&](const Heads<bf16>& to, bf16* tiles, float (&x)[M][WIDTH / 8][4], float factor) {
    if (!to.data) return;
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int n = 0; n < WIDTH / 8; n++)
#pragma unroll
        for (int i = 0; i < 4; i++) x[m][n][i] *= factor;
    write_rows<M, WIDTH>(tiles + warp_row * STEP, x, (SIDE == QUERIES ? e.T : e.S) - first - warp_row, e.D,
                         [&](int r) { return to.at(b, first + warp_row + r, SIDE == QUERIES ? first_head : g); });
  };
  write(SIDE == QUERIES ? f.dq : f.dk, staying, gradient[0], f.scale);
  if (SIDE == KEYS) write(f.dv, staying + STAYING * STEP, gradient[SIDE == KEYS], f.dropout.factor);
}

template <int WIDTH, Side SIDE>
Status launch_side(Backward<bf16> f, Stream stream) {
  typedef Tiling<WIDTH, SIDE> Tile;
  const Extents& e = f.extents;
  f.tiles = int(divide_up(SIDE == QUERIES ? e.T : e.S, Tile::STAYING));
  const int64_t blocks = int64_t(e.B) * (SIDE == QUERIES ? e.H : e.G) * f.tiles;
  if (blocks == 0) return cudaSuccess;
  return launch(differentiate_tiles<WIDTH, SIDE>, dim3(unsigned(blocks)), dim3(TENSOR_THREADS), Tile::SHARED_BYTES, stream,
                f);
}

template <int WIDTH>
Status launch_both(const Backward<bf16>& f, Stream stream) {
  Status status = cudaSuccess;
  if (f.dk.data || f.dv.data) status = launch_side<WIDTH, KEYS>(f, stream);
  if (status == cudaSuccess && f.dq.data) status = launch_side<WIDTH, QUERIES>(f, stream);
  return status;
}

}  // namespace

Status differentiate_by_tensor_cores(const Backward<bf16>& f, Stream stream) {
  const int D = f.extents.D;
  if (D <= 32) return launch_both<32>(f, stream);
  if (D <= 64) return launch_both<64>(f, stream);
  if (D <= 96) return launch_both<96>(f, stream);
  return launch_both<128>(f, stream);
}

}}  // namespace heddle::cuda
