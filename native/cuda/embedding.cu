// Rows of a table by token id and their gradient; ids as one-hot vectors; positions: sequences, sinusoids, rotary tables and rotations.
// Lookups move 8 bytes an element; the gradient reads dy once and writes the table once.
// The gradient sorts the tokens by id, stably and so the same every time, by a radix sort of 8 bits a pass; then a block for
// each id and 128 columns finds its tokens by bisection and adds their rows in order: no atomics on floats.
#include "device.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr int DIGITS = 256, DIGIT_BITS = 8;
static_assert(DIGITS == THREADS, "a thread for each digit");
constexpr int64_t CHUNK = 1024;  // tokens that a block sorts
constexpr int COLUMNS = 128;     // of a block that adds rows

template <typename T>
__global__ void look_up(const int32_t* ids, const T* table, T* y, int64_t count, int64_t vocabulary, int64_t columns) {
  for_elements(count * columns, [&](int64_t i) {
    const int64_t id = ids[i / columns];
    y[i] = id >= 0 && id < vocabulary ? table[id * columns + i % columns] : T{};
  });
}

template <typename T>
__global__ void write_one_hot(const int32_t* ids, T* y, int64_t count, int64_t columns) {
  for_elements(count * columns, [&](int64_t i) { set(y[i], ids[i / columns] == i % columns ? 1.0f : 0.0f); });
}

// ---- tokens in the order of their ids; those that are no id come last

__global__ void number_tokens(const int32_t* ids, uint32_t* keys, int32_t* tokens, int64_t count, uint32_t vocabulary) {
  for_elements(count, [&](int64_t i) {
    keys[i] = uint32_t(ids[i]) < vocabulary ? uint32_t(ids[i]) : vocabulary;
    tokens[i] = int32_t(i);
  });
}

// counts[digit][chunk]
__global__ void count_digits(const uint32_t* keys, int64_t count, int shift, int32_t* counts) {
  SHARED_ARRAY(int32_t, found, [DIGITS]);
  found[threadIdx.x] = 0;
  __syncthreads();
  const int64_t start = blockIdx.x * CHUNK;
  for (int64_t i = start + threadIdx.x; i < start + CHUNK && i < count; i += THREADS)
    atomicAdd(&found[keys[i] >> shift & (DIGITS - 1)], 1);
  __syncthreads();
  counts[int64_t(threadIdx.x) * gridDim.x + blockIdx.x] = found[threadIdx.x];
}

// Counts become the places where each digit of each chunk begins. One block, a thread for each digit.
__global__ void place_digits(int32_t* counts, int64_t chunks) {
  SHARED_ARRAY(int32_t, totals, [DIGITS]);
  int32_t* const own = counts + threadIdx.x * chunks;
  int32_t total = 0;
  for (int64_t chunk = 0; chunk < chunks; chunk++) total += own[chunk];
  totals[threadIdx.x] = total;
  __syncthreads();
  int32_t place = 0;
  for (int digit = 0; digit < int(threadIdx.x); digit++) place += totals[digit];
  for (int64_t chunk = 0; chunk < chunks; chunk++) {
    const int32_t found = own[chunk];
    own[chunk] = place;
    place += found;
  }
}

// Moves the tokens of a chunk to their places, in rounds of a token a thread, so that equal digits keep their order.
__global__ void move_tokens(const uint32_t* keys, const int32_t* tokens, int64_t count, int shift, const int32_t* places,
                            uint32_t* keys_to, int32_t* tokens_to) {
  SHARED_ARRAY(int32_t, next, [DIGITS]);
  SHARED_ARRAY(uint32_t, digits, [THREADS]);
  const int own = threadIdx.x;
  next[own] = places[int64_t(own) * gridDim.x + blockIdx.x];
  const int64_t start = blockIdx.x * CHUNK;
  for (int64_t round = start; round < start + CHUNK && round < count; round += THREADS) {
    const int64_t i = round + own;
    const bool exists = i < count;
    const uint32_t key = exists ? keys[i] : 0, digit = exists ? key >> shift & (DIGITS - 1) : uint32_t(DIGITS);
    digits[own] = digit;
    __syncthreads();
    int32_t before = 0, after = 0;
    for (int other = 0; other < THREADS; other++) {
      const bool same = digits[other] == digit;
      before += same && other < own;
      after += same && other > own;
    }
    if (exists) {
      const int32_t place = next[digit] + before;
      keys_to[place] = key;
      tokens_to[place] = tokens[i];
    }
    __syncthreads();
    if (exists && after == 0) next[digit] += before + 1;
    __syncthreads();
  }
}

// The first of the sorted keys that is not less than `key`.
HEDDLE_DEVICE int64_t first_not_less(const uint32_t* keys, int64_t count, uint32_t key) {
  int64_t low = 0, high = count;
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (keys[middle] < key) low = middle + 1;
    else high = middle;
  }
  return low;
}

