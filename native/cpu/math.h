// Elementary functions and activations on vectors of float.
//
// The coefficients were fitted for this file: minimax fits by Lawson's iteratively reweighted least squares in float64
// (Lawson 1961; for quotients with linearised denominators, Sanathanan & Koerner 1963), weighted by relative error.
// Argument reductions are the usual ones (Muller, "Elementary Functions", chapters 5 and 11).
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../ops.h"
#include "vector.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

typedef uint32_t UintVector __attribute__((vector_size(LANES * 4)));

// The compiler's vector types have no square root of their own.
HEDDLE_INLINE Vector square_root(Vector x) {
#if defined(__AVX512F__)
  return (Vector)_mm512_maskz_sqrt_ps(-1, (__m512)x);  // the unmasked one draws a warning from GCC 12
#elif defined(__AVX__)
  return (Vector)_mm256_sqrt_ps((__m256)x);
#elif defined(__SSE2__)
  return (Vector)_mm_sqrt_ps((__m128)x);
#else
  for (int lane = 0; lane < LANES; lane++) x[lane] = __builtin_sqrtf(x[lane]);
  return x;
#endif
}

HEDDLE_INLINE Vector as_float(UintVector bits) { return reinterpret_cast<Vector>(bits); }
HEDDLE_INLINE UintVector as_bits(Vector x) { return reinterpret_cast<UintVector>(x); }
HEDDLE_INLINE Vector magnitude(Vector x) { return as_float(as_bits(x) & 0x7FFFFFFFu); }
HEDDLE_INLINE Vector with_sign_of(Vector x, Vector sign) {
  return as_float(as_bits(x) | (as_bits(sign) & 0x80000000u));
}

// e^x within 1 ulp: 0 at -inf, inf above 88.72, NaN at NaN. Results below 1.7e-38 are 0, because the processor takes
// sixteen times as long over subnormal numbers, and a softmax with one confident entry is full of them.
HEDDLE_INLINE Vector exp(Vector x) {
  // Constants come first in the comparisons, so that a NaN passes through them.
  const Vector clamped = minimum(broadcast(89.0f), maximum(broadcast(-87.3f), x));
  const Vector magic = broadcast(0x1.8p23f);  // adding it rounds to an integer, which then stands in the low bits
  const Vector shifted = clamped * 0x1.715476p0f + magic;
  const Vector n = shifted - magic;
  const Vector r = clamped - n * 0x1.62e4p-1f - n * 0x1.7f7d1cp-20f;  // ln 2 in two parts; the first product is exact
  Vector p = broadcast(1.381446490995586e-3f);
  p = p * r + 8.368780836462975e-3f;
  p = p * r + 4.166839271783829e-2f;
  p = p * r + 1.666651964187622e-1f;
  p = p * r + 4.999999403953552e-1f;
  p = (p * r) * r + r + 1.0f;
  // 2p * 2^(n - 1): n = 128 does not overflow early, and n = -126 gives the exponent bits of 0.
  const Vector power = as_float((as_bits(shifted) - (0x4B400000u - 126u)) << 23);
  return (p + p) * power;
}

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

// 2^x for x <= 0 within 2 ulp; 0 below 2^-126 and at -inf, NaN at NaN. The polynomial is a minimax fit of 2 * 2^x on
// [-1/2, 1/2] by relative error (Lawson's reweighted least squares), since 2^(n - 1) can be made of n = -126 as 0.
HEDDLE_INLINE Vector power_of_two(Vector x) {
  const Vector clamped = maximum(broadcast(-126.0f), x);
  const Vector magic = broadcast(0x1.8p23f + 126.0f);  // adding it leaves n + 126 in the low bits
  const Vector shifted = clamped + magic;
  const Vector r = clamped - (shifted - magic);
  Vector p = broadcast(2.6552943038471682e-3f);
  p = p * r + 1.9351082661374735e-2f;
  p = p * r + 1.110142654992482e-1f;
  p = p * r + 4.804423944786762e-1f;
  p = p * r + 1.386293934127726f;
  p = p * r + 2.0000001433093133f;
  return p * as_float(as_bits(shifted) << 23);
}

