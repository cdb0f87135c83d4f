// Vectors of float as wide as the instruction set this file is compiled for, by the compiler's vector extensions.
// Everything lives in the variant's own namespace, so that no wide instruction leaks into the baseline.
#pragma once
#include <cstdint>
#include <cstring>

#include "../numeric.h"
#include "isa.h"
#if defined(__SSE__)
#include <immintrin.h>
#endif

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

#if defined(__AVX512F__)
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif

typedef float Vector __attribute__((vector_size(LANES * 4)));
typedef int32_t IntVector __attribute__((vector_size(LANES * 4)));
typedef Vector UnalignedVector __attribute__((aligned(4), may_alias));

#define HEDDLE_INLINE static inline __attribute__((always_inline, unused))

HEDDLE_INLINE Vector load(const float* from) { return *reinterpret_cast<const UnalignedVector*>(from); }
HEDDLE_INLINE void store(float* to, Vector v) { *reinterpret_cast<UnalignedVector*>(to) = v; }
HEDDLE_INLINE Vector broadcast(float x) { return x - Vector{}; }
// a > b ? a : b and a < b ? a : b, also in that a NaN gives b: one instruction on x86, which compilers do not find.
#if defined(__AVX512F__)
HEDDLE_INLINE Vector maximum(Vector a, Vector b) { return _mm512_maskz_max_ps(0xFFFF, a, b); }
HEDDLE_INLINE Vector minimum(Vector a, Vector b) { return _mm512_maskz_min_ps(0xFFFF, a, b); }
#elif defined(__AVX__)
HEDDLE_INLINE Vector maximum(Vector a, Vector b) { return _mm256_max_ps(a, b); }
HEDDLE_INLINE Vector minimum(Vector a, Vector b) { return _mm256_min_ps(a, b); }
#elif defined(__SSE__)
HEDDLE_INLINE Vector maximum(Vector a, Vector b) { return _mm_max_ps(a, b); }
HEDDLE_INLINE Vector minimum(Vector a, Vector b) { return _mm_min_ps(a, b); }
#else
HEDDLE_INLINE Vector maximum(Vector a, Vector b) { return a > b ? a : b; }
HEDDLE_INLINE Vector minimum(Vector a, Vector b) { return a < b ? a : b; }
#endif

// Partial vectors at the end of a row: the first `count` lanes; the others read as `other` and are not written, nor is
// the memory behind them touched. Masked moves where there are any: a memcpy of unknown length is a call.
#if defined(__AVX512F__)
HEDDLE_INLINE Vector load_first(const float* from, int count, float other = 0.0f) {
  return (Vector)_mm512_mask_loadu_ps((__m512)broadcast(other), (__mmask16)((1u << count) - 1), from);
}
HEDDLE_INLINE void store_first(float* to, Vector v, int count) {
  _mm512_mask_storeu_ps(to, (__mmask16)((1u << count) - 1), (__m512)v);
}
#elif defined(__AVX2__)
HEDDLE_INLINE IntVector first_lanes(int count) { return IntVector{0, 1, 2, 3, 4, 5, 6, 7} < count; }
HEDDLE_INLINE Vector load_first(const float* from, int count, float other = 0.0f) {
  const IntVector mask = first_lanes(count);
  return mask ? (Vector)_mm256_maskload_ps(from, (__m256i)mask) : broadcast(other);
}
HEDDLE_INLINE void store_first(float* to, Vector v, int count) {
  _mm256_maskstore_ps(to, (__m256i)first_lanes(count), (__m256)v);
}
#else
HEDDLE_INLINE Vector load_first(const float* from, int count, float other = 0.0f) {
  Vector v = broadcast(other);
  for (int i = 0; i < LANES; i++)
    if (i < count) v[i] = from[i];
  return v;
}
HEDDLE_INLINE void store_first(float* to, Vector v, int count) {
  for (int i = 0; i < LANES; i++)
    if (i < count) to[i] = v[i];
}
#endif

// bf16 is widened as it is loaded and rounded as it is stored (to the nearest, ties to even; a NaN stays one): all
// arithmetic is float32, and a kernel that is a template of its element type has one text for both.
typedef uint16_t HalfWords __attribute__((vector_size(LANES * 2)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));
typedef HalfWords UnalignedHalfWords __attribute__((aligned(2), may_alias));

HEDDLE_INLINE Vector widen(HalfWords bits) {
  return reinterpret_cast<Vector>(__builtin_convertvector(bits, Words) << 16);
}
#if defined(__AVX512BF16__)
HEDDLE_INLINE HalfWords narrow(Vector v) { return (HalfWords)_mm512_cvtneps_pbh((__m512)v); }
#else
HEDDLE_INLINE HalfWords narrow(Vector v) {
  const Words bits = reinterpret_cast<Words>(v);
  const Words rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
  return __builtin_convertvector(v == v ? rounded : bits >> 16 | 0x40u, HalfWords);
}
#endif
HEDDLE_INLINE Vector load(const bf16* from) { return widen(*reinterpret_cast<const UnalignedHalfWords*>(from)); }
HEDDLE_INLINE void store(bf16* to, Vector v) { *reinterpret_cast<UnalignedHalfWords*>(to) = narrow(v); }
HEDDLE_INLINE Vector load_first(const bf16* from, int count, float other = 0.0f) {
  HalfWords bits = narrow(broadcast(other));
  for (int i = 0; i < LANES; i++)
    if (i < count) bits[i] = from[i].bits;
  return widen(bits);
}
HEDDLE_INLINE void store_first(bf16* to, Vector v, int count) {
  const HalfWords bits = narrow(v);
  for (int i = 0; i < LANES; i++)
    if (i < count) to[i].bits = bits[i];
}

// What a T that was stored would be loaded as.
template <typename T>
HEDDLE_INLINE Vector rounded(Vector v) {
  return sizeof(T) == sizeof(bf16) ? widen(narrow(v)) : v;
}

// Two bf16 that are multiplied as one: see pairs.h.
struct __attribute__((may_alias)) Pair {
  uint32_t bits;
};
HEDDLE_INLINE Vector multiply_add(Vector sum, Vector a, Vector b) { return sum + a * b; }
#if defined(__AVX512BF16__)
HEDDLE_INLINE Words load(const Pair* from) { return (Words)_mm512_loadu_si512(from); }
HEDDLE_INLINE Words broadcast(Pair x) { return x.bits - Words{}; }
HEDDLE_INLINE Vector multiply_add(Vector sum, Words a, Words b) {
  return (Vector)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)b);
}
HEDDLE_INLINE Pair widened(Pair x) { return x; }
#endif

// One element.
HEDDLE_INLINE float widened(float x) { return x; }
HEDDLE_INLINE float widened(bf16 x) { return to_float(x); }
HEDDLE_INLINE void set(float& to, float x) { to = x; }
HEDDLE_INLINE void set(bf16& to, float x) { to = to_bf16(x); }

// Horizontal folds in a fixed order.
HEDDLE_INLINE float sum_of(Vector v) {
  float lane[LANES];
  memcpy(lane, &v, sizeof v);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] += lane[i + half];
  return lane[0];
}
HEDDLE_INLINE float maximum_of(Vector v) {
  float lane[LANES];
  memcpy(lane, &v, sizeof v);
  for (int half = LANES / 2; half > 0; half /= 2)
    for (int i = 0; i < half; i++) lane[i] = lane[i] > lane[i + half] ? lane[i] : lane[i + half];
  return lane[0];
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
