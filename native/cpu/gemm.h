// The parts of a matrix product that live in registers: packing panels, the tiles that multiply them, and dot products.
//
// A panel holds `width` lines (rows of a or columns of b) of a matrix, interleaved: element (line, depth) stands at
// depth * width + line. A tile reads one panel of each operand front to back, as in BLIS (Van Zee & van de Geijn 2015).
#pragma once
#include "vector.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

// The tile of TILE_ROWS by 2 vectors fills the registers: accumulators, two vectors of b and one broadcast of a.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 14;
#else
constexpr int TILE_ROWS = 6;
#endif
constexpr int TILE_COLUMNS = 2 * LANES;
constexpr int PANEL_ROWS = (TILE_ROWS + LANES - 1) / LANES * LANES;  // width of a panel of a
constexpr int CACHE_LINE = 16;                                       // floats
// Steps of depth between two jumps. A narrow tile has so few multiplications a step that counting it shows, where a
// neighbour shares the core.
constexpr int UNROLLED = LANES == 8 ? 4 : 1;

// One operand: element (line, depth) stands at data[line * line_stride + depth * depth_stride].
template <typename T>
struct LinesOf {
  const T* data;
  int64_t line_stride, depth_stride;
};
typedef LinesOf<float> Lines;

// Memory to fetch ahead: only the bytes of a step of depth count.
template <typename T>
HEDDLE_INLINE Lines ahead_of(LinesOf<T> lines) {
  return {reinterpret_cast<const float*>(lines.data), 0,
          lines.depth_stride * static_cast<int64_t>(sizeof(T)) / static_cast<int64_t>(sizeof(float))};
}

template <int N, int... I> struct Indices : Indices<N - 1, N - 1, I...> {};
template <int... I> struct Indices<0, I...> {};

template <int STEP, int... I>
HEDDLE_INLINE void exchange(Vector& a, Vector& b, Indices<0, I...>) {
  const Vector low = __builtin_shufflevector(a, b, (I & STEP ? LANES + I - STEP : I)...);
  b = __builtin_shufflevector(a, b, (I & STEP ? LANES + I : I + STEP)...);
  a = low;
}

// Transposes a square of LANES vectors by exchanging blocks across the diagonal: halves, quarters, ... single elements.
template <int STEP = LANES / 2>
HEDDLE_INLINE void transpose(Vector (&v)[LANES]) {
#pragma GCC unroll 16
  for (int i = 0; i < LANES; i++)
    if (!(i & STEP)) exchange<STEP>(v[i], v[i + STEP], Indices<LANES>());
  if constexpr (STEP > 1) transpose<STEP / 2>(v);
}

// Packs `lines` lines of `depth` elements as float; lines beyond them read as zeros. Fast where one of the strides is 1.
template <typename T>
static void pack(LinesOf<T> from, int64_t lines, int64_t depth, float* to, int width) {
  for (int first = 0; first < width; first += LANES, from.data += LANES * from.line_stride, to += LANES) {
    const int count = lines - first < 0 ? 0 : lines - first < LANES ? int(lines - first) : LANES;
    if (from.line_stride == 1 && count > 0) {
      for (int64_t k = 0; k < depth; k++) {
        const T* at = from.data + k * from.depth_stride;
        __builtin_prefetch(at + 16 * from.depth_stride);
        store(to + k * width, count == LANES ? load(at) : load_first(at, count));
      }
    } else if (from.depth_stride == 1) {
      for (int64_t k = 0; k < depth; k += LANES) {
        const int rest = depth - k < LANES ? int(depth - k) : LANES;
        Vector v[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
          const T* at = from.data + i * from.line_stride + k;
          __builtin_prefetch(at + 4 * CACHE_LINE);
          v[i] = i >= count ? Vector{} : rest == LANES ? load(at) : load_first(at, rest);
        }
        transpose(v);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
          if (i < rest) store(to + (k + i) * width, v[i]);
      }
    } else {
      for (int64_t k = 0; k < depth; k++)
        for (int i = 0; i < LANES; i++)
          to[k * width + i] = i < count ? widened(from.data[i * from.line_stride + k * from.depth_stride]) : 0.0f;
    }
  }
}

// Where the rows of a tile go in the end.
struct Output {
  const char* data;
  int64_t row_bytes;
};
HEDDLE_INLINE Output output_at(const float* data, int64_t row) { return {reinterpret_cast<const char*>(data), 4 * row}; }