template <typename T>
__global__ void add_rows(const uint32_t* keys, const int32_t* tokens, int64_t count, const T* dy, const float* addend,
                         float* dtable, int64_t columns, int64_t tiles) {
  const int64_t id = blockIdx.x / tiles, column = blockIdx.x % tiles * COLUMNS + threadIdx.x;
  if (column >= columns) return;
  const int64_t begin = first_not_less(keys, count, uint32_t(id)), end = first_not_less(keys, count, uint32_t(id) + 1);
  float sum = addend ? addend[id * columns + column] : 0.0f;
#pragma unroll 4
  for (int64_t i = begin; i < end; i++) sum += widened(dy[tokens[i] * columns + column]);
  dtable[id * columns + column] = sum;
}

int passes_for(int64_t vocabulary) {
  int passes = 1;
  while (vocabulary >> (passes * DIGIT_BITS)) passes++;
  return passes;
}

// ---- positions

__global__ void write_positions(const int32_t* starts, int32_t* y, int64_t length, int64_t count) {
  // Unsigned: a start near the largest integer wraps, as in the other backends.
  for_elements(count, [&](int64_t i) { y[i] = int32_t((starts ? uint32_t(starts[i / length]) : 0) + uint32_t(i % length)); });
}

// The angle position * base^(-2 j / size), in float64: float32 would lose it at far positions.
HEDDLE_DEVICE double angle_of(int32_t position, int64_t j, double size, double base) {
  return position * pow(base, -2.0 * double(j) / size);
}

__global__ void write_sinusoids(const int32_t* positions, float* y, int64_t columns, int64_t count) {
  for_elements(count, [&](int64_t i) {
    const int64_t column = i % columns;
    const double angle = angle_of(positions[i / columns], column / 2, double(columns), 10000.0);
    y[i] = float(column % 2 == 0 ? sin(angle) : cos(angle));
  });
}

__global__ void write_rotary_table(const int32_t* positions, float* cosine, float* sine, int64_t half, int64_t count,
                                   double theta) {
  for_elements(count, [&](int64_t i) {
    const double angle = angle_of(positions[i / half], i % half, 2.0 * double(half), theta);
    if (cosine) cosine[i] = float(cos(angle));
    if (sine) sine[i] = float(sin(angle));
  });
}

// A thread turns a pair of elements, or passes one on that lies past twice the table's extent. y may lie on x.
template <typename T>
__global__ void rotate(Operand x, Operand cosines, Operand sines, Operand y, int64_t half, float sign, int64_t count) {
  const int64_t length = x.shape[1], heads = x.shape[2], each = x.shape[3] - half;
  for_elements(count, [&](int64_t index) {
    const int64_t i = index % each, h = index / each % heads, t = index / each / heads % length,
                  b = index / each / heads / length;
    const T* from = data_of<T>(x) + b * x.stride[0] + t * x.stride[1] + h * x.stride[2];
    T* to = data_of<T>(y) + b * y.stride[0] + t * y.stride[1] + h * y.stride[2];
    if (i >= half) {
      to[half + i] = from[half + i];
      return;
    }
    const float c = data_of<float>(cosines)[b * cosines.stride[0] + t * cosines.stride[1] + i * cosines.stride[2]];
    const float s = data_of<float>(sines)[b * sines.stride[0] + t * sines.stride[1] + i * sines.stride[2]] * sign;
    const float first = widened(from[i]), second = widened(from[half + i]);
    set(to[i], first * c - second * s);
    set(to[half + i], second * c + first * s);
  });
}

const int32_t* integers(const Operand& operand) { return static_cast<const int32_t*>(operand.data); }
float* floats(const Operand& operand) { return static_cast<float*>(operand.data); }

}  // namespace

Status embedding(const Call& call, Stream stream) {
  const int64_t count = size_of(call.in[0]), columns = call.in[1].shape[1];
  if (!call.out[0].data || count * columns == 0) return cudaSuccess;
  return with_type(call.in[1], [&](auto type) {
    typedef decltype(type) T;
    return launch(look_up<T>, blocks_for(count * columns), dim3(THREADS), 0, stream, integers(call.in[0]),
                  static_cast<const T*>(call.in[1].data), static_cast<T*>(call.out[0].data), count, call.in[1].shape[0],
                  columns);
  });
}

// Keys and tokens twice, and the counts of digits.
int64_t embedding_backward_workspace(const Call& call) {
  const int64_t count = call.in[1].shape[0];
  return (4 * count + DIGITS * divide_up(count, CHUNK)) * int64_t(sizeof(int32_t));
}

