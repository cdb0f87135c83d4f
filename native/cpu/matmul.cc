// y = epilogue(a b + bias + addend) for every matrix of a batch: 2 M N K flops; few rows read b once, as fast as memory goes.
// y is cut into blocks by shape alone, a task each; where many blocks use the same columns of b, a first phase packs them.
// A task packs its own rows of a, so that they come from its core's caches, or reads them as they lie, if b is packed and they lie well.
// bf16 operands are widened as they are packed, or packed in pairs (pairs.h), and sums are float32. A block runs through all of K
// before it is finished: so y may lie where the addend or the preactivation does.
#include "blocks.h"
#include "columns.h"
#include "pairs.h"
#include "thin.h"

namespace heddle { namespace cpu {
#if defined(__AVX512BF16__)
namespace avx512 {
void matmul(const Call& call);  // whose products of float32 are as good
}
#endif
namespace HEDDLE_ISA {

namespace {

constexpr int64_t DIRECT_ROWS = 56;       // up to here b is read as it lies, if its rows are contiguous;
constexpr int64_t SHARING_ROWS = 560;     // from here on tasks share panels of b, packed once,
constexpr int64_t TRANSPOSING_ROWS = 168; // and sooner if packing is more than copying; see matmulWorkspace in src/ops/matmul.ts
// Bytes of panels of b that a sweep by rows repeats: they stay in L2 beside the rows of a and y.
constexpr int64_t SWEPT_BYTES = 256 << 10;
constexpr int64_t PAGE = 1024;  // floats; rows whole pages apart fall on the same few lines of L1

// Lines of which a tile can read the words of a panel where they lie: floats anywhere, pairs where they are neighbours.
static inline bool as_it_lies(LinesOf<float> from, int64_t, Lines* lines) {
  *lines = from;
  return true;
}
static inline bool as_it_lies(LinesOf<bf16>, int64_t, Lines*) { return false; }
static inline bool as_it_lies(LinesOf<bf16> from, int64_t elements, LinesOf<Pair>* lines) {
  if (from.depth_stride != 1 || from.line_stride % 2 != 0 || elements % 2 != 0) return false;
  *lines = {reinterpret_cast<const Pair*>(from.data), from.line_stride / 2, 1};
  return true;
}

// Memory to fetch ahead, line by line.
template <typename Word>
static inline Lines along(const Word* data) {
  return {reinterpret_cast<const float*>(data), 0, CACHE_LINE};
}

// Whether panels of b are read where they lie: where few rows share one and, if tiles are wide, in gradients of weights, whose a has
// to be packed; the next panel comes into L2 meanwhile.
template <typename T>
bool reads_columns(const Product<T>& p) {
  const bool is_gradient = p.a.line_stride == 1 && p.a.depth_stride != 1;
  return sizeof(T) == sizeof(float) && p.b.line_stride == 1 && (p.m <= DIRECT_ROWS || (LANES == 16 && is_gradient));
}

// A block of y and the panels of its rows of a.
template <typename T>
struct Block {
  typedef typename PanelOf<T>::Word Word;

  const Product<T>& p;
  Split rows;                                            // of y into row panels
  int64_t row_begin, row_end, column_begin, column_end;  // panels
  int64_t start, depth;                                  // of the chunk of K, in words of a panel
  bool first, last, only;                                // which chunk it is
  bool packed;                                           // whether rows of a are; else tiles read them as they lie
  Word* a_panels;
  float* z_tiles;

  Word* a_panel(int64_t i) const { return a_panels + (i - row_begin) * depth * PANEL_ROWS; }

  // The chunk's part of a line that begins at K = 0.
  LinesOf<T> chunk_of(LinesOf<T> lines, int64_t line) const { return from(lines, line, start * PanelOf<T>::DEPTH); }
  // One of two halves of the chunk's part of TILE_COLUMNS lines, as cache lines side by side or, of pairs, one after the other.
  LinesOf<T> half_of(LinesOf<T> lines, int64_t line, int64_t half) const {
    return PanelOf<T>::DEPTH == 1 ? chunk_of(lines, line + half * CACHE_LINE)
                                  : from(lines, line, start * PanelOf<T>::DEPTH + half * depth);
  }
  int64_t elements() const { return smaller(depth * PanelOf<T>::DEPTH, p.k - start * PanelOf<T>::DEPTH); }

