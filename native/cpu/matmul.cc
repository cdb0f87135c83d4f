// y = epilogue(a b + bias + addend) for every matrix of a batch: 2 M N K flops; few rows read b once, as fast as memory goes.
// y is cut into blocks by shape alone, a task each; where many blocks use the same columns of b, a first phase packs them.
// A task packs its own rows of a, so that panels come from its core's caches and the tiles of gemm.h run at full speed.
// A block runs through all of K before it is finished: so y may lie where the addend or the preactivation does.
#include "epilogue.h"
#include "gemm.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

struct Product {
  int64_t m, n, k;
  Lines a, b;  // rows of a, columns of b
  Finish finish;
};

float* at_batch(const Operand& operand, int64_t batch) {
  return operand.data ? floats(operand) + offset_of(operand, batch, operand.rank - 2) : nullptr;
}

Product product_of(const Call& call, int64_t batch) {
  const Operand &a = call.in[0], &b = call.in[1];
  const auto& attributes = attributes_of<MatmulAttributes>(call);
  const auto rows = [&](const Operand& o) { return Rows{at_batch(o, batch), o.data ? o.stride[o.rank - 2] : 0}; };
  const float* bias = floats(call.in[2]);
  Product p;
  p.m = a.shape[a.rank - 2], p.k = a.shape[a.rank - 1], p.n = b.shape[b.rank - 1];
  p.a = {at_batch(a, batch), a.stride[a.rank - 2], a.stride[a.rank - 1]};
  p.b = {at_batch(b, batch), b.stride[b.rank - 1], b.stride[b.rank - 2]};
  p.finish = {bias, rows(call.in[3]), rows(call.in[4]), rows(call.out[0]), rows(call.out[1]),
              !bias && !call.in[3].data && attributes.epilogue == EPILOGUE_NONE,
              apply_of(attributes.epilogue, attributes.kind)};
  return p;
}

// `lines` from a line and a depth on.
Lines from(Lines lines, int64_t line, int64_t depth) {
  return {lines.data + line * lines.line_stride + depth * lines.depth_stride, lines.line_stride, lines.depth_stride};
}

// Cuts [0, total) into parts that differ by one at most.
struct Split {
  int64_t total, parts;
  int64_t start(int64_t part) const { return total * part / parts; }
  int64_t size(int64_t part) const { return start(part + 1) - start(part); }
  int64_t most() const { return divide_up(total, parts); }
};

constexpr int64_t DEPTH = 512;  // of a chunk of K: a panel of b stays near L1
// Extents of a block of y, in panels. Larger ones overflow L2, smaller ones pack the same operand too often.
constexpr int64_t LEAST_ROW_PANELS = 84 / TILE_ROWS, MOST_ROW_PANELS = 210 / TILE_ROWS;
constexpr int64_t LEAST_COLUMN_PANELS = 128 / TILE_COLUMNS, MOST_COLUMN_PANELS = 768 / TILE_COLUMNS;
constexpr int64_t TASKS = 8;        // blocks are made smaller to have so many of them,
constexpr double TASK_FLOPS = 8e6;  // unless there is less work than this in each: some 50 us
constexpr int64_t DIRECT_ROWS = 56;       // up to here b is read as it lies, if its rows are contiguous;
constexpr int64_t SHARING_ROWS = 560;     // from here on tasks share panels of b, packed once,
constexpr int64_t TRANSPOSING_ROWS = 168; // and sooner if they are not; see matmulWorkspace in src/ops/matmul.ts
constexpr int64_t TILE_SIZE = TILE_ROWS * TILE_COLUMNS;
constexpr int64_t A_PANELS_SIZE = MOST_ROW_PANELS * DEPTH * PANEL_ROWS, B_PANEL_SIZE = DEPTH * TILE_COLUMNS;
static_assert(4 * (A_PANELS_SIZE + B_PANEL_SIZE + MOST_ROW_PANELS * MOST_COLUMN_PANELS * TILE_SIZE) <= SCRATCH_BYTES,
              "a block and its panels must fit a worker's scratch");

