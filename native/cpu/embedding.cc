// Rows of a table by token id and their gradient; ids as one-hot vectors; positions: sequences, sinusoids, rotary tables and rotations.
// Lookups move 8 bytes an element; the gradient reads dy once and writes the table once; sinusoids cost ~25 flops.
// All but the gradient are split by rows; that by pieces of the table, each of which looks through all ids and adds
// its rows in their order: no piece is written by two tasks, and neither sorting nor workspace is needed.
#include <math.h>

#include "kernels.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

template <typename T>
void look_up(const Call& call) {
  const int32_t* ids = integers(call.in[0]);
  const T* table = elements<T>(call.in[1]);
  T* y = elements<T>(call.out[0]);
  const int64_t vocabulary = call.in[1].shape[0], columns = call.in[1].shape[1];
  if (!y) return;
  parallel_ranges(call.context, size_of(call.in[0]), rows_per_task(columns), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t row = first; row < last; row++) {
      const int64_t id = ids[row];
      if (id >= 0 && id < vocabulary)
        memcpy(y + row * columns, table + id * columns, columns * sizeof(T));
      else
        memset(y + row * columns, 0, columns * sizeof(T));
    }
  });
}

template <typename T>
void add_rows(const Call& call) {
  const int32_t* ids = integers(call.in[0]);
  const T* dy = elements<T>(call.in[1]);
  const float* addend = floats(call.in[2]);
  float* dtable = floats(call.out[0]);
  const int64_t count = call.in[1].shape[0], columns = call.in[1].shape[1], vocabulary = call.out[0].shape[0];
  if (!dtable || vocabulary * columns == 0) return;

  // Up to eight pieces of columns, for small vocabularies; then pieces of the vocabulary of about 256 KB.
  const int64_t width = larger(32, divide_up(columns, 8 * 32) * 32), across = divide_up(columns, width);
  const int64_t height = larger(1, (64 << 10) / width), down = divide_up(vocabulary, height);
  parallel(call.context, across * down, [&](int64_t index, int32_t) {
    const int64_t column = index % across * width, length = smaller(width, columns - column);
    const int64_t start = index / across * height, rows = smaller(height, vocabulary - start);
    for (int64_t v = start; v < start + rows; v++) {
      float* to = dtable + v * columns + column;
      if (!addend)
        memset(to, 0, length * sizeof(float));
      else if (addend != dtable)
        memcpy(to, addend + v * columns + column, length * sizeof(float));
    }
    const auto inside = [&](int32_t id) {
      return static_cast<uint32_t>(id) - static_cast<uint32_t>(start) < static_cast<uint32_t>(rows);
    };
    constexpr int64_t GROUP = 64;  // ids looked at together: most pieces of a large table have none of them
    for (int64_t group = 0; group < count; group += GROUP) {
      const int64_t end = smaller(count, group + GROUP);
      uint32_t any = 0;
      for (int64_t n = group; n < end; n++) any |= inside(ids[n]);
      if (!any) continue;
      for (int64_t n = group; n < end; n++) {
        if (!inside(ids[n])) continue;
        const T* from = dy + n * columns + column;
        float* to = dtable + ids[n] * columns + column;
        for_vectors(length,
                    [&](int64_t i, int lanes) { put(to + i, fetch(to + i, lanes) + fetch(from + i, lanes), lanes); });
      }
    }
  });
}

}  // namespace

void embedding(const Call& call) {
  with_type(call.in[1], [&](auto type) { look_up<decltype(type)>(call); });
}
void embedding_backward(const Call& call) {
  with_type(call.in[1], [&](auto type) { add_rows<decltype(type)>(call); });
}

void one_hot(const Call& call) {
  const int32_t* ids = integers(call.in[0]);
  const int64_t columns = columns_of(call.out[0]);
  if (!call.out[0].data) return;
  with_type(call.out[0], [&](auto type) {
    typedef decltype(type) T;
    T* y = elements<T>(call.out[0]);
    parallel_ranges(call.context, size_of(call.in[0]), rows_per_task(columns),
                    [&](int64_t first, int64_t last, int32_t) {
                      memset(y + first * columns, 0, (last - first) * columns * sizeof(T));
                      for (int64_t row = first; row < last; row++) {
                        if (ids[row] >= 0 && ids[row] < columns) set(y[row * columns + ids[row]], 1.0f);
                      }
                    });
  });
}

void positions(const Call& call) {
  const int32_t* starts = integers(call.in[0]);
  int32_t* y = integers(call.out[0]);
  const int64_t length = columns_of(call.out[0]);
  if (!y) return;
  parallel_ranges(call.context, rows_of(call.out[0]), rows_per_task(length), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t row = first; row < last; row++) {
      // Unsigned: a start near the largest integer wraps, as in the other backends.
      for (int64_t t = 0; t < length; t++) {
        y[row * length + t] = static_cast<int32_t>(static_cast<uint32_t>(starts[row]) + static_cast<uint32_t>(t));
      }
    }
  });
}

void arange(const Call& call) {
  int32_t* y = integers(call.out[0]);
  if (!y) return;
  for (int64_t i = 0; i < columns_of(call.out[0]); i++) y[i] = static_cast<int32_t>(i);
}