  // The rows of one row panel, packed or as they lie.
  struct RowPanel {
    int64_t row, count;
    LinesOf<Word> a;
    Tile<Word> wide, half;  // the tiles of two vectors of columns, and of one
  };
  RowPanel row_panel(int64_t i) const {
    const int64_t row = rows.start(i), count = rows.size(i);
    LinesOf<Word> a = {a_panel(i), 1, PANEL_ROWS};
    if (!packed) as_it_lies(chunk_of(p.a, row), elements(), &a);
    return {row, count, a, packed ? tile_of<Word, 2, true, TILE_ROWS>(count) : tile_of<Word, 2, false, TILE_ROWS>(count),
            packed ? tile_of<Word, 1, true, TILE_ROWS>(count) : tile_of<Word, 1, false, TILE_ROWS>(count)};
  }

  // One tile: adds the chunk's product, and finishes it after the last. Where the columns are so few that it is `narrow` the
  // tile is turned: rows of a are its columns then, and few lanes idle. `ahead` will be needed soon.
  void multiply(const RowPanel& panel, int64_t i, int64_t j, LinesOf<Word> b, bool narrow, Lines ahead) const {
    const auto [row, row_count, a, wide, half] = panel;
    const int64_t column = j * TILE_COLUMNS, columns = smaller(p.n - column, TILE_COLUMNS);
    const bool in_place = p.finish.plain && columns == TILE_COLUMNS;
    // Between chunks a tile waits in scratch; the one of an only chunk stays in L1.
    float* const z = only ? z_tiles : z_tiles + ((j - column_begin) * (row_end - row_begin) + i - row_begin) * TILE_SIZE;
    if (last && !in_place) fetch_ahead(p.finish, row, column, row_count, columns, !only);
    const Output out = in_place || (only && p.finish.y.data) ? output_of(p.finish, row, column) : output_at(z, TILE_COLUMNS);
    if (narrow) {
      float turned[(LANES / 2) * PANEL_ROWS];
      const Tile<Word> tile = tile_of<Word, PANEL_ROWS / LANES, false, LANES / 2>(columns);
      tile(depth, b, a, turned, PANEL_ROWS, false, along(a.data), out);
      for (int64_t r = 0; r < row_count; r++)
        for (int64_t c = 0; c < columns; c++) {
          float& to = z[r * TILE_COLUMNS + c];
          to = (first ? 0.0f : to) + turned[c * PANEL_ROWS + r];
        }
    } else {
      float* const to = in_place ? static_cast<float*>(p.finish.y.data) + row * p.finish.y.stride + column : z;
      (columns > LANES ? wide : half)(depth, a, b, to, in_place ? p.finish.y.stride : TILE_COLUMNS, !first, ahead, out);
    }
    if (last && !in_place) p.finish.apply(p.finish, z, TILE_COLUMNS, row, column, row_count, columns);
  }
};

// Row by row, with panels of b that all blocks share: so y and what else its rows need are touched along memory, and the
// panels come from L2. (Down the columns a cold y costs as much again as the product.)
template <typename T>
void by_rows(const Block<T>& block, const typename PanelOf<T>::Word* packed, int64_t first_panel) {
  const Product<T>& p = block.p;
  const int64_t words = divide_up(p.k, PanelOf<T>::DEPTH);
  const int64_t most = larger(1, SWEPT_BYTES / (4 * block.depth * TILE_COLUMNS));
  for (int64_t begin = block.column_begin; begin < block.column_end; begin += most) {
    const int64_t end = smaller(begin + most, block.column_end);
    for (int64_t i = block.row_begin; i < block.row_end; i++) {
      const auto rows = block.row_panel(i);
      for (int64_t j = begin; j < end; j++) {
        const LinesOf<typename PanelOf<T>::Word> b = {packed + ((j - first_panel) * words + block.start) * TILE_COLUMNS, 1,
                                                      TILE_COLUMNS};
        const bool narrow = p.n - j * TILE_COLUMNS <= LANES / 2;
        // The rows of a that come next are fetched during the first tile, the next panel of b during any other.
        Lines ahead = along(b.data + words * TILE_COLUMNS);
        if (!block.packed && j == begin) {
          ahead = ahead_of(block.chunk_of(p.a, block.rows.start(i + 1)));
          ahead.depth_stride = CACHE_LINE;
        }
        block.multiply(rows, i, j, b, narrow, ahead);
      }
    }
  }
}

// Column by column, each panel of b packed when its turn comes, or read as it lies.
template <typename T>
void by_columns(const Block<T>& block, typename PanelOf<T>::Word* b_panel) {
  const Product<T>& p = block.p;
  for (int64_t j = block.column_begin; j < block.column_end; j++) {
    const int64_t column = j * TILE_COLUMNS, columns = smaller(p.n - column, TILE_COLUMNS);
    const bool narrow = columns <= LANES / 2;
    const LinesOf<T> lines = block.chunk_of(p.b, column);
    const bool direct = narrow || (columns == TILE_COLUMNS && reads_columns(p));
    LinesOf<typename PanelOf<T>::Word> b = {b_panel, 1, TILE_COLUMNS};
    if (!direct || !as_it_lies(lines, block.elements(), &b)) pack(lines, columns, block.elements(), b_panel, TILE_COLUMNS);
    for (int64_t i = block.row_begin; i < block.row_end; i++) {
      // The next panel of b is fetched during the first two tiles, the next chunk of a during the last panel.
      Lines ahead = along(block.a_panel(i));
      if (j + 1 < block.column_end && i < block.row_begin + 2)
        ahead = ahead_of(block.half_of(p.b, column + TILE_COLUMNS, i - block.row_begin));
      else if (j + 1 == block.column_end && !block.last && p.a.line_stride == 1)
        ahead = ahead_of(from(p.a, block.rows.start(i), (block.start + block.depth) * PanelOf<T>::DEPTH));
      block.multiply(block.row_panel(i), i, j, b, narrow, ahead);
    }
  }
}

// One block of y. `packed` holds the group's panels of b, or is null.
template <typename T>
void multiply(const Product<T>& p, const Blocks& blocks, int64_t index, const typename PanelOf<T>::Word* packed, void* scratch) {
  typedef typename PanelOf<T>::Word Word;
  const int64_t row_block = index % blocks.row_blocks.parts, column_block = index / blocks.row_blocks.parts;
  const int64_t row_begin = blocks.row_blocks.start(row_block), row_end = blocks.row_blocks.start(row_block + 1);
  const int64_t column_begin = blocks.first_panel + blocks.column_blocks.start(column_block);
  const int64_t column_end = blocks.first_panel + blocks.column_blocks.start(column_block + 1);
  const int64_t chunks = blocks.depth.parts;
  Word *const a_panels = static_cast<Word*>(scratch), *const b_panel = a_panels + A_PANELS_SIZE;
  float* const z_tiles = static_cast<float*>(scratch) + A_PANELS_SIZE + B_PANEL_SIZE;
  const int64_t rest = p.n % TILE_COLUMNS;  // a turned tile needs a panel
  LinesOf<Word> lines;
  const bool reads_rows = packed && p.a.depth_stride == 1 && as_it_lies(p.a, p.k, &lines) && lines.line_stride % PAGE != 0 &&
                          (rest == 0 || rest > LANES / 2);
  for (int64_t chunk = 0; chunk < chunks; chunk++) {
    const int64_t start = blocks.depth.start(chunk), depth = blocks.depth.size(chunk);
    const Block<T> block = {p, blocks.rows, row_begin, row_end, column_begin, column_end, start, depth,
                         chunk == 0, chunk == chunks - 1, chunks == 1, !reads_rows, a_panels, z_tiles};
    for (int64_t i = row_begin; i < row_end && !reads_rows; i++) {
      // A panel is wider than its tile: lines of the next one fill it faster than zeros.
      const int64_t row = blocks.rows.start(i);
      pack(block.chunk_of(p.a, row), p.m - row, block.elements(), block.a_panel(i), PANEL_ROWS);
    }
    if (packed) by_rows(block, packed, blocks.first_panel);
    else by_columns(block, b_panel);
  }
}

template <typename T>
void blocked(const Call& call, const Product<T>& whole, int64_t batches) {
  typedef typename PanelOf<T>::Word Word;
  Context* const context = call.context;
  Word* const workspace = static_cast<Word*>(context->workspace);
  const int64_t words = divide_up(whole.k, PanelOf<T>::DEPTH);
  const int64_t panels = divide_up(whole.n, TILE_COLUMNS), panel_size = words * TILE_COLUMNS;
  const int64_t fitting = context->workspace_bytes / (4 * panel_size);
  const bool direct = reads_columns(whole), copied = whole.b.line_stride == 1 && PanelOf<T>::DEPTH == 1;
  const bool shared = batches == 1 && fitting > 0 && !direct && whole.m > (copied ? SHARING_ROWS : TRANSPOSING_ROWS);
  const Split groups = {panels, shared ? divide_up(panels, fitting) : 1};
  for (int64_t group = 0; group < groups.parts; group++) {
    const int64_t first = groups.start(group), count = groups.size(group);
    if (shared) {
      parallel(context, count, [&](int64_t j, int32_t) {
        const int64_t column = (first + j) * TILE_COLUMNS;
        pack(from(whole.b, column, 0), whole.n - column, whole.k, workspace + j * panel_size, TILE_COLUMNS);
      });
    }
    const Blocks blocks(whole.m, words, first, count, shared, direct);
    parallel(context, batches * blocks.count(), [&](int64_t index, int32_t worker) {
      multiply(product_of<T>(call, index / blocks.count()), blocks, index % blocks.count(), shared ? workspace : nullptr,
               context->scratch[worker]);
    });
  }
}

// Sums of b over K, if anybody reads them. Rows are read whole and in order: the product, which comes next, finds some in cache.
template <typename T>
void sum_columns(const Call& call, int64_t batches) {
  constexpr int64_t WIDTH = 128;
  float* const sums = floats(call.out[2]);
  if (!sums) return;
  const Operand& b = call.in[1];
  const int64_t k = b.shape[b.rank - 2], n = b.shape[b.rank - 1], pieces = divide_up(n, WIDTH);
  const int64_t row = b.stride[b.rank - 2], step = b.stride[b.rank - 1];
  parallel(call.context, batches * pieces, [&](int64_t index, int32_t) {
    const int64_t batch = index / pieces, column = index % pieces * WIDTH, columns = smaller(WIDTH, n - column);
    const T* const from = at_batch<T>(b, batch) + column * step;
    float* const to = sums + batch * n + column;
    if (step == 1) return sum_wide(from, k, row, columns, to);
    for (int64_t c = 0; c < columns; c++) {
      double total = 0;
      for (int64_t depth = 0; depth < k; depth++) total += widened(from[c * step + depth * row]);
      to[c] = static_cast<float>(total);
    }
  });
}

template <typename T>
void product(const Call& call) {
  const int64_t batches = extent_of(call.in[1], 0, call.in[1].rank - 2);
  if (batches == 0) return;
  sum_columns<T>(call, batches);
  if (!call.out[0].data && !call.out[1].data) return;
  const Product<T> whole = product_of<T>(call, 0);
  const bool streams = whole.b.line_stride == 1 || (whole.b.depth_stride == 1 && whole.a.depth_stride == 1);
  if (whole.m <= THIN_ROWS && streams) thin(call, whole, batches);
  else blocked(call, whole, batches);
}

}  // namespace

#if defined(__AVX512BF16__)
void matmul(const Call& call) { call.in[0].dtype == BF16 ? product<bf16>(call) : avx512::matmul(call); }
#else
void matmul(const Call& call) { call.in[0].dtype == BF16 ? product<bf16>(call) : product<float>(call); }
#endif

}  // namespace HEDDLE_ISA
}}  // namespace heddle::cpu
