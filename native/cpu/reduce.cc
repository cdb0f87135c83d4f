// Sums over one axis, and the softmax of rows with its gradient.
// A sum reads each element once (4 bytes, 1 flop); softmax moves a row that stays in cache (8 bytes, ~25 flops).
// The summed axis is cut into at most 64 blocks by shape alone, whose partial sums stand in the workspace and are added
// in their order; so results do not depend on threads, and rounding errors grow with the blocks and not the axis.
#include "columns.h"
#include "kernels.h"
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t SUM_BLOCKS = 64;  // src/ops/reduce.ts sizes the workspace for as many
constexpr int64_t NARROW = LANES;   // fewer columns than this are summed across whole vectors
constexpr int MAX_PERIOD = 16;      // vectors after which the columns stand in the same lanes again

// y[c] = sum of x[r * columns + c] for r < rows. Every LANES rows the columns stand in the same lanes: with fewer
// columns than lanes the rows are read as one run of vectors, and folded at the end of a block.
template <typename T>
void sum_narrow(const T* x, int64_t rows, int64_t columns, float* y) {
  const int64_t repeat = larger(1, 8 / columns);  // at least 8 accumulators, or the additions would wait for each other
  const int64_t period = columns * repeat, step = LANES * repeat;
  double total[NARROW] = {};
  int64_t row = 0;
  while (row + step <= rows) {
    Vector sum[MAX_PERIOD] = {};
    for (int64_t fold = 0; fold < ROWS_BETWEEN_FOLDS && row + step <= rows; fold++, row += step) {
      for (int64_t v = 0; v < period; v++) sum[v] += load(x + row * columns + v * LANES);
    }
    int64_t column = 0;
    for (int64_t v = 0; v < period; v++) {
      for (int lane = 0; lane < LANES; lane++) {
        total[column] += sum[v][lane];
        if (++column == columns) column = 0;
      }
    }
  }
  for (; row < rows; row++) {
    for (int64_t c = 0; c < columns; c++) total[c] += widened(x[row * columns + c]);
  }
  for (int64_t c = 0; c < columns; c++) y[c] = static_cast<float>(total[c]);
}

// The same for one column.
template <typename T>
float sum_run(const T* x, int64_t count) {
  constexpr int64_t PIECE = 4096;
  double total = 0;
  for (int64_t start = 0; start < count; start += PIECE) {
    const auto term = [&](int64_t i, int lanes) { return fetch(x + start + i, lanes); };
    total += blocked_sum(smaller(PIECE, count - start), term);
  }
  return static_cast<float>(total);
}

template <typename T, typename Result>
void sum_axis(const Call& call) {
  const Operand& x = call.in[0];
  const int64_t outer = x.shape[0], rows = x.shape[1], columns = x.shape[2];
  const T* from = elements<T>(x);
  Result* y = elements<Result>(call.out[0]);
  if (!y || outer * columns == 0) return;

  // Pieces of columns, and blocks of rows where the pieces alone are too few.
  const int64_t width = columns < NARROW ? columns : smaller(columns, 1024), pieces = divide_up(columns, width);
  const int64_t wanted = larger(1, divide_up(rows * width, 2 * TASK_ELEMENTS));
  const int64_t enough = outer * pieces >= SUM_BLOCKS && rows * width <= 64 * TASK_ELEMENTS ? 1 : SUM_BLOCKS;
  const int64_t height = larger(1, divide_up(rows, smaller(wanted, enough))),
                blocks = larger(1, divide_up(rows, height));
  // Results that are not float32 take the way through the workspace too.
  const bool direct = blocks == 1 && sizeof(Result) == sizeof(float);
  float* partial = static_cast<float*>(direct ? call.out[0].data : call.context->workspace);

  const int64_t together = larger(1, TASK_ELEMENTS / larger(1, height * width));
  parallel_ranges(call.context, outer * blocks * pieces, together, [&](int64_t first, int64_t last, int32_t) {
    for (int64_t index = first; index < last; index++) {
      const int64_t piece = index % pieces, block = index / pieces % blocks, a = index / pieces / blocks;
      const int64_t start = block * height, count = smaller(height, rows - start), column = piece * width;
      const T* data = from + (a * rows + start) * columns + column;
      float* to = partial + (block * outer + a) * columns + column;
      if (columns == 1)
        *to = sum_run(data, count);
      else if (columns < NARROW)
        sum_narrow(data, count, columns, to);
      else
        sum_wide(data, count, columns, smaller(width, columns - column), to);
    }
  });
  if (direct) return;
  parallel_ranges(call.context, outer * columns, TASK_ELEMENTS / 8, [&](int64_t first, int64_t last, int32_t) {
    for (int64_t i = first; i < last; i++) {
      double total = 0;
      for (int64_t block = 0; block < blocks; block++) total += partial[block * outer * columns + i];
      set(y[i], static_cast<float>(total));
    }
  });
}

}  // namespace

void sum(const Call& call) {
  with_type(call.in[0], [&](auto from) {
    with_type(call.out[0], [&](auto to) { sum_axis<decltype(from), decltype(to)>(call); });
  });
}

void softmax(const Call& call) {
  const float* x = floats(call.in[0]);
  float* y = floats(call.out[0]);
  const int64_t columns = columns_of(call.in[0]);
  if (!y) return;
  parallel_ranges(call.context, rows_of(call.in[0]), rows_per_task(columns), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t row = first; row < last; row++) {
      const float* from = x + row * columns;
      float* to = y + row * columns;
      constexpr float LOWEST = -__builtin_inff();
      Vector top = broadcast(LOWEST);
      for_vectors(columns, [&](int64_t i, int lanes) { top = maximum(top, fetch(from + i, lanes, LOWEST)); });
      const float most = maximum_of(top);
      const float total = blocked_sum(columns, [&](int64_t i, int lanes) {
        const Vector e = exp(fetch(from + i, lanes, LOWEST) - most);
        put(to + i, e, lanes);
        return e;
      });
      const float factor = 1.0f / total;
      for_vectors(columns, [&](int64_t i, int lanes) { put(to + i, fetch(to + i, lanes) * factor, lanes); });
    }
  });
}

// dx = y (dy - sum(y dy)).
void softmax_backward(const Call& call) {
  const float *y = floats(call.in[0]), *dy = floats(call.in[1]);
  float* dx = floats(call.out[0]);
  const int64_t columns = columns_of(call.in[0]);
  if (!dx) return;
  parallel_ranges(call.context, rows_of(call.in[0]), rows_per_task(columns), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t row = first; row < last; row++) {
      const float *p = y + row * columns, *d = dy + row * columns;
      float* to = dx + row * columns;
      const float inner =
          blocked_sum(columns, [&](int64_t i, int lanes) { return fetch(p + i, lanes) * fetch(d + i, lanes); });
      for_vectors(columns, [&](int64_t i, int lanes) {
        put(to + i, fetch(p + i, lanes) * (fetch(d + i, lanes) - inner), lanes);
      });
    }
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
