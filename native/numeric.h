// Numbers that every backend agrees on: bfloat16, the Philox generator and the rule of dropout.
//
// Letters used in kernels: B rows of a batch, T queries (positions), S keys, H query heads, G key and value heads,
// D extent of a head, C channels, V vocabulary, N any other count, M N K the extents of a matrix product.
//
// Everything is `static`: this header is compiled into every instruction-set variant, and an inline function with
// external linkage could be the wide one for all.
#pragma once
#include <stdint.h>
#include <string.h>

// On GPUs too.
#ifdef __CUDACC__
#define HEDDLE_EVERYWHERE static inline __host__ __device__
#else
#define HEDDLE_EVERYWHERE static inline
#endif

namespace heddle {

struct bf16 {
  uint16_t bits;
};

HEDDLE_EVERYWHERE float to_float(bf16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}

// Rounds to the nearest, ties to even; a NaN stays one.
HEDDLE_EVERYWHERE bf16 to_bf16(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7FFFFFFFu) > 0x7F800000u) return bf16{static_cast<uint16_t>(bits >> 16 | 0x40u)};
  return bf16{static_cast<uint16_t>((bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16)};
}

// Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3", section 3.3).
constexpr uint32_t PHILOX_MULTIPLIER_0 = 0xD2511F53u, PHILOX_MULTIPLIER_1 = 0xCD9E8D57u;
constexpr uint32_t PHILOX_WEYL_0 = 0x9E3779B9u, PHILOX_WEYL_1 = 0xBB67AE85u;
constexpr int PHILOX_ROUNDS = 10;

HEDDLE_EVERYWHERE void philox(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4]) {
  uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
    const uint64_t p0 = static_cast<uint64_t>(PHILOX_MULTIPLIER_0) * c0;
    const uint64_t p1 = static_cast<uint64_t>(PHILOX_MULTIPLIER_1) * c2;
    c0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    c2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    k0 += PHILOX_WEYL_0;
    k1 += PHILOX_WEYL_1;
  }
  out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// The seed travels as a float64 scalar; its 64-bit integer is the key. Outside [0, 2^64) it counts as 0.
HEDDLE_EVERYWHERE void philox_key(double seed, uint32_t key[2]) {
  const uint64_t bits = seed >= 0 && seed < 18446744073709551616.0 ? static_cast<uint64_t>(seed) : 0;
  key[0] = static_cast<uint32_t>(bits);
  key[1] = static_cast<uint32_t>(bits >> 32);
}

// Counters travel as float64 scalars too; their low 32 bits count.
HEDDLE_EVERYWHERE uint32_t to_counter(double x) {
  return x >= 0 && x < 9007199254740992.0 ? static_cast<uint32_t>(static_cast<uint64_t>(x)) : 0;
}

// Whether dropout keeps an element: its 24 high bits as a number in [0, 1) against the probability of being dropped.
HEDDLE_EVERYWHERE bool keep(uint32_t word, float probability) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f >= probability;  // 24 bits: exact
}

}  // namespace heddle
