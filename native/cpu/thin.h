// Products of few rows, as in decoding: nothing is used often enough to be packed, so b is read once, as fast as memory goes. Memory goes
// fastest where it is read on end.
#pragma once
#include "product.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr int THIN_ROWS = TILE_ROWS < 8 ? TILE_ROWS : 8;
constexpr int64_t THIN_BYTES = 256 << 10;    // of b, a task at least
constexpr int64_t THIN_RUN = 4096;           // bytes of a row of b that a task reads on end, where K can be cut instead
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

// Cut by columns into parts that begin at multiples of THIN_COLUMNS, and by K where rows of b are short: such tasks leave their sums
// in the workspace, [parts of K, M, N in whole units], and these are added in the order of the parts. src/ops/matmul.ts has the size.
template <typename T>
static void thin(const Call& call, const Product<T>& whole, int64_t batches) {
  Context* const context = call.context;
  const int64_t units = divide_up(whole.n, THIN_COLUMNS), bytes = static_cast<int64_t>(sizeof(T)) * whole.n * whole.k;
  const int64_t needed = divide_up(whole.n, MOST_THIN_COLUMNS - THIN_COLUMNS);
  const int64_t pitch = units * THIN_COLUMNS, sums_size = whole.m * pitch;  // of a part
  const int64_t wanted = larger(1, smaller(smaller(units, TASKS), bytes / THIN_BYTES));
  const int64_t wide = larger(1, static_cast<int64_t>(sizeof(T)) * whole.n / THIN_RUN);
  const int64_t fitting = batches == 1 && whole.b.line_stride == 1 ? context->workspace_bytes / (4 * sums_size) : 0;
  const int64_t most = smaller(fitting, whole.k / THIN_DEPTH);
  const Split depth = {whole.k, wide < wanted ? larger(1, smaller(most, wanted / wide)) : 1};
  const Split columns = {units, larger(needed, divide_up(wanted, depth.parts))};
  const int64_t tasks = columns.parts * depth.parts;
  parallel(context, batches * tasks, [&](int64_t index, int32_t worker) {
    const Product<T> p = product_of<T>(call, index / tasks);
    const int64_t part = index % tasks / columns.parts, task = index % columns.parts, start = depth.start(part);
    const int64_t begin = columns.start(task) * THIN_COLUMNS, end = smaller(p.n, columns.start(task + 1) * THIN_COLUMNS);
    if (p.b.line_stride != 1) return dots_of(p, begin, end);
    const bool alone = depth.parts == 1;
    float* const z = alone ? static_cast<float*>(context->scratch[worker])
                           : static_cast<float*>(context->workspace) + part * sums_size + begin;
    const int64_t z_stride = alone ? columns.size(task) * THIN_COLUMNS : pitch, last = depth.start(part + 1);
    for (int64_t k = start; k < last; k += THIN_DEPTH)
      strips_of<T>(p.m)(smaller(THIN_DEPTH, last - k), from(p.a, 0, k), from(p.b, begin, k), end - begin, z, z_stride, k > start,
                        from(p.b, begin, k + THIN_DEPTH).data);
    if (alone) p.finish.apply(p.finish, z, z_stride, 0, begin, p.m, end - begin);
  });
  if (depth.parts == 1) return;
  float* const sums = static_cast<float*>(context->workspace);
  parallel_ranges(context, whole.n, larger(THIN_COLUMNS, TASK_ELEMENTS / whole.m), [&](int64_t begin, int64_t end, int32_t) {
    for (int64_t row = 0; row < whole.m; row++)
      for_vectors(end - begin, [&](int64_t j, int lanes) {
        float* const at = sums + row * pitch + begin + j;
        Vector total = fetch(at, lanes);
        for (int64_t part = 1; part < depth.parts; part++) total += fetch(at + part * sums_size, lanes);
        put(at, total, lanes);
      });
    whole.finish.apply(whole.finish, sums + begin, pitch, 0, begin, whole.m, end - begin);
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
