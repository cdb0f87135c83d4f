// Layer normalisation and RMS normalisation of rows, with the residual sum before them, and their gradients.
// Forward moves 8 to 16 bytes an element, in bf16 half of it (x, residual, y, sum) with 6 to 8 flops; backward 12 to 16 with 10 to 14.
// Forward: tasks of whole rows; a row is read again from cache for its mean, its variance and its output. Backward: at
// most 32 blocks of rows with column sums of their own, added in their order, so that threads change nothing.
#include "kernels.h"
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t ROW_BLOCKS = 32;  // src/ops/norm.ts sizes the workspace for as many

template <typename T>
struct Forward {
  const T* x;
  const float *weight, *bias;
  const T* residual;
  T* y;
  float *mean, *rstd;
  T* sum;
  float epsilon;
};

// y may lie on x or residual, and so may sum: each vector is read before anything is written over it. What is normalised is the sum as
// it is kept, so that y can be made again from there.
template <bool CENTRED, bool RESIDUAL, typename T>
void normalise_row(const Forward<T>& f, int64_t row, int64_t columns) {
  const T* x = f.x + row * columns;
  const T* residual = RESIDUAL ? f.residual + row * columns : nullptr;
  const auto value = [&](int64_t i, int lanes) {
    return RESIDUAL ? rounded<T>(fetch(x + i, lanes) + fetch(residual + i, lanes)) : fetch(x + i, lanes);
  };
  const float count = static_cast<float>(columns);
  float mean = 0;
  if (CENTRED) mean = blocked_sum(columns, value) / count;
  const float squares = blocked_sum(columns, [&](int64_t i, int lanes) {
    if (!CENTRED) {
      const Vector v = value(i, lanes);
      return v * v;
    }
    // Lanes beyond the end hold 0 and not the mean: they are put back to 0 after the subtraction.
    Vector v = value(i, lanes) - mean;
    if (lanes < LANES) {
      float lane[LANES];
      store(lane, v);
      v = load_first(lane, lanes);
    }
    return v * v;
  });
  const float rstd = 1.0f / __builtin_sqrtf(squares / count + f.epsilon);
  T* y = f.y ? f.y + row * columns : nullptr;
  T* sum = f.sum ? f.sum + row * columns : nullptr;
  for_vectors(columns, [&](int64_t i, int lanes) {
    const Vector v = value(i, lanes);
    if (sum) put(sum + i, v, lanes);
    if (!y) return;
    Vector z = (CENTRED ? v - mean : v) * rstd * fetch(f.weight + i, lanes);
    if (f.bias) z += fetch(f.bias + i, lanes);
    put(y + i, z, lanes);
  });
  if (f.mean) f.mean[row] = mean;
  if (f.rstd) f.rstd[row] = rstd;
}

template <bool CENTRED, typename T>
void normalise(const Call& call, const Forward<T>& f) {
  const int64_t columns = columns_of(call.in[0]);
  parallel_ranges(call.context, rows_of(call.in[0]), rows_per_task(columns), [&](int64_t first, int64_t last, int32_t) {
    for (int64_t row = first; row < last; row++) {
      if (f.residual)
        normalise_row<CENTRED, true>(f, row, columns);
      else
        normalise_row<CENTRED, false>(f, row, columns);
    }
  });
}

template <typename T>
struct Backward {
  const T* x;
  const float *weight, *mean, *rstd;
  const T *dy, *dsum;
  T* dx;
  float *dweight, *dbias;
};

// With h = (x - mean) rstd and g = dy weight:  dx = rstd (g - average(g) - h average(g h)), without average(g) where
// the mean was not taken out (Ba et al. 2016; Zhang & Sennrich 2019). dx may lie on dy or dsum.
template <bool CENTRED, typename T>
void row_gradient(const Backward<T>& b, int64_t row, int64_t columns, float* dweight, float* dbias) {
  const T *x = b.x + row * columns, *dy = b.dy + row * columns;
  const T* dsum = b.dsum ? b.dsum + row * columns : nullptr;
  T* dx = b.dx ? b.dx + row * columns : nullptr;
  const float mean = CENTRED ? b.mean[row] : 0.0f, rstd = b.rstd[row], share = 1.0f / static_cast<float>(columns);
  float along = 0, level = 0;
  if (dx) {
    Vector products = {}, sums = {};
    for_vectors(columns, [&](int64_t i, int lanes) {  // g is 0 beyond the end
      const Vector g = fetch(dy + i, lanes) * fetch(b.weight + i, lanes);
      products += g * (fetch(x + i, lanes) - mean);
      if (CENTRED) sums += g;
    });
    along = sum_of(products) * rstd * share;
    level = CENTRED ? sum_of(sums) * share : 0.0f;
  }
  for_vectors(columns, [&](int64_t i, int lanes) {
    const Vector d = fetch(dy + i, lanes), h = (fetch(x + i, lanes) - mean) * rstd;
    if (dx) {
      Vector gradient = (d * fetch(b.weight + i, lanes) - level - h * along) * rstd;
      if (dsum) gradient += fetch(dsum + i, lanes);
      put(dx + i, gradient, lanes);
    }
    if (dweight) put(dweight + i, fetch(dweight + i, lanes) + d * h, lanes);
    if (CENTRED && dbias) put(dbias + i, fetch(dbias + i, lanes) + d, lanes);
  });
}

