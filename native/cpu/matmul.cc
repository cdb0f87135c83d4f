// y = epilogue(a b + bias + addend) for every matrix of a batch: 2 M N K flops; each operand is read from memory about once.
// Work is split into blocks of y, by shape alone, a task each; a first phase packs b where its columns are not rows of memory.
// A task packs its rows of a, so that both stay in its core's L2 and the tiles of gemm.h run at the speed of the registers.
// A block of y runs through all of K before it is finished: y may lie where the addend or the preactivation does.
#include "../ops.h"
#include "gemm.h"
#include "math.h"
#include "parallel.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

// What becomes of z = a b: the last four operands of the op, for one matrix of the batch.
struct Finish {
  struct Rows {
    float* data;
    int64_t stride;
  };
  const float* bias;
  Rows addend, preactivation, y, preactivation_output;
  void (*apply)(const Finish&, const float* z, int64_t z_stride, int64_t row, int64_t column, int64_t rows, int64_t columns);
  bool plain;  // y is z, so that tiles may write it themselves
};

struct Product {
  int64_t m, n, k;
  Lines a, b;  // rows of a, columns of b
  Finish finish;
};

template <Epilogue EPILOGUE, ActivationKind KIND>
void apply(const Finish& f, const float* z, int64_t z_stride, int64_t row, int64_t column, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i++) {
    const auto at = [&](Finish::Rows r) { return r.data ? r.data + (row + i) * r.stride + column : nullptr; };
    const float *addend = at(f.addend), *preactivation = at(f.preactivation), *bias = f.bias ? f.bias + column : nullptr;
    float *y = at(f.y), *preactivation_output = at(f.preactivation_output);
    const auto step = [&](int64_t j, auto get, auto put) {
      Vector x = get(z + i * z_stride + j);
      if (bias) x += get(bias + j);
      if (addend) x += get(addend + j);
      if (EPILOGUE == EPILOGUE_ACTIVATION) {
        if (preactivation_output) put(preactivation_output + j, x);
        x = activate(KIND, x);
      } else if (EPILOGUE == EPILOGUE_ACTIVATION_BACKWARD) {
        x *= activation_derivative(KIND, get(preactivation + j));
      }
      put(y + j, x);
    };
    int64_t j = 0;
    for (; j + LANES <= columns; j += LANES) step(j, load, store);
    const int rest = int(columns - j);
    if (rest > 0) {
      step(j, [=](const float* from) { return load_first(from, rest); },
           [=](float* to, Vector v) { store_first(to, v, rest); });
    }
  }
}

template <int KIND = ACTIVATION_TANH>
decltype(Finish::apply) apply_of(Epilogue epilogue, ActivationKind kind) {
  if constexpr (KIND > ACTIVATION_NONE)
    if (kind != KIND) return apply_of<KIND - 1>(epilogue, kind);
  return epilogue == EPILOGUE_ACTIVATION            ? apply<EPILOGUE_ACTIVATION, ActivationKind(KIND)>
         : epilogue == EPILOGUE_ACTIVATION_BACKWARD ? apply<EPILOGUE_ACTIVATION_BACKWARD, ActivationKind(KIND)>
                                                    : apply<EPILOGUE_NONE, ACTIVATION_NONE>;
}

float* at_batch(const Operand& operand, int64_t index) {
  float* data = static_cast<float*>(operand.data);
  for (int axis = operand.rank - 3; data && axis >= 0; axis--) {
    data += index % operand.shape[axis] * operand.stride[axis];
    index /= operand.shape[axis];
  }
  return data;
}