// Natural logarithm within 2 ulp: -inf at 0, NaN below it, inf at inf; subnormal arguments included.
HEDDLE_INLINE Vector log(Vector x) {
  const IntVector tiny = x < 0x1p-126f;
  const Vector normal = tiny ? x * 0x1p23f : x;
  // The exponent is taken relative to sqrt(1/2), so that m lies in [sqrt(1/2), sqrt(2)).
  const UintVector offset = as_bits(normal) - 0x3F3504F3u;
  const IntVector exponent = reinterpret_cast<IntVector>(offset) >> 23;
  const Vector m = as_float((offset & 0x007FFFFFu) + 0x3F3504F3u);
  const Vector n = __builtin_convertvector(exponent, Vector) - (tiny ? broadcast(23.0f) : broadcast(0.0f));
  const Vector f = m - 1.0f;
  Vector p = broadcast(-7.634429633617401e-2f);
  p = p * f + 1.2761549651622772e-1f;
  p = p * f + -1.31601944565773e-1f;
  p = p * f + 1.4201761782169342e-1f;
  p = p * f + -1.6623356938362122e-1f;
  p = p * f + 2.0001226663589478e-1f;
  p = p * f + -2.50008225440979e-1f;
  p = p * f + 3.333333134651184e-1f;
  const Vector square = f * f;
  // n ln 2 in two parts, small terms first.
  const Vector low = n * 0x1.7f7d1cp-20f + (p * f * square - 0.5f * square);
  Vector result = n * 0x1.62e4p-1f + (f + low);
  result = x == __builtin_inff() ? x : result;
  result = x == 0.0f ? broadcast(-__builtin_inff()) : result;
  return x >= 0.0f ? result : broadcast(__builtin_nanf(""));
}

// Within 6 ulp; exactly 1 and -1 beyond 9.
HEDDLE_INLINE Vector tanh(Vector x) {
  const Vector c = minimum(broadcast(9.0f), maximum(broadcast(-9.0f), x));
  const Vector u = c * c;
  Vector p = broadcast(1.3354656935860021e-8f);
  p = p * u + 2.0609077182598412e-5f;
  p = p * u + 3.495587734505534e-3f;
  p = p * u + 1.3381025195121765e-1f;
  p = p * u + 1.0f;
  Vector q = broadcast(7.776556003591395e-7f);
  q = q * u + 3.28563415678218e-4f;
  q = q * u + 2.5876980274915695e-2f;
  q = q * u + 4.671434164047241e-1f;
  q = q * u + 1.0f;
  const Vector y = minimum(broadcast(1.0f), maximum(broadcast(-1.0f), c * p / q));
  return magnitude(x) >= 9.0f ? with_sign_of(broadcast(1.0f), x) : y;
}

// 1 / x within 2 ulp, for x of which neither that nor the estimate over- or underflows. AVX-512 has an estimate good enough for
// one step of Newton's to reach it, in a third of a division's time.
HEDDLE_INLINE Vector reciprocal(Vector x) {
#if defined(__AVX512F__)
  const Vector estimate = (Vector)_mm512_maskz_rcp14_ps(0xFFFF, (__m512)x);
  return estimate * (2.0f - x * estimate);
#else
  return 1.0f / x;
#endif
}