template <bool CENTRED, typename T>
void gradient(const Call& call, const Backward<T>& b) {
  const int64_t columns = columns_of(call.in[0]), rows = rows_of(call.in[0]);
  const int64_t wanted = divide_up(rows, rows_per_task(columns));
  const int64_t height = larger(1, divide_up(rows, larger(1, smaller(ROW_BLOCKS, wanted)))),
                blocks = divide_up(rows, height);
  float* partial = static_cast<float*>(call.context->workspace);  // [dweight, dbias][block][column]
  const bool sums = b.dweight || b.dbias;

  parallel(call.context, blocks, [&](int64_t block, int32_t) {
    float* dweight = b.dweight ? partial + block * columns : nullptr;
    float* dbias = b.dbias ? partial + (blocks + block) * columns : nullptr;
    if (dweight) memset(dweight, 0, columns * sizeof(float));
    if (dbias) memset(dbias, 0, columns * sizeof(float));
    const int64_t last = smaller(rows, (block + 1) * height);
    for (int64_t row = block * height; row < last; row++) row_gradient<CENTRED>(b, row, columns, dweight, dbias);
  });
  if (!sums) return;
  parallel_ranges(call.context, columns, 1024, [&](int64_t first, int64_t last, int32_t) {
    for (int which = 0; which < 2; which++) {
      float* to = which == 0 ? b.dweight : b.dbias;
      if (!to) continue;
      for_vectors(last - first, [&](int64_t i, int lanes) {
        Vector total = {};
        for (int64_t block = 0; block < blocks; block++) {
          total += fetch(partial + (which * blocks + block) * columns + first + i, lanes);
        }
        put(to + first + i, total, lanes);
      });
    }
  });
}

}  // namespace

void layer_norm(const Call& call) {
  const Operand *in = call.in, *out = call.out;
  const float epsilon = attributes_of<LayerNormAttributes>(call).epsilon;
  with_type(in[0], [&](auto type) {
    typedef decltype(type) T;
    normalise<true>(call, Forward<T>{elements<T>(in[0]), floats(in[1]), floats(in[2]), elements<T>(in[3]),
                                     elements<T>(out[0]), floats(out[1]), floats(out[2]), elements<T>(out[3]), epsilon});
  });
}

void rms_norm(const Call& call) {
  const Operand *in = call.in, *out = call.out;
  const float epsilon = attributes_of<RmsNormAttributes>(call).epsilon;
  with_type(in[0], [&](auto type) {
    typedef decltype(type) T;
    normalise<false>(call, Forward<T>{elements<T>(in[0]), floats(in[1]), nullptr, elements<T>(in[2]), elements<T>(out[0]),
                                      nullptr, floats(out[1]), elements<T>(out[2]), epsilon});
  });
}

void layer_norm_backward(const Call& call) {
  const Operand *in = call.in, *out = call.out;
  with_type(in[0], [&](auto type) {
    typedef decltype(type) T;
    gradient<true>(call, Backward<T>{elements<T>(in[0]), floats(in[1]), floats(in[2]), floats(in[3]), elements<T>(in[4]),
                                     elements<T>(in[5]), elements<T>(out[0]), floats(out[1]), floats(out[2])});
  });
}

void rms_norm_backward(const Call& call) {
  const Operand *in = call.in, *out = call.out;
  with_type(in[0], [&](auto type) {
    typedef decltype(type) T;
    gradient<false>(call, Backward<T>{elements<T>(in[0]), floats(in[1]), nullptr, floats(in[2]), elements<T>(in[3]),
                                      elements<T>(in[4]), elements<T>(out[0]), floats(out[1]), nullptr});
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
