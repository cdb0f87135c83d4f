// Small matrix products whose operands lie in the nearest caches, and the transpositions that prepare them.
//
// Elements of A are read one at a time and broadcast, so A may lie at any strides, a view or its transpose alike; rows of
// B and C are whole vectors. A block of C stays in registers over the whole depth.
#pragma once
#include "vector.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

// Vectors that a register block is wide: with 6 rows it fills 24 of 32 registers, or 12 of 16.
#if defined(__AVX512F__) || defined(__aarch64__)
constexpr int BLOCK_VECTORS = 4;
#else
constexpr int BLOCK_VECTORS = 2;
#endif
constexpr int BLOCK_ROWS = 6;

struct Strided {
  const float* data;  // element (row, step) at data[row * this->row + step * this->step]
  int64_t row, step;
};

template <int ROWS, int WIDTH>
static void multiply_block(int64_t depth, Strided a, const float* b, int64_t b_row, float* c, int64_t c_row, bool add) {
  Vector sum[ROWS][WIDTH];
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDTH; v++) sum[r][v] = Vector{};
  for (int64_t k = 0; k < depth; k++, a.data += a.step, b += b_row) {
    Vector row[WIDTH];
#pragma GCC unroll 4
    for (int v = 0; v < WIDTH; v++) row[v] = load(b + v * LANES);
#pragma GCC unroll 6
    for (int r = 0; r < ROWS; r++) {
      const Vector x = broadcast(a.data[r * a.row]);
#pragma GCC unroll 4
      for (int v = 0; v < WIDTH; v++) sum[r][v] += x * row[v];
    }
  }
#pragma GCC unroll 6
  for (int r = 0; r < ROWS; r++)
#pragma GCC unroll 4
    for (int v = 0; v < WIDTH; v++) {
      float* to = c + r * c_row + v * LANES;
      store(to, add ? load(to) + sum[r][v] : sum[r][v]);
    }
}

template <int WIDTH>
static void multiply_panel(int64_t rows, int64_t depth, Strided a, const float* b, int64_t b_row, float* c,
                           int64_t c_row, bool add) {
  for (; rows >= BLOCK_ROWS; rows -= BLOCK_ROWS, a.data += BLOCK_ROWS * a.row, c += BLOCK_ROWS * c_row)
    multiply_block<BLOCK_ROWS, WIDTH>(depth, a, b, b_row, c, c_row, add);
  switch (rows) {
    case 1: return multiply_block<1, WIDTH>(depth, a, b, b_row, c, c_row, add);
    case 2: return multiply_block<2, WIDTH>(depth, a, b, b_row, c, c_row, add);
    case 3: return multiply_block<3, WIDTH>(depth, a, b, b_row, c, c_row, add);
    case 4: return multiply_block<4, WIDTH>(depth, a, b, b_row, c, c_row, add);
    case 5: return multiply_block<5, WIDTH>(depth, a, b, b_row, c, c_row, add);
  }
}

// C [rows, vectors * LANES] = A [rows, depth] B [depth, vectors * LANES], added to C if `add`. b_row and c_row are strides.
HEDDLE_INLINE void multiply(int64_t rows, int64_t vectors, int64_t depth, Strided a, const float* b, int64_t b_row, float* c,
                            int64_t c_row, bool add) {
  for (int64_t panels = (vectors + BLOCK_VECTORS - 1) / BLOCK_VECTORS; panels > 0; panels--) {
    const int64_t width = (vectors + panels - 1) / panels;  // as even as can be: 5 vectors are 3 and 2
    switch (width) {
      case 1: multiply_panel<1>(rows, depth, a, b, b_row, c, c_row, add); break;
      case 2: multiply_panel<2>(rows, depth, a, b, b_row, c, c_row, add); break;
#if defined(__AVX512F__) || defined(__aarch64__)
      case 3: multiply_panel<3>(rows, depth, a, b, b_row, c, c_row, add); break;
      case 4: multiply_panel<4>(rows, depth, a, b, b_row, c, c_row, add); break;
#endif
    }
    vectors -= width;
    b += width * LANES;
    c += width * LANES;
  }
}