// c (+)= a b for ROWS rows and VECTORS * LANES columns, all of which must exist; b.line_stride is 1. PACKED: a is a panel.
// Meanwhile memory that will be needed soon is brought into L2: at each step of depth one cache line of `ahead` or, where
// b is read only once (not PACKED), as much as a row of the tile.
template <int ROWS, int VECTORS, bool PACKED, typename T = float>
static void tile(int64_t depth, LinesOf<T> a, LinesOf<T> b, float* c, int64_t c_stride, bool add, Lines ahead, Output out) {
  constexpr int AHEAD_LINES = PACKED || VECTORS * LANES < CACHE_LINE ? 1 : VECTORS * LANES / CACHE_LINE;
  Vector sum[ROWS][VECTORS] = {};
  const int64_t a_row = PACKED ? 1 : a.line_stride, a_step = PACKED ? PANEL_ROWS : a.depth_stride;
  const auto step = [&](int64_t k) __attribute__((always_inline)) {
#pragma GCC unroll 16
    for (int j = 0; j < AHEAD_LINES; j++) __builtin_prefetch(ahead.data + k * ahead.depth_stride + j * CACHE_LINE, 0, 2);
    decltype(load(b.data)) row[VECTORS];
#pragma GCC unroll 16
    for (int j = 0; j < VECTORS; j++) row[j] = load(b.data + j * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      const auto x = broadcast(widened(a.data[i * a_row]));
#pragma GCC unroll 16
      for (int j = 0; j < VECTORS; j++) sum[i][j] = multiply_add(sum[i][j], x, row[j]);
    }
    a.data += a_step;
    b.data += b.depth_stride;
  };
  // The first steps also fetch what will be written: asked for before them, its lines would hold up the loads of a and b.
  int64_t k = 0;
  for (; k < (depth < ROWS ? depth : ROWS); k++, out.data += out.row_bytes) {
#pragma GCC unroll 16
    for (int j = 0; j < VECTORS; j++) __builtin_prefetch(out.data + 4 * LANES * j, 1);
    step(k);
  }
#pragma GCC unroll UNROLLED
  for (; k < depth; k++) step(k);
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
    for (int j = 0; j < VECTORS; j++) {
      float* const to = c + i * c_stride + j * LANES;
      store(to, add ? load(to) + sum[i][j] : sum[i][j]);
    }
}

template <typename T>
using Tile = void (*)(int64_t depth, LinesOf<T> a, LinesOf<T> b, float* c, int64_t c_stride, bool add, Lines ahead, Output out);

// The tile for a number of rows from 1 to MOST.
template <typename T, int VECTORS, bool PACKED, int MOST>
static Tile<T> tile_of(int64_t rows) {
  if constexpr (MOST > 1)
    if (rows < MOST) return tile_of<T, VECTORS, PACKED, MOST - 1>(rows);
  return tile<MOST, VECTORS, PACKED, T>;
}

// c = a b for up to ROWS rows and LANES / ROWS columns, as dot products: both depth strides are 1.
template <int ROWS, typename T>
static void dots(int64_t depth, LinesOf<T> a, int64_t rows, LinesOf<T> b, int64_t columns, float* c, int64_t c_stride) {
  constexpr int COLUMNS = LANES / ROWS;
  const T *left[ROWS], *right[COLUMNS];
  for (int i = 0; i < ROWS; i++) left[i] = a.data + (i < rows ? i : 0) * a.line_stride;
  for (int j = 0; j < COLUMNS; j++) right[j] = b.data + (j < columns ? j : 0) * b.line_stride;
  Vector sum[LANES] = {};
  const auto step = [&](int64_t k, auto get) __attribute__((always_inline)) {
    Vector column[COLUMNS];
#pragma GCC unroll 16
    for (int j = 0; j < COLUMNS; j++) column[j] = get(right[j] + k);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      const Vector row = get(left[i] + k);
#pragma GCC unroll 16
      for (int j = 0; j < COLUMNS; j++) sum[i * COLUMNS + j] += row * column[j];
    }
  };
  int64_t k = 0;
  for (; k + LANES <= depth; k += LANES) step(k, [](const T* from) { return load(from); });
  const int rest = int(depth - k);
  if (rest > 0) step(k, [=](const T* from) { return load_first(from, rest); });
  transpose(sum);
#pragma GCC unroll 16
  for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 16
    for (int i = 0; i < half; i++) sum[i] += sum[i + half];
  float total[LANES];
  store(total, sum[0]);
  for (int i = 0; i < rows; i++)
    for (int j = 0; j < columns; j++) c[i * c_stride + j] = total[i * COLUMNS + j];
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