namespace {

// Sine and cosine of an angle in float64: reduced to [-pi/4, pi/4] there, then by Taylor polynomials of degree 9 and
// 10 (error below 2e-9), in a form that the compiler turns into vectors.
HEDDLE_INLINE void sine_and_cosine(double angle, float* sine, float* cosine) {
  const double magic = 0x1.8p52;  // adding it rounds to an integer, which then stands in the low bits
  const double shifted = angle * 0.6366197723675814 + magic, turns = shifted - magic;
  const double r = angle - turns * 1.5707963267948966 - turns * 6.123233995736766e-17, u = r * r;
  int64_t quarter;
  memcpy(&quarter, &shifted, sizeof quarter);
  const double s = r * (1 + u * (-1.0 / 6 + u * (1.0 / 120 + u * (-1.0 / 5040 + u * (1.0 / 362880)))));
  const double c = 1 + u * (-0.5 + u * (1.0 / 24 + u * (-1.0 / 720 + u * (1.0 / 40320 + u * (-1.0 / 3628800)))));
  const double a = quarter & 1 ? c : s, b = quarter & 1 ? s : c;
  *sine = static_cast<float>(quarter & 2 ? -a : a);
  *cosine = static_cast<float>((quarter + 1) & 2 ? -b : b);
}

// visit(row, i, count, sine, cosine): both for the angles positions[row] * base^(-2 j / size) with i <= j < i + count.
template <typename Visit>
void for_angles(const Call& call, int64_t half, double base, double size, const Visit& visit) {
  constexpr int64_t WIDTH = 256, HEIGHT = 64;
  const int32_t* positions = integers(call.in[0]);
  const int64_t rows = size_of(call.in[0]), across = divide_up(half, WIDTH), down = divide_up(rows, HEIGHT);
  parallel(call.context, across * down, [&](int64_t index, int32_t) {
    const int64_t start = index % across * WIDTH, count = smaller(WIDTH, half - start);
    double frequency[WIDTH];
    for (int64_t i = 0; i < count; i++) frequency[i] = pow(base, -2.0 * static_cast<double>(start + i) / size);
    float sine[WIDTH], cosine[WIDTH];
    const int64_t first = index / across * HEIGHT, last = smaller(rows, first + HEIGHT);
    for (int64_t row = first; row < last; row++) {
      const double position = positions[row];
      for (int64_t i = 0; i < count; i++) sine_and_cosine(position * frequency[i], sine + i, cosine + i);
      visit(row, start, count, sine, cosine);
    }
  });
}

}  // namespace

void sinusoidal(const Call& call) {
  float* y = floats(call.out[0]);
  const int64_t columns = columns_of(call.out[0]);
  if (!y) return;
  for_angles(call, divide_up(columns, 2), 10000.0, static_cast<double>(columns),
             [&](int64_t row, int64_t start, int64_t count, const float* sine, const float* cosine) {
               float* to = y + row * columns + 2 * start;
               for (int64_t i = 0; i < count; i++) {
                 to[2 * i] = sine[i];
                 if (2 * (start + i) + 1 < columns) to[2 * i + 1] = cosine[i];
               }
             });
}

void rotary_table(const Call& call) {
  float *cos = floats(call.out[0]), *sin = floats(call.out[1]);
  const int64_t half = columns_of(call.out[0]);
  const double theta = attributes_of<RotaryTableAttributes>(call).theta;
  for_angles(call, half, theta, 2.0 * static_cast<double>(half),
             [&](int64_t row, int64_t start, int64_t count, const float* sine, const float* cosine) {
               if (cos) memcpy(cos + row * half + start, cosine, count * sizeof(float));
               if (sin) memcpy(sin + row * half + start, sine, count * sizeof(float));
             });
}

namespace {

// y1 = x1 cos - x2 sin, y2 = x2 cos + x1 sin on the first and second half of a head (Su et al. 2021, eq. 34, in the
// order of Llama); elements past twice the table's extent pass unchanged. y may lie on x.
template <typename T>
void rotate(const Call& call) {
  const Operand &x = call.in[0], &cos = call.in[1], &sin = call.in[2], &y = call.out[0];
  if (!y.data) return;
  const int64_t batch = x.shape[0], length = x.shape[1], heads = x.shape[2], size = x.shape[3];
  const int64_t half = smaller(cos.shape[2], size / 2);
  const float sign = attributes_of<RotaryAttributes>(call).inverse ? -1.0f : 1.0f;
  const int64_t cos_step = cos.stride[2], sin_step = sin.stride[2];
  parallel_ranges(call.context, batch * length, rows_per_task(heads * size), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t index = first; index < last; index++) {
      const int64_t b = index / length, t = index % length;
      const float* c = floats(cos) + b * cos.stride[0] + t * cos.stride[1];
      const float* s = floats(sin) + b * sin.stride[0] + t * sin.stride[1];
      for (int64_t head = 0; head < heads; head++) {
        const T* from = elements<T>(x) + b * x.stride[0] + t * x.stride[1] + head * x.stride[2];
        T* to = elements<T>(y) + b * y.stride[0] + t * y.stride[1] + head * y.stride[2];
        if (cos_step == 1 && sin_step == 1) {
          for_vectors(half, [&](int64_t i, int lanes) {
            const Vector a = fetch(from + i, lanes), d = fetch(from + half + i, lanes);
            const Vector cosine = fetch(c + i, lanes), sine = fetch(s + i, lanes) * sign;
            put(to + i, a * cosine - d * sine, lanes);
            put(to + half + i, d * cosine + a * sine, lanes);
          });
        } else {
          for (int64_t i = 0; i < half; i++) {
            const float a = widened(from[i]), d = widened(from[half + i]), cosine = c[i * cos_step], sine = s[i * sin_step] * sign;
            set(to[i], a * cosine - d * sine);
            set(to[half + i], d * cosine + a * sine);
          }
        }
        if (to != from)
          for (int64_t i = 2 * half; i < size; i++) to[i] = from[i];
      }
    }
  });
}

}  // namespace

void rotary(const Call& call) {
  with_type(call.in[0], [&](auto type) { rotate<decltype(type)>(call); });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