// The first (or last) halves of a and b, lane by lane in turn.
#if defined(__AVX512F__)
#define HEDDLE_FIRST_HALVES 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HEDDLE_LAST_HALVES 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#elif defined(__AVX__)
#define HEDDLE_FIRST_HALVES 0, 8, 1, 9, 2, 10, 3, 11
#define HEDDLE_LAST_HALVES 4, 12, 5, 13, 6, 14, 7, 15
#else
#define HEDDLE_FIRST_HALVES 0, 4, 1, 5
#define HEDDLE_LAST_HALVES 2, 6, 3, 7
#endif
#if defined(__clang__)
#define HEDDLE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define HEDDLE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, IntVector{__VA_ARGS__})
#endif

// LANES perfect shuffles of a LANES x LANES matrix, log2(LANES) times over, are its transposition.
HEDDLE_INLINE void transpose(Vector (&rows)[LANES]) {
#pragma GCC unroll 4
  for (int stage = 1; stage < LANES; stage *= 2) {
    Vector next[LANES];
#pragma GCC unroll 8
    for (int i = 0; i < LANES / 2; i++) {
      next[2 * i] = HEDDLE_SHUFFLE(rows[i], rows[i + LANES / 2], HEDDLE_FIRST_HALVES);
      next[2 * i + 1] = HEDDLE_SHUFFLE(rows[i], rows[i + LANES / 2], HEDDLE_LAST_HALVES);
    }
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) rows[i] = next[i];
  }
}

// Lane i of the result is the sum of vector i's lanes, in a fixed order. Overwrites the vectors.
HEDDLE_INLINE Vector sums_of(Vector (&rows)[LANES]) {
  transpose(rows);
#pragma GCC unroll 4
  for (int half = LANES / 2; half > 0; half /= 2)
#pragma GCC unroll 8
    for (int i = 0; i < half; i++) rows[i] += rows[i + half];
  return rows[0];
}

template <typename T>
HEDDLE_INLINE Vector load_some(const T* from, int64_t count) {
  return count >= LANES ? load(from) : load_first(from, static_cast<int>(count));
}
template <typename T>
HEDDLE_INLINE void store_some(T* to, Vector v, int64_t count) {
  count >= LANES ? store(to, v) : store_first(to, v, static_cast<int>(count));
}

// The dot product of two rows of `count` numbers, lane by lane.
template <typename T>
HEDDLE_INLINE Vector products_of(const float* a, const T* b, int64_t count) {
  Vector sum = Vector{};
  int64_t i = 0;
  for (; i + LANES <= count; i += LANES) sum += load(a + i) * load(b + i);
  return i < count ? sum + load_some(a + i, count - i) * load_some(b + i, count - i) : sum;
}

// to[c * to_row + r] = factor * from[r * from_row + c] for a block of at most LANES x LANES. Whole vectors are written,
// absent rows as zeros.
template <typename T>
HEDDLE_INLINE void transpose_block(float* to, int64_t to_row, const T* from, int64_t from_row, int64_t rows,
                                   int64_t columns, Vector factor) {
  Vector block[LANES];
  if (rows >= LANES && columns >= LANES) {
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) block[i] = factor * load(from + i * from_row);
    transpose(block);
#pragma GCC unroll 16
    for (int i = 0; i < LANES; i++) store(to + i * to_row, block[i]);
  } else {
    for (int i = 0; i < LANES; i++) block[i] = i < rows ? factor * load_some(from + i * from_row, columns) : Vector{};
    transpose(block);
    for (int i = 0; i < LANES && i < columns; i++) store(to + i * to_row, block[i]);
  }
}

template <typename T>
static inline void transpose_into(float* to, int64_t to_row, const T* from, int64_t from_row, int64_t rows,
                                  int64_t columns, float factor) {
  for (int64_t r = 0; r < rows; r += LANES)
    for (int64_t c = 0; c < columns; c += LANES)
      transpose_block(to + c * to_row + r, to_row, from + r * from_row + c, from_row, rows - r, columns - c,
                      broadcast(factor));
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