// How y, or a group of its column panels, is cut into blocks.
struct Blocks {
  Split rows;                       // of y into row panels of at most TILE_ROWS
  Split depth;                      // of K into chunks
  int64_t first_panel;              // of the group
  Split row_blocks, column_blocks;  // of panels

  Blocks(int64_t m, int64_t k, int64_t first, int64_t columns, bool shared)
      : rows{m, divide_up(m, TILE_ROWS)},
        depth{k, divide_up(k, DEPTH)},
        first_panel(first),
        row_blocks{rows.parts, 1},
        column_blocks{columns, 1} {
    // Halved until they fit and keep the usual numbers of cores busy: the longer side first, to pack least.
    const double flops = 2.0 * m * k * columns * TILE_COLUMNS;
    for (;;) {
      const int64_t row_panels = row_blocks.total / row_blocks.parts;
      const int64_t column_panels = column_blocks.total / column_blocks.parts;
      const bool enough = count() >= TASKS || flops / count() < 2 * TASK_FLOPS;
      const bool by_rows = row_panels >= 2 * LEAST_ROW_PANELS, by_columns = column_panels >= 2 * LEAST_COLUMN_PANELS;
      const bool tall = shared || row_panels * TILE_ROWS >= column_panels * TILE_COLUMNS;
      if (row_blocks.most() > MOST_ROW_PANELS) row_blocks.parts *= 2;
      else if (column_blocks.most() > MOST_COLUMN_PANELS) column_blocks.parts *= 2;
      else if (enough || (!by_rows && !by_columns)) return;
      else if (by_rows && (tall || !by_columns)) row_blocks.parts *= 2;
      else column_blocks.parts *= 2;
    }
  }
  int64_t count() const { return row_blocks.parts * column_blocks.parts; }
};