Status embedding_backward(const Call& call, Stream stream) {
  const int64_t count = call.in[1].shape[0], columns = call.in[1].shape[1], vocabulary = call.out[0].shape[0];
  if (!call.out[0].data || vocabulary * columns == 0) return cudaSuccess;
  uint32_t* keys = static_cast<uint32_t*>(call.context->workspace);
  uint32_t* other_keys = keys + count;
  int32_t* tokens = reinterpret_cast<int32_t*>(other_keys + count);
  int32_t* other_tokens = tokens + count;
  int32_t* const counts = other_tokens + count;
  const int64_t chunks = divide_up(count, CHUNK);
  if (count > 0) {
    Status status = launch(number_tokens, blocks_for(count), dim3(THREADS), 0, stream, integers(call.in[0]), keys, tokens,
                           count, uint32_t(vocabulary));
    for (int pass = 0; pass < passes_for(vocabulary) && status == cudaSuccess; pass++) {
      const int shift = pass * DIGIT_BITS;
      const dim3 blocks = dim3(unsigned(chunks)), threads = dim3(THREADS);
      status = launch(count_digits, blocks, threads, 0, stream, keys, count, shift, counts);
      if (status == cudaSuccess) status = launch(place_digits, dim3(1), threads, 0, stream, counts, chunks);
      if (status == cudaSuccess)
        status = launch(move_tokens, blocks, threads, 0, stream, keys, tokens, count, shift, counts, other_keys, other_tokens);
      uint32_t* const moved_keys = other_keys;
      int32_t* const moved_tokens = other_tokens;
      other_keys = keys, other_tokens = tokens;
      keys = moved_keys, tokens = moved_tokens;
    }
    if (status != cudaSuccess) return status;
  }
  const int64_t tiles = divide_up(columns, COLUMNS);
  return with_type(call.in[1], [&](auto type) {
    typedef decltype(type) T;
    return launch(add_rows<T>, dim3(unsigned(vocabulary * tiles)), dim3(COLUMNS), 0, stream, keys, tokens, count,
                  static_cast<const T*>(call.in[1].data), floats(call.in[2]), floats(call.out[0]), columns, tiles);
  });
}

Status one_hot(const Call& call, Stream stream) {
  const int64_t count = size_of(call.in[0]), columns = columns_of(call.out[0]);
  if (!call.out[0].data || count * columns == 0) return cudaSuccess;
  return with_type(call.out[0], [&](auto type) {
    typedef decltype(type) T;
    return launch(write_one_hot<T>, blocks_for(count * columns), dim3(THREADS), 0, stream, integers(call.in[0]),
                  static_cast<T*>(call.out[0].data), count, columns);
  });
}

Status positions(const Call& call, Stream stream) {
  const int64_t count = size_of(call.out[0]);
  if (!call.out[0].data || count == 0) return cudaSuccess;
  return launch(write_positions, blocks_for(count), dim3(THREADS), 0, stream, integers(call.in[0]),
                static_cast<int32_t*>(call.out[0].data), columns_of(call.out[0]), count);
}

Status arange(const Call& call, Stream stream) {
  const int64_t count = size_of(call.out[0]);
  if (!call.out[0].data || count == 0) return cudaSuccess;
  return launch(write_positions, blocks_for(count), dim3(THREADS), 0, stream, nullptr,
                static_cast<int32_t*>(call.out[0].data), count, count);
}

Status sinusoidal(const Call& call, Stream stream) {
  const int64_t count = size_of(call.out[0]);
  if (!call.out[0].data || count == 0) return cudaSuccess;
  return launch(write_sinusoids, blocks_for(count), dim3(THREADS), 0, stream, integers(call.in[0]), floats(call.out[0]),
                columns_of(call.out[0]), count);
}

Status rotary_table(const Call& call, Stream stream) {
  const int64_t count = size_of(call.out[0]);
  if (count == 0) return cudaSuccess;
  return launch(write_rotary_table, blocks_for(count), dim3(THREADS), 0, stream, integers(call.in[0]), floats(call.out[0]),
                floats(call.out[1]), columns_of(call.out[0]), count,
                double(attributes_of<RotaryTableAttributes>(call).theta));
}

Status rotary(const Call& call, Stream stream) {
  const Operand &x = call.in[0], &cosines = call.in[1], &y = call.out[0];
  if (!y.data || size_of(x) == 0) return cudaSuccess;
  const int64_t size = x.shape[3], half = cosines.shape[2] < size / 2 ? cosines.shape[2] : size / 2;
  const int64_t count = x.shape[0] * x.shape[1] * x.shape[2] * (size - half);
  const float sign = attributes_of<RotaryAttributes>(call).inverse ? -1.0f : 1.0f;
  return with_type(x, [&](auto type) {
    return launch(rotate<decltype(type)>, blocks_for(count), dim3(THREADS), 0, stream, x, cosines, call.in[2], y, half, sign,
                  count);
  });
}

}}  // namespace heddle::cuda
