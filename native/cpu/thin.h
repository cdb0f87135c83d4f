// Products of few rows, as in decoding: nothing is used often enough to be packed, so b is read once, as fast as memory goes.
#pragma once
#include "product.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr int THIN_ROWS = TILE_ROWS < 8 ? TILE_ROWS : 8;
constexpr int64_t THIN_BYTES = 256 << 10;    // of b, a task at least
constexpr int64_t THIN_COLUMNS = 64;         // tasks begin at multiples of it
constexpr int64_t MOST_THIN_COLUMNS = 8192;  // of a task
constexpr int64_t THIN_DEPTH = 64;           // rows of b that are open at a time: as many pages fit the first TLB
static_assert(4 * THIN_ROWS * MOST_THIN_COLUMNS <= SCRATCH_BYTES, "the sums of a task must fit a worker's scratch");

// z (+)= a b for THIN_DEPTH rows of b, which are contiguous: strips as wide as the accumulators allow. While one is multiplied the
// next is fetched, and during the last what is `next` to be multiplied.
template <typename T, int ROWS, int VECTORS = (2 * TILE_ROWS / ROWS >= 8 ? 8 : 2 * TILE_ROWS / ROWS)>
static void strips(int64_t depth, LinesOf<T> a, LinesOf<T> b, int64_t columns, float* z, int64_t z_stride, bool add,
                   const T* next) {
  constexpr int WIDTH = VECTORS * LANES;
  for (; columns >= WIDTH; columns -= WIDTH, b.data += WIDTH, z += WIDTH) {
    const T* const ahead = columns > WIDTH ? b.data + WIDTH : next;
    tile<ROWS, VECTORS, false>(depth, a, b, z, z_stride, add, ahead_of(LinesOf<T>{ahead, 0, b.depth_stride}), output_at(z, z_stride));
  }
  if constexpr (VECTORS > 1) {
    strips<T, ROWS, VECTORS / 2>(depth, a, b, columns, z, z_stride, add, next);
  } else if (columns > 0) {
    float panel[THIN_DEPTH * LANES], rows[THIN_DEPTH * PANEL_ROWS];
    pack(b, columns, depth, panel, LANES);
    pack(a, ROWS, depth, rows, PANEL_ROWS);
    const Lines left = {rows, 1, PANEL_ROWS}, right = {panel, 1, LANES};
    tile<ROWS, 1, false>(depth, left, right, z, z_stride, add, {panel, 0, LANES}, output_at(z, z_stride));
  }
}

template <typename T, int ROWS = THIN_ROWS>
static decltype(&strips<T, 1>) strips_of(int64_t rows) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return strips_of<T, ROWS - 1>(rows);
  return strips<T, ROWS>;
}

// Columns [begin, end) where they are contiguous, as a's rows are: dot products.
template <int ROWS = 1, typename T>
static void dots_of(const Product<T>& p, int64_t begin, int64_t end) {
  if constexpr (2 * ROWS <= LANES)
    if (p.m > ROWS) return dots_of<2 * ROWS>(p, begin, end);
  constexpr int COLUMNS = LANES / ROWS;
  float z[ROWS * COLUMNS];
  for (int64_t row = 0; row < p.m; row += ROWS)
    for (int64_t column = begin; column < end; column += COLUMNS) {
      const int64_t rows = smaller(p.m - row, ROWS), columns = smaller(end - column, COLUMNS);
      dots<ROWS>(p.k, from(p.a, row, 0), rows, from(p.b, column, 0), columns, z, COLUMNS);
      p.finish.apply(p.finish, z, COLUMNS, row, column, rows, columns);
    }
}

template <typename T>
static void thin(const Call& call, const Product<T>& whole, int64_t batches) {
  const int64_t units = divide_up(whole.n, THIN_COLUMNS);
  const int64_t needed = divide_up(whole.n, MOST_THIN_COLUMNS - THIN_COLUMNS);
  const Split tasks = {units, larger(needed, smaller(smaller(units, TASKS), 4 * whole.n * whole.k / THIN_BYTES))};
  parallel(call.context, batches * tasks.parts, [&](int64_t index, int32_t worker) {
    const Product<T> p = product_of<T>(call, index / tasks.parts);
    const int64_t task = index % tasks.parts, begin = tasks.start(task) * THIN_COLUMNS;
    const int64_t end = smaller(p.n, tasks.start(task + 1) * THIN_COLUMNS);
    if (p.b.line_stride != 1) return dots_of(p, begin, end);
    float* const z = static_cast<float*>(call.context->scratch[worker]);
    const int64_t z_stride = tasks.size(task) * THIN_COLUMNS;
    for (int64_t start = 0; start < p.k; start += THIN_DEPTH)
      strips_of<T>(p.m)(smaller(THIN_DEPTH, p.k - start), from(p.a, 0, start), from(p.b, begin, start), end - begin, z, z_stride,
                        start > 0, from(p.b, begin, start + THIN_DEPTH).data);
    p.finish.apply(p.finish, z, z_stride, 0, begin, p.m, end - begin);
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