// One block of y. `packed` holds the group's panels of b, or is null.
void multiply(const Product& p, const Blocks& blocks, int64_t block, const float* packed, float* scratch) {
  const int64_t row_block = block % blocks.row_blocks.parts, column_block = block / blocks.row_blocks.parts;
  const int64_t row_begin = blocks.row_blocks.start(row_block), row_end = blocks.row_blocks.start(row_block + 1);
  const int64_t column_begin = blocks.column_blocks.start(column_block);
  const int64_t column_end = blocks.column_blocks.start(column_block + 1);
  float* const a_panels = scratch;
  float* const b_panel = a_panels + A_PANELS_SIZE;
  float* const z_tiles = b_panel + B_PANEL_SIZE;
  for (int64_t chunk = 0; chunk < blocks.depth.parts; chunk++) {
    const int64_t start = blocks.depth.start(chunk), depth = blocks.depth.size(chunk);
    const bool last = chunk == blocks.depth.parts - 1;
    float* a_panel = a_panels;
    for (int64_t i = row_begin; i < row_end; i++, a_panel += depth * PANEL_ROWS) {
      // A panel is wider than its tile: lines of the next one fill it faster than zeros.
      const int64_t row = blocks.rows.start(i);
      pack(from(p.a, row, start), p.m - row, depth, a_panel, PANEL_ROWS);
    }
    float* z = z_tiles;
    for (int64_t j = column_begin; j < column_end; j++) {
      const int64_t column = (blocks.first_panel + j) * TILE_COLUMNS, columns = smaller(p.n - column, TILE_COLUMNS);
      const bool narrow = columns <= LANES / 2;  // the tile is turned: rows of a are its columns, so that few lanes idle
      const bool in_place = p.finish.plain && columns == TILE_COLUMNS;
      Lines b = from(p.b, column, start);
      if (packed && !narrow) {
        b = {packed + (j * p.k + start) * TILE_COLUMNS, 1, TILE_COLUMNS};
      } else if (!narrow && (p.b.line_stride != 1 || columns < TILE_COLUMNS || p.m > DIRECT_ROWS)) {
        pack(b, columns, depth, b_panel, TILE_COLUMNS);
        b = {b_panel, 1, TILE_COLUMNS};
      }
      a_panel = a_panels;
      for (int64_t i = row_begin; i < row_end; i++, a_panel += depth * PANEL_ROWS) {
        const int64_t row = blocks.rows.start(i), rows = blocks.rows.size(i);
        if (narrow) {
          float turned[(LANES / 2) * PANEL_ROWS];
          const Tile tile = tile_of<PANEL_ROWS / LANES, false, LANES / 2>(columns);
          tile(depth, b, {a_panel, 1, PANEL_ROWS}, turned, PANEL_ROWS, false, {a_panel, 0, CACHE_LINE});
          for (int64_t r = 0; r < rows; r++)
            for (int64_t c = 0; c < columns; c++) {
              float& to = z[r * TILE_COLUMNS + c];
              to = (chunk > 0 ? to : 0.0f) + turned[c * PANEL_ROWS + r];
            }
        } else {
          // The next panel of b is fetched during the first two tiles, the next chunk of a during the last panel.
          Lines ahead = {a_panel, 0, CACHE_LINE};
          if (j + 1 < column_end && i < row_begin + 2)
            ahead = packed ? Lines{b.data + p.k * TILE_COLUMNS + (i - row_begin) * depth * CACHE_LINE, 0, CACHE_LINE}
                           : from(p.b, column + TILE_COLUMNS + (i - row_begin) * CACHE_LINE, start);
          else if (j + 1 == column_end && !last && p.a.line_stride == 1)
            ahead = from(p.a, row, start + depth);
          const Tile tile = columns > LANES ? tile_of<2, true, TILE_ROWS>(rows) : tile_of<1, true, TILE_ROWS>(rows);
          float* const to = in_place ? p.finish.y.data + row * p.finish.y.stride + column : z;
          tile(depth, {a_panel, 1, PANEL_ROWS}, b, to, in_place ? p.finish.y.stride : TILE_COLUMNS, chunk > 0, ahead);
        }
        if (last && !in_place) p.finish.apply(p.finish, z, TILE_COLUMNS, row, column, rows, columns);
        if (blocks.depth.parts > 1) z += TILE_SIZE;  // else the one tile stays in L1
      }
    }
  }
}

void blocked(const Call& call, const Product& whole, int64_t batches) {
  Context* const context = call.context;
  float* const workspace = static_cast<float*>(context->workspace);
  const int64_t panels = divide_up(whole.n, TILE_COLUMNS), panel_size = whole.k * TILE_COLUMNS;
  const int64_t fitting = context->workspace_bytes / (4 * panel_size);
  const bool shared = batches == 1 && fitting > 0 && whole.m > (whole.b.line_stride == 1 ? SHARING_ROWS : TRANSPOSING_ROWS);
  const Split groups = {panels, shared ? divide_up(panels, fitting) : 1};
  for (int64_t group = 0; group < groups.parts; group++) {
    const int64_t first = groups.start(group), count = groups.size(group);
    if (shared) {
      parallel(context, count, [&](int64_t j, int32_t) {
        const int64_t column = (first + j) * TILE_COLUMNS;
        pack(from(whole.b, column, 0), whole.n - column, whole.k, workspace + j * panel_size, TILE_COLUMNS);
      });
    }
    const Blocks blocks(whole.m, whole.k, first, count, shared);
    parallel(context, batches * blocks.count(), [&](int64_t index, int32_t worker) {
      multiply(product_of(call, index / blocks.count()), blocks, index % blocks.count(), shared ? workspace : nullptr,
               static_cast<float*>(context->scratch[worker]));
    });
  }
}

