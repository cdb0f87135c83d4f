// Panels of bf16 pairs, for processors that multiply them as they are: a word of a pair panel holds two elements of a line that
// follow each other in depth, the first in its low half, where a float panel holds one. A multiplication takes both, each
// product exact and the sums float32 (VDPBF16PS; denormals count as zero). Other processors widen bf16 as they pack it.
#pragma once
#include "gemm.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

// What panels of T consist of, and how many elements of depth one of them holds.
template <typename T>
struct PanelOf {
  typedef float Word;
  static constexpr int DEPTH = 1;
};

#if defined(__AVX512BF16__)
template <>
struct PanelOf<bf16> {
  typedef Pair Word;
  static constexpr int DEPTH = 2;
};

// Sixteen pairs of a line that has `elements` left; those beyond read as zeros, and the memory behind them is not touched.
HEDDLE_INLINE Words load_pairs(const bf16* from, int64_t elements) {
  const __mmask32 mask = elements >= 32 ? 0xFFFFFFFFu : (1u << elements) - 1;
  return (Words)_mm512_maskz_loadu_epi16(mask, from);
}
// One element of each of `count` lines that are neighbours.
HEDDLE_INLINE Words load_wide(const bf16* from, int count) {
  return (Words)_mm512_maskz_cvtepu16_epi32(0xFFFF, _mm256_maskz_loadu_epi16((__mmask16)((1u << count) - 1), from));
}
HEDDLE_INLINE void store(Pair* to, Words v) { _mm512_storeu_si512(to, (__m512i)v); }

// Thirty-two pairs of two rows; without a second one its elements are zeros.
HEDDLE_INLINE void interleave(const bf16* low, const bf16* high, Pair* to) {
  const __m512i first = _mm512_loadu_si512(low), second = high ? _mm512_loadu_si512(high) : __m512i{};
  alignas(64) static const uint16_t order[] = {0, 32, 1, 33, 2,  34, 3,  35, 4,  36, 5,  37, 6,  38, 7,  39,
                                               8, 40, 9, 41, 10, 42, 11, 43, 12, 44, 13, 45, 14, 46, 15, 47};
  const __m512i lower = _mm512_load_si512(order), upper = _mm512_add_epi16(lower, _mm512_set1_epi16(16));
  _mm512_storeu_si512(to, _mm512_permutex2var_epi16(first, lower, second));
  _mm512_storeu_si512(to + LANES, _mm512_permutex2var_epi16(first, upper, second));
}

// As the other pack: `depth` is of elements, and where it is odd the last pair's second element is a zero.
static void pack(LinesOf<bf16> from, int64_t lines, int64_t depth, Pair* to, int width) {
  if (from.line_stride == 1 && width == 2 * LANES && lines >= width) {
    const bf16* at = from.data;
    for (int64_t k = 0; k < depth; k += 2, at += 2 * from.depth_stride, to += width) {
      __builtin_prefetch(at + 16 * from.depth_stride);
      __builtin_prefetch(at + 17 * from.depth_stride);
      interleave(at, k + 1 < depth ? at + from.depth_stride : nullptr, to);
    }
    return;
  }
  for (int first = 0; first < width; first += LANES, from.data += LANES * from.line_stride, to += LANES) {
    const int count = lines - first < 0 ? 0 : lines - first < LANES ? int(lines - first) : LANES;
    if (from.line_stride == 1 && count > 0) {
      Pair* next = to;
      const bf16* at = from.data;
      for (int64_t k = 0; k < depth; k += 2, at += 2 * from.depth_stride, next += width) {
        __builtin_prefetch(at + 16 * from.depth_stride);
        __builtin_prefetch(at + 17 * from.depth_stride);
        const Words high = k + 1 < depth ? load_wide(at + from.depth_stride, count) : Words{};
        store(next, load_wide(at, count) | high << 16);
      }
    } else if (from.depth_stride == 1) {
      for (int64_t k = 0; k < depth; k += 2 * LANES) {
        const int64_t pairs = (depth - k + 1) / 2;
        Vector v[LANES];
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) {
          const bf16* at = from.data + i * from.line_stride + k;
          __builtin_prefetch(at + 8 * CACHE_LINE);
          v[i] = i < count ? reinterpret_cast<Vector>(load_pairs(at, depth - k)) : Vector{};
        }
        transpose(v);
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++)
          if (i < pairs) store(to + (k / 2 + i) * width, reinterpret_cast<Words>(v[i]));
      }
    } else {
      for (int64_t k = 0; k < depth; k += 2)
        for (int i = 0; i < LANES; i++) {
          const bf16* at = from.data + i * from.line_stride + k * from.depth_stride;
          const uint32_t low = i < count ? at->bits : 0, high = i < count && k + 1 < depth ? at[from.depth_stride].bits : 0;
          to[k / 2 * width + i].bits = low | high << 16;
        }
    }
  }
}
#endif

}}}  // namespace heddle::cpu::HEDDLE_ISA
