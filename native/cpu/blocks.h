// How a product is cut into blocks, a task each: by its shape alone.
#pragma once
#include "product.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

constexpr int64_t DEPTH = 512;  // words of a chunk of K: a panel of b stays near L1
// By columns each panel of b is read once for every panel of a. With 16 KiB of b both fit an L1 of 32, and 210 rows of a half
// of an L2 of 512; the wide tiles were measured with larger caches, and keep theirs.
constexpr int64_t COLUMN_DEPTH = LANES == 8 ? 256 : DEPTH;
// Extents of a block of y, in panels. Larger ones overflow L2, smaller ones pack the same operand too often.
constexpr int64_t LEAST_ROW_PANELS = 84 / TILE_ROWS, MOST_ROW_PANELS = 210 / TILE_ROWS;
// Where tasks pack no b they may have few rows, and a is packed only once if all columns are theirs.
constexpr int64_t LEAST_ALONE = LANES == 16 ? 2 : LEAST_ROW_PANELS;
constexpr int64_t LEAST_COLUMN_PANELS = 128 / TILE_COLUMNS, MOST_COLUMN_PANELS = 768 / TILE_COLUMNS;
constexpr double TASK_FLOPS = 8e6;  // the least work of a task where there are fewer than TASKS: some 50 us
constexpr int64_t TILE_SIZE = TILE_ROWS * TILE_COLUMNS;
constexpr int64_t A_PANELS_SIZE = MOST_ROW_PANELS * DEPTH * PANEL_ROWS, B_PANEL_SIZE = DEPTH * TILE_COLUMNS;
static_assert(4 * (A_PANELS_SIZE + B_PANEL_SIZE + MOST_ROW_PANELS * MOST_COLUMN_PANELS * TILE_SIZE) <= SCRATCH_BYTES,
              "a block and its panels must fit a worker's scratch");

// How y, or a group of its column panels, is cut into blocks.
struct Blocks {
  Split rows;                       // of y into row panels of at most TILE_ROWS
  Split depth;                      // of K into chunks, in words of a panel
  int64_t first_panel;              // of the group
  Split row_blocks, column_blocks;  // of panels

  // Tasks share packed panels of b, or read it directly, where it lies; else each packs what it needs.
  Blocks(int64_t m, int64_t words, int64_t first, int64_t columns, bool shared, bool direct)
      : rows{m, divide_up(m, TILE_ROWS)},
        depth{words, divide_up(words, shared ? DEPTH : COLUMN_DEPTH)},
        first_panel(first),
        row_blocks{rows.parts, 1},
        column_blocks{columns, 1} {
    // Halved until they fit and keep the usual numbers of cores busy: the longer side first, to pack least.
    const double flops = 2.0 * m * words * columns * TILE_COLUMNS;
    const bool packs_rows_alone = shared || direct;
    for (;;) {
      const int64_t row_panels = row_blocks.total / row_blocks.parts;
      const int64_t column_panels = column_blocks.total / column_blocks.parts;
      const bool enough = count() >= TASKS || flops / count() < 2 * TASK_FLOPS;
      const int64_t least = count() == 1 ? 2 : LEAST_COLUMN_PANELS;  // half the work for each of two cores outweighs much
      const bool by_rows = row_panels >= 2 * (packs_rows_alone ? LEAST_ALONE : LEAST_ROW_PANELS), by_columns = column_panels >= 2 * least;
      const bool tall = packs_rows_alone || row_panels * TILE_ROWS >= column_panels * TILE_COLUMNS;
      if (row_blocks.most() > MOST_ROW_PANELS) row_blocks.parts *= 2;
      else if (column_blocks.most() > MOST_COLUMN_PANELS) column_blocks.parts *= 2;
      else if (enough || (!by_rows && !by_columns)) return;
      else if (by_rows && (tall || !by_columns)) row_blocks.parts *= 2;
      else column_blocks.parts *= 2;
    }
  }
  int64_t count() const { return row_blocks.parts * column_blocks.parts; }
};

}}}  // namespace heddle::cpu::HEDDLE_ISA