Product product_of(const Call& call, int64_t batch) {
  const Operand &a = call.in[0], &b = call.in[1];
  const auto& attributes = *static_cast<const MatmulAttributes*>(call.attributes);
  const auto rows = [&](const Operand& o) { return Finish::Rows{at_batch(o, batch), o.data ? o.stride[o.rank - 2] : 0}; };
  Product p;
  p.m = a.shape[a.rank - 2], p.k = a.shape[a.rank - 1], p.n = b.shape[b.rank - 1];
  p.a = {at_batch(a, batch), a.stride[a.rank - 2], a.stride[a.rank - 1]};
  p.b = {at_batch(b, batch), b.stride[b.rank - 1], b.stride[b.rank - 2]};
  p.finish = {static_cast<const float*>(call.in[2].data), rows(call.in[3]), rows(call.in[4]), rows(call.out[0]), rows(call.out[1]),
              apply_of(attributes.epilogue, attributes.kind), false};
  p.finish.plain = !p.finish.bias && !p.finish.addend.data && attributes.epilogue == EPILOGUE_NONE;
  return p;
}

int64_t quotient_up(int64_t a, int64_t b) { return (a + b - 1) / b; }
int64_t clamp(int64_t x, int64_t low, int64_t high) { return x < low ? low : x > high ? high : x; }

// Cuts [0, total) into parts that differ by one at most.
struct Split {
  int64_t total, parts;
  int64_t start(int64_t part) const { return total * part / parts; }
  int64_t size(int64_t part) const { return start(part + 1) - start(part); }
};

#ifndef CHUNK
#define CHUNK 512
#define BLOCK_PANELS 10
#define BLOCK_COLUMNS 24
#define TASK_FLOPS 6e6
#define TASK_ROWS 4
#define TASK_COLUMNS 2
#endif
constexpr int64_t DEPTH = CHUNK;                  // of a chunk of K: a panel of b stays in L1
constexpr int64_t ROW_PANELS = BLOCK_PANELS;             // of a block of y: its rows of a stay in L2
constexpr int64_t COLUMN_PANELS = BLOCK_COLUMNS;          // of a block of y
constexpr int64_t TILE_SIZE = TILE_ROWS * TILE_COLUMNS;
static_assert(4 * (ROW_PANELS * DEPTH * PANEL_ROWS + DEPTH * TILE_COLUMNS + ROW_PANELS * COLUMN_PANELS * TILE_SIZE) <= SCRATCH_BYTES,
              "a block and its panels must fit a worker's scratch");

// How y, or a group of its column panels, is cut into blocks.
struct Blocks {
  Split rows;                       // of y into row panels of at most TILE_ROWS
  Split depth;                      // of K into chunks
  int64_t first_panel;              // of the group
  Split row_blocks, column_blocks;  // of panels

  Blocks(int64_t m, int64_t k, int64_t first, int64_t columns)
      : rows{m, quotient_up(m, TILE_ROWS)}, depth{k, quotient_up(k, DEPTH)}, first_panel(first) {
    const int64_t tasks = clamp(int64_t(2.0 * m * columns * TILE_COLUMNS * k / TASK_FLOPS), 1, 32);
    const int64_t row_parts = clamp(tasks, quotient_up(rows.parts, ROW_PANELS), quotient_up(rows.parts, TASK_ROWS));
    row_blocks = {rows.parts, row_parts};
    column_blocks = {columns, clamp(quotient_up(tasks, row_parts), quotient_up(columns, COLUMN_PANELS), quotient_up(columns, TASK_COLUMNS))};
  }
  int64_t count() const { return row_blocks.parts * column_blocks.parts; }
};

