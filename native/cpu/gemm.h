// The parts of a matrix product that live in registers: packing panels, and the tiles that multiply them.
//
// A panel holds `width` lines (rows of a or columns of b) of a matrix, interleaved: element (line, depth) stands at
// depth * width + line. A tile reads one panel of each operand front to back, as in BLIS (Van Zee & van de Geijn 2015).
#pragma once
#include "vector.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

// The tile of ROWS by 2 vectors that fills the registers: accumulators, two vectors of b and one broadcast of a.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int TILE_ROWS = 14;
#else
constexpr int TILE_ROWS = 6;
#endif
constexpr int TILE_COLUMNS = 2 * LANES;
constexpr int PANEL_ROWS = (TILE_ROWS + LANES - 1) / LANES * LANES;  // width of a panel of a

template <int N, int... I> struct Indices : Indices<N - 1, N - 1, I...> {};
template <int... I> struct Indices<0, I...> {};

template <int STEP, int... I>
HEDDLE_INLINE void exchange(Vector& a, Vector& b, Indices<0, I...>) {
  const Vector low = __builtin_shufflevector(a, b, (I & STEP ? LANES + I - STEP : I)...);
  b = __builtin_shufflevector(a, b, (I & STEP ? LANES + I : I + STEP)...);
  a = low;
}

// Transposes a square of LANES vectors by exchanging blocks off the diagonal: halves, quarters, ... single elements.
template <int STEP = LANES / 2>
HEDDLE_INLINE void transpose(Vector (&v)[LANES]) {
#pragma GCC unroll 16
  for (int i = 0; i < LANES; i++)
    if (!(i & STEP)) exchange<STEP>(v[i], v[i + STEP], Indices<LANES>());
  if constexpr (STEP > 1) transpose<STEP / 2>(v);
}

// Packs `lines` lines of `depth` elements, lines beyond them as zeros. One of the strides should be 1.
static void pack(const float* from, int64_t line_stride, int64_t depth_stride, int lines, int64_t depth, float* to, int width) {
  for (int first = 0; first < width; first += LANES, from += LANES * line_stride, to += LANES) {
    const int count = lines - first < 0 ? 0 : lines - first < LANES ? lines - first : LANES;
    if (line_stride == 1 && count == LANES) {
      for (int64_t k = 0; k < depth; k++) store(to + k * width, load(from + k * depth_stride));
    } else if (line_stride == 1 && count > 0) {
      for (int64_t k = 0; k < depth; k++) store(to + k * width, load_first(from + k * depth_stride, count));
    } else if (depth_stride == 1) {
      for (int64_t k = 0; k < depth; k += LANES) {
        const int rest = depth - k < LANES ? int(depth - k) : LANES;
        Vector v[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
          v[i] = i >= count ? Vector{} : rest == LANES ? load(from + i * line_stride + k) : load_first(from + i * line_stride + k, rest);
        transpose(v);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
          if (i < rest) store(to + (k + i) * width, v[i]);
      }
    } else {
      for (int64_t k = 0; k < depth; k++)
        for (int i = 0; i < LANES; i++) to[k * width + i] = i < count ? from[i * line_stride + k * depth_stride] : 0.0f;
    }
  }
}

// One operand of a tile as it lies in memory. Element (line, depth) stands at data[line * line_stride + depth * depth_stride].
struct Lines {
  const float* data;
  int64_t line_stride, depth_stride;
};

// c (+)= a b for ROWS rows and VECTORS * LANES columns, which must all exist; b has a line stride of 1. PACKED: so has a.
template <int ROWS, int VECTORS, bool PACKED>
static void tile(int64_t depth, Lines a, Lines b, float* c, int64_t c_stride, bool add) {
  Vector sum[ROWS][VECTORS];
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
    for (int j = 0; j < VECTORS; j++) sum[i][j] = add ? load(c + i * c_stride + j * LANES) : Vector{};
  const int64_t a_row = PACKED ? 1 : a.line_stride, a_step = PACKED ? PANEL_ROWS : a.depth_stride;
  for (int64_t k = 0; k < depth; k++) {
    Vector row[VECTORS];
#pragma GCC unroll 16
    for (int j = 0; j < VECTORS; j++) row[j] = load(b.data + j * LANES);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      const Vector x = broadcast(a.data[i * a_row]);
#pragma GCC unroll 16
      for (int j = 0; j < VECTORS; j++) sum[i][j] += x * row[j];
    }
    a.data += a_step;
    b.data += b.depth_stride;
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 16
    for (int j = 0; j < VECTORS; j++) store(c + i * c_stride + j * LANES, sum[i][j]);
}

typedef void (*Tile)(int64_t depth, Lines a, Lines b, float* c, int64_t c_stride, bool add);

// tile_of<PACKED, VECTORS>(rows) for rows in 1..TILE_ROWS
template <bool PACKED, int VECTORS, int ROWS = TILE_ROWS>
static Tile tile_of(int rows) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return tile_of<PACKED, VECTORS, ROWS - 1>(rows);
  return tile<ROWS, VECTORS, PACKED>;
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