// Few rows, as in decoding: nothing is used often enough to be packed.
constexpr int THIN_ROWS = TILE_ROWS < 8 ? TILE_ROWS : 8;
constexpr int64_t THIN_BYTES = 256 << 10;    // of b, a task at least
constexpr int64_t THIN_COLUMNS = 64;         // tasks begin at multiples of it
constexpr int64_t MOST_THIN_COLUMNS = 8192;  // of a task
constexpr int64_t THIN_DEPTH = 64;           // rows of b that are open at a time: as many pages fit the first TLB
static_assert(4 * THIN_ROWS * MOST_THIN_COLUMNS <= SCRATCH_BYTES, "the sums of a task must fit a worker's scratch");

// z (+)= a b for THIN_DEPTH rows of b, which are contiguous: strips as wide as the accumulators allow.
template <int ROWS, int VECTORS = (2 * TILE_ROWS / ROWS >= 8 ? 8 : 2 * TILE_ROWS / ROWS)>
void strips(int64_t depth, Lines a, Lines b, int64_t columns, float* z, int64_t z_stride, bool add) {
  constexpr int WIDTH = VECTORS * LANES;
  for (; columns >= WIDTH; columns -= WIDTH, b.data += WIDTH, z += WIDTH)
    tile<ROWS, VECTORS, false>(depth, a, b, z, z_stride, add, {b.data + WIDTH, 0, b.depth_stride});
  if constexpr (VECTORS > 1) {
    strips<ROWS, VECTORS / 2>(depth, a, b, columns, z, z_stride, add);
  } else if (columns > 0) {
    float panel[THIN_DEPTH * LANES];
    pack(b, columns, depth, panel, LANES);
    tile<ROWS, 1, false>(depth, a, {panel, 1, LANES}, z, z_stride, add, {panel, 0, LANES});
  }
}

template <int ROWS = THIN_ROWS>
decltype(&strips<1>) strips_of(int64_t rows) {
  if constexpr (ROWS > 1)
    if (rows < ROWS) return strips_of<ROWS - 1>(rows);
  return strips<ROWS>;
}

// Columns [begin, end) where they are contiguous, as a's rows are: dot products.
template <int ROWS = 1>
void dots_of(const Product& p, int64_t begin, int64_t end) {
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

void thin(const Call& call, const Product& whole, int64_t batches) {
  const int64_t units = divide_up(whole.n, THIN_COLUMNS);
  const int64_t needed = divide_up(whole.n, MOST_THIN_COLUMNS - THIN_COLUMNS);
  const Split tasks = {units, larger(needed, smaller(smaller(units, TASKS), 4 * whole.n * whole.k / THIN_BYTES))};
  parallel(call.context, batches * tasks.parts, [&](int64_t index, int32_t worker) {
    const Product p = product_of(call, index / tasks.parts);
    const int64_t task = index % tasks.parts, begin = tasks.start(task) * THIN_COLUMNS;
    const int64_t end = smaller(p.n, tasks.start(task + 1) * THIN_COLUMNS);
    if (p.b.line_stride != 1) return dots_of(p, begin, end);
    float* const z = static_cast<float*>(call.context->scratch[worker]);
    const int64_t z_stride = tasks.size(task) * THIN_COLUMNS;
    for (int64_t start = 0; start < p.k; start += THIN_DEPTH)
      strips_of(p.m)(smaller(THIN_DEPTH, p.k - start), from(p.a, 0, start), from(p.b, begin, start), end - begin, z, z_stride,
                     start > 0);
    p.finish.apply(p.finish, z, z_stride, 0, begin, p.m, end - begin);
  });
}

}  // namespace

void matmul(const Call& call) {
  const int64_t batches = extent_of(call.out[0], 0, call.out[0].rank - 2);
  if (batches == 0) return;
  const Product whole = product_of(call, 0);
  const bool streams = whole.b.line_stride == 1 || (whole.b.depth_stride == 1 && whole.a.depth_stride == 1);
  if (whole.m <= THIN_ROWS && streams) thin(call, whole, batches);
  else blocked(call, whole, batches);
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