// The standard normal distribution: the probability of less than x, and the density at x. With z = |x| / sqrt(2) the
// tail is exp(-z^2) times a function that hardly varies, fitted in t = 1 / (1 + 0.375 z) (the form of Abramowitz &
// Stegun 1964, 7.1.26); it keeps its relative accuracy, 2e-6 at |x| = 5, as far out as the power does.
// erf(x / sqrt(2)) is 2 probability - 1.
struct Normal {
  Vector probability, density;
};
HEDDLE_INLINE Normal normal(Vector x) {
  const Vector t = reciprocal(1.0f + 0.26516504294495535f * minimum(broadcast(40.0f), magnitude(x)));  // e is 0 at 13
  const Vector e = power_of_two(-0.5f * LOG2_E * x * x);
  Vector p = broadcast(6.153849512338638e-2f);
  p = p * t + -2.873297333717346e-1f;
  p = p * t + 4.323979616165161e-1f;
  p = p * t + -2.2941264510154724e-1f;
  p = p * t + 2.73724228143692e-1f;
  p = p * t + 1.2150511890649796e-1f;
  p = p * t + 2.0531345903873444e-1f;
  p = p * t + 2.1064965426921844e-1f;
  p = p * t + 2.116134762763977e-1f;
  const Vector tail = 0.5f * e * (p * t);
  return {x < 0.0f ? tail : 1.0f - tail, 0.3989422804014327f * e};
}

// sigmoid(x) and 1 - sigmoid(x), both from the smaller of them, so that neither cancels: derivatives need both tails.
struct Logistic {
  Vector value, complement;
};
HEDDLE_INLINE Logistic logistic(Vector x) {
  const Vector e = power_of_two(-LOG2_E * magnitude(x));
  const Vector larger = reciprocal(1.0f + e), smaller = e * larger;
  const IntVector negative = x < 0.0f;
  return {negative ? smaller : larger, negative ? larger : smaller};
}
HEDDLE_INLINE Vector sigmoid(Vector x) { return logistic(x).value; }

// gelu_tanh(x) = x (1 + tanh u) / 2 = x sigmoid(2u) with 2u = x (a + b x^2): Hendrycks & Gimpel 2016, arXiv:1606.08415.
constexpr float GELU_LINEAR = 1.5957691216057308f;  // 2 sqrt(2 / pi)
constexpr float GELU_CUBIC = 0.044715f * GELU_LINEAR;

// The switch is meant to be folded: call it with a constant, or where the loop around it is switched by the compiler.
HEDDLE_INLINE Vector activate(ActivationKind kind, Vector x) {
  switch (kind) {
    case ACTIVATION_GELU:
      return x * normal(x).probability;
    case ACTIVATION_GELU_TANH:
      return x * sigmoid(x * (GELU_LINEAR + GELU_CUBIC * x * x));
    case ACTIVATION_RELU:
      return x < 0.0f ? broadcast(0.0f) : x;
    case ACTIVATION_SIGMOID:
      return sigmoid(x);
    case ACTIVATION_SILU:
      return x * sigmoid(x);
    case ACTIVATION_TANH:
      return tanh(x);
    default:
      return x;
  }
}

HEDDLE_INLINE Vector activation_derivative(ActivationKind kind, Vector x) {
  switch (kind) {
    case ACTIVATION_GELU: {
      const Normal n = normal(x);
      return n.probability + x * n.density;
    }
    case ACTIVATION_GELU_TANH: {
      const Logistic s = logistic(x * (GELU_LINEAR + GELU_CUBIC * x * x));
      return s.value + x * (GELU_LINEAR + 3.0f * GELU_CUBIC * x * x) * (s.value * s.complement);
    }
    case ACTIVATION_RELU:
      return x > 0.0f ? broadcast(1.0f) : broadcast(0.0f);
    case ACTIVATION_SIGMOID: {
      const Logistic s = logistic(x);
      return s.value * s.complement;
    }
    case ACTIVATION_SILU: {
      const Logistic s = logistic(x);
      return s.value + x * (s.value * s.complement);
    }
    case ACTIVATION_TANH: {
      const Vector t = tanh(x);
      return 1.0f - t * t;
    }
    default:
      return broadcast(1.0f);
  }
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
