// Copies between layouts, casts between float32 and bf16, and constants.
// Reads and writes each element once: 4 to 8 bytes (half for fill), no flops.
// Axes are put in the order of the output's strides and merged; a task is some rows, or some tiles of 32 x 32 elements
// where the input runs along another axis than the output: tiles keep the cache lines of both sides in use.
#include "kernels.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t TILE = 32;

// The axes of an output and of an input walked with it, in descending order of the output's strides.
struct Walk {
  int rank = 0;
  int64_t shape[MAX_RANK], to[MAX_RANK], from[MAX_RANK];

  Walk(const Operand& output, const Operand& input) {
    for (int axis = 0; axis < output.rank; axis++) {
      if (output.shape[axis] == 1) continue;
      int place = rank++;
      for (; place > 0 && to[place - 1] < output.stride[axis]; place--) move(place, place - 1);
      shape[place] = output.shape[axis], to[place] = output.stride[axis], from[place] = input.stride[axis];
    }
    int kept = 0;
    for (int axis = 1; axis < rank; axis++) {
      if (to[kept] == to[axis] * shape[axis] && from[kept] == from[axis] * shape[axis]) {
        shape[kept] *= shape[axis], to[kept] = to[axis], from[kept] = from[axis];
      } else {
        move(++kept, axis);
      }
    }
    if (rank == 0) shape[0] = 1, to[0] = 1, from[0] = 1;
    rank = rank == 0 ? 1 : kept + 1;
  }
  void move(int place, int axis) { shape[place] = shape[axis], to[place] = to[axis], from[place] = from[axis]; }

  void swap(int a, int b) {
    const int64_t old[3] = {shape[a], to[a], from[a]};
    move(a, b);
    shape[b] = old[0], to[b] = old[1], from[b] = old[2];
  }
  // Both offsets of the flattened index of the first `axes` axes.
  void offsets(int64_t index, int axes, int64_t* to_offset, int64_t* from_offset) const {
    for (int axis = axes - 1; axis >= 0; axis--) {
      *to_offset += index % shape[axis] * to[axis];
      *from_offset += index % shape[axis] * from[axis];
      index /= shape[axis];
    }
  }
  int64_t count(int axes) const {
    int64_t product = 1;
    for (int axis = 0; axis < axes; axis++) product *= shape[axis];
    return product;
  }
};

template <typename T>
void copy_row(const T* from, int64_t from_stride, T* to, int64_t to_stride, int64_t count) {
  if (from_stride == 1 && to_stride == 1)
    memcpy(to, from, count * sizeof(T));
  else
    for (int64_t i = 0; i < count; i++) to[i * to_stride] = from[i * from_stride];
}

template <typename T>
void copy_rows(Context* context, const Walk& walk, const T* x, T* y) {
  const int inner = walk.rank - 1;
  const int64_t columns = walk.shape[inner], width = smaller(columns, TASK_ELEMENTS),
                pieces = columns == 0 ? 0 : divide_up(columns, width);
  parallel_ranges(context, walk.count(inner) * pieces, rows_per_task(width), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t index = first; index < last; index++) {
      const int64_t start = index % pieces * width;
      int64_t to = start * walk.to[inner], from = start * walk.from[inner];
      walk.offsets(index / pieces, inner, &to, &from);
      copy_row(x + from, walk.from[inner], y + to, walk.to[inner], smaller(width, columns - start));
    }
  });
}