// One block of y. `packed` holds the panels of b from column panel `first` on, or is null.
void multiply(const Product& p, const Blocks& blocks, int64_t row_block, int64_t column_block, const float* packed, float* scratch) {
  float* const a_panels = scratch;
  float* const b_panel = a_panels + ROW_PANELS * DEPTH * PANEL_ROWS;
  float* const z_tiles = b_panel + DEPTH * TILE_COLUMNS;
  const int64_t row_begin = blocks.row_blocks.start(row_block), row_end = blocks.row_blocks.start(row_block + 1);
  const int64_t column_begin = blocks.column_blocks.start(column_block), column_end = blocks.column_blocks.start(column_block + 1);
  for (int64_t chunk = 0; chunk < blocks.depth.parts; chunk++) {
    const int64_t depth_begin = blocks.depth.start(chunk), depth = blocks.depth.size(chunk);
    const bool last = chunk == blocks.depth.parts - 1;
    float* a_panel = a_panels;
    for (int64_t i = row_begin; i < row_end; i++, a_panel += depth * PANEL_ROWS) {
      const float* from = p.a.data + blocks.rows.start(i) * p.a.line_stride + depth_begin * p.a.depth_stride;
      pack(from, p.a.line_stride, p.a.depth_stride, int(blocks.rows.size(i)), depth, a_panel, PANEL_ROWS);
    }
    float* z = z_tiles;
    for (int64_t j = column_begin; j < column_end; j++) {
      const int64_t column = (blocks.first_panel + j) * TILE_COLUMNS, columns = clamp(p.n - column, 1, TILE_COLUMNS);
      const float* from = p.b.data + column * p.b.line_stride + depth_begin * p.b.depth_stride;
      Lines b = {from, 1, p.b.depth_stride};
      if (packed) {
        b = {packed + (j * p.k + depth_begin) * TILE_COLUMNS, 1, TILE_COLUMNS};
      } else if (p.b.line_stride != 1 || columns < TILE_COLUMNS) {
        pack(from, p.b.line_stride, p.b.depth_stride, int(columns), depth, b_panel, TILE_COLUMNS);
        b = {b_panel, 1, TILE_COLUMNS};
      }
      const bool in_place = p.finish.plain && columns == TILE_COLUMNS;
      a_panel = a_panels;
      for (int64_t i = row_begin; i < row_end; i++, a_panel += depth * PANEL_ROWS) {
        const int64_t row = blocks.rows.start(i);
        const int rows = int(blocks.rows.size(i));
        float* to = in_place ? p.finish.y.data + row * p.finish.y.stride + column : z;
        const Tile tile = columns > LANES ? tile_of<true, 2>(rows) : tile_of<true, 1>(rows);
        tile(depth, {a_panel, 1, PANEL_ROWS}, b, to, in_place ? p.finish.y.stride : TILE_COLUMNS, chunk > 0);
        if (last && !in_place) p.finish.apply(p.finish, z, TILE_COLUMNS, row, column, rows, columns);
        if (blocks.depth.parts > 1) z += TILE_SIZE;  // else the one tile stays in L1
      }
    }
  }
}

void blocked(const Call& call, const Product& whole, int64_t batches) {
  Context* const context = call.context;
  float* const workspace = static_cast<float*>(context->workspace);
  const int64_t panels = quotient_up(whole.n, TILE_COLUMNS), panel_size = whole.k * TILE_COLUMNS;
  const int64_t fitting = context->workspace_bytes / (4 * panel_size);
#ifdef FORCE
  const bool shared = FORCE && fitting > 0;
#else
  const bool shared = batches == 1 && whole.b.line_stride != 1 && whole.m > ROW_PANELS * TILE_ROWS && fitting > 0;
#endif
  const int64_t group = shared && fitting < panels ? fitting : panels;
  for (int64_t first = 0; first < panels; first += group) {
    const int64_t count = clamp(panels - first, 1, group);
    if (shared) {
      parallel(context, count, [&](int64_t j, int32_t) {
        const int64_t column = (first + j) * TILE_COLUMNS;
        pack(whole.b.data + column * whole.b.line_stride, whole.b.line_stride, whole.b.depth_stride,
             int(clamp(whole.n - column, 1, TILE_COLUMNS)), whole.k, workspace + j * panel_size, TILE_COLUMNS);
      });
    }
    const Blocks blocks(whole.m, whole.k, first, count);
    parallel(context, batches * blocks.count(), [&](int64_t index, int32_t worker) {
      const int64_t block = index % blocks.count();
      multiply(product_of(call, index / blocks.count()), blocks, block % blocks.row_blocks.parts,
               block / blocks.row_blocks.parts, shared ? workspace : nullptr, static_cast<float*>(context->scratch[worker]));
    });
  }
}

}  // namespace

void matmul(const Call& call) {
  const Operand& y = call.out[0];
  int64_t batches = 1;
  for (int axis = 0; axis < y.rank - 2; axis++) batches *= y.shape[axis];
  if (batches > 0) blocked(call, product_of(call, 0), batches);
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
