// Philox4x32-10 for many counters at once; see ../numeric.h for one.
#pragma once
#if defined(__SSE2__)
#include <immintrin.h>
#endif

#include "../numeric.h"
#include "math.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

typedef uint64_t WideVector __attribute__((vector_size(LANES * 4)));

// 64-bit products of the lower halves of 64-bit lanes. Written as a product of the compiler's vectors it would become a
// full 64-bit multiplication, three times as dear.
HEDDLE_INLINE WideVector multiply_halves(WideVector a, uint32_t b) {
#if defined(__AVX512F__)
  return (WideVector)_mm512_maskz_mul_epu32(-1, (__m512i)a, _mm512_set1_epi64(b));
#elif defined(__AVX2__)
  return (WideVector)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
#elif defined(__SSE2__) && !defined(__AVX__)
  return (WideVector)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(b));
#else
  return (a & 0xFFFFFFFFull) * b;
#endif
}

struct Product {
  UintVector high, low;
};
HEDDLE_INLINE Product multiply_wide(UintVector a, uint32_t b) {
  const WideVector pairs = reinterpret_cast<WideVector>(a);  // the first of two neighbours lies in the lower half
  const WideVector first = multiply_halves(pairs, b), second = multiply_halves(pairs >> 32, b);
  const WideVector upper = {}, mask = upper + 0xFFFFFFFF00000000ull;
  return {reinterpret_cast<UintVector>((first >> 32) | (second & mask)),
          reinterpret_cast<UintVector>((first & ~mask) | (second << 32))};
}

// The rule of dropout of ../numeric.h for LANES words: all bits set where an element is kept.
HEDDLE_INLINE IntVector keep(const uint32_t* words, float probability) {
  UintVector word;
  memcpy(&word, words, sizeof word);
  return __builtin_convertvector(reinterpret_cast<IntVector>(word >> 8), Vector) * 0x1p-24f >= probability;
}

// Blocks of four words drawn together: two vectors of counters, so that one computes while the other waits.
constexpr int PHILOX_CHAINS = 2;
constexpr int PHILOX_BLOCKS = PHILOX_CHAINS * LANES;

// words[4 * i + w] = word w of the block at counter {c0, first + i, c2, c3}.
HEDDLE_INLINE void philox_words(uint32_t c0, uint32_t first, uint32_t c2, uint32_t c3, const uint32_t key[2],
                                uint32_t* words) {
  UintVector x0[PHILOX_CHAINS], x1[PHILOX_CHAINS], x2[PHILOX_CHAINS], x3[PHILOX_CHAINS], index = {};
  for (int lane = 0; lane < LANES; lane++) index[lane] = lane;
#pragma GCC unroll 2
  for (int i = 0; i < PHILOX_CHAINS; i++) {
    const UintVector zero = {};
    x0[i] = zero + c0, x1[i] = index + (first + i * LANES), x2[i] = zero + c2, x3[i] = zero + c3;
  }
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
#pragma GCC unroll 2
    for (int i = 0; i < PHILOX_CHAINS; i++) {
      const Product p0 = multiply_wide(x0[i], PHILOX_MULTIPLIER_0), p1 = multiply_wide(x2[i], PHILOX_MULTIPLIER_1);
      x0[i] = p1.high ^ x1[i] ^ k0;
      x2[i] = p0.high ^ x3[i] ^ k1;
      x1[i] = p1.low;
      x3[i] = p0.low;
    }
    k0 += PHILOX_WEYL_0;
    k1 += PHILOX_WEYL_1;
  }
  for (int i = 0; i < PHILOX_CHAINS; i++) {
    uint32_t drawn[4][LANES];
    memcpy(drawn[0], &x0[i], sizeof drawn[0]);
    memcpy(drawn[1], &x1[i], sizeof drawn[1]);
    memcpy(drawn[2], &x2[i], sizeof drawn[2]);
    memcpy(drawn[3], &x3[i], sizeof drawn[3]);
    uint32_t* to = words + 4 * LANES * i;
    for (int lane = 0; lane < LANES; lane++) {
      to[4 * lane] = drawn[0][lane], to[4 * lane + 1] = drawn[1][lane];
      to[4 * lane + 2] = drawn[2][lane], to[4 * lane + 3] = drawn[3][lane];
    }
  }
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