// The last axis is the output's fastest, the one before it the input's; UNIT says that both strides are 1 there.
template <bool UNIT, typename T>
void copy_tiles(Context* context, const Walk& walk, const T* x, T* y) {
  const int inner = walk.rank - 1, other = walk.rank - 2;
  const int64_t across = divide_up(walk.shape[inner], TILE), down = divide_up(walk.shape[other], TILE);
  parallel_ranges(context, walk.count(other) * down * across, TASK_ELEMENTS / (TILE * TILE),
                  [&](int64_t first, int64_t last, int32_t) {
                    for (int64_t index = first; index < last; index++) {
                      const int64_t column = index % across * TILE, row = index / across % down * TILE;
                      const int64_t width = smaller(TILE, walk.shape[inner] - column),
                                    height = smaller(TILE, walk.shape[other] - row);
                      int64_t to = row * walk.to[other] + column * walk.to[inner],
                              from = row * walk.from[other] + column * walk.from[inner];
                      walk.offsets(index / across / down, other, &to, &from);
                      const int64_t from_step = UNIT ? 1 : walk.from[other], to_step = UNIT ? 1 : walk.to[inner];
                      // Read along the input, then write along the output.
                      T tile[TILE][TILE + 1];
                      for (int64_t j = 0; j < width; j++) {
                        for (int64_t i = 0; i < height; i++)
                          tile[i][j] = x[from + j * walk.from[inner] + i * from_step];
                      }
                      for (int64_t i = 0; i < height; i++) {
                        for (int64_t j = 0; j < width; j++) y[to + i * walk.to[other] + j * to_step] = tile[i][j];
                      }
                    }
                  });
}

// Elements are moved, not computed with: T only has their size.
template <typename T>
void copy_elements(const Call& call) {
  const T* x = elements<T>(call.in[0]);
  T* y = elements<T>(call.out[0]);
  Walk walk(call.out[0], call.in[0]);
  const int inner = walk.rank - 1;
  int fastest = inner;
  for (int axis = 0; axis < inner; axis++) {
    if (walk.from[axis] != 0 && walk.from[axis] < walk.from[fastest]) fastest = axis;
  }
  if (fastest == inner || walk.from[inner] == 0) return copy_rows(call.context, walk, x, y);
  walk.swap(fastest, inner - 1);
  if (walk.from[inner - 1] == 1 && walk.to[inner] == 1)
    copy_tiles<true>(call.context, walk, x, y);
  else
    copy_tiles<false>(call.context, walk, x, y);
}

template <typename T>
void fill_elements(const Call& call) {
  T* y = elements<T>(call.out[0]);
  T value;
  set(value, attributes_of<FillAttributes>(call).value);
  const Walk walk(call.out[0], call.out[0]);
  const int inner = walk.rank - 1;
  const int64_t columns = walk.shape[inner], width = smaller(columns, TASK_ELEMENTS),
                pieces = divide_up(columns, width);
  parallel_ranges(call.context, walk.count(inner) * pieces, rows_per_task(width),
                  [&](int64_t first, int64_t last, int32_t) {
                    for (int64_t index = first; index < last; index++) {
                      const int64_t start = index % pieces * width;
                      int64_t to = start * walk.to[inner], from = 0;
                      walk.offsets(index / pieces, inner, &to, &from);
                      copy_row(&value, 0, y + to, walk.to[inner], smaller(width, columns - start));
                    }
                  });
}

}  // namespace

void copy(const Call& call) {
  if (!call.out[0].data || size_of(call.in[0]) == 0) return;
  if (call.in[0].dtype == BF16) copy_elements<bf16>(call);
  else copy_elements<float>(call);
}

void fill(const Call& call) {
  if (!call.out[0].data || size_of(call.out[0]) == 0) return;
  with_type(call.out[0], [&](auto type) { fill_elements<decltype(type)>(call); });
}

void cast(const Call& call) {
  if (!call.out[0].data) return;
  with_type(call.in[0], [&](auto from) {
    with_type(call.out[0], [&](auto to) {
      const auto* x = elements<decltype(from)>(call.in[0]);
      auto* y = elements<decltype(to)>(call.out[0]);
      parallel_ranges(call.context, size_of(call.in[0]), TASK_ELEMENTS, [&](int64_t first, int64_t last, int32_t) {
        for_vectors(last - first, [&](int64_t i, int lanes) { put(y + first + i, fetch(x + first + i, lanes), lanes); });
      });
    });
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
