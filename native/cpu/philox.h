// Philox4x32-10 for many counters at once; see ../numeric.h for one.
#pragma once
#include "../numeric.h"
#include "vector.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

// Blocks of four words drawn together. The loops over them are what the compiler turns into vectors.
constexpr int PHILOX_BLOCKS = 32;

// words[4 * i + w] = word w of the block at counter {c0, first + i, c2, c3}.
HEDDLE_INLINE void philox_words(uint32_t c0, uint32_t first, uint32_t c2, uint32_t c3, const uint32_t key[2], uint32_t* words) {
  uint32_t x0[PHILOX_BLOCKS], x1[PHILOX_BLOCKS], x2[PHILOX_BLOCKS], x3[PHILOX_BLOCKS];
  for (int i = 0; i < PHILOX_BLOCKS; i++) x0[i] = c0, x1[i] = first + i, x2[i] = c2, x3[i] = c3;
  uint32_t k0 = key[0], k1 = key[1];
  for (int round = 0; round < PHILOX_ROUNDS; round++) {
    for (int i = 0; i < PHILOX_BLOCKS; i++) {
      const uint64_t p0 = static_cast<uint64_t>(PHILOX_MULTIPLIER[0]) * x0[i];
      const uint64_t p1 = static_cast<uint64_t>(PHILOX_MULTIPLIER[1]) * x2[i];
      x0[i] = static_cast<uint32_t>(p1 >> 32) ^ x1[i] ^ k0;
      x2[i] = static_cast<uint32_t>(p0 >> 32) ^ x3[i] ^ k1;
      x1[i] = static_cast<uint32_t>(p1);
      x3[i] = static_cast<uint32_t>(p0);
    }
    k0 += PHILOX_WEYL[0];
    k1 += PHILOX_WEYL[1];
  }
  for (int i = 0; i < PHILOX_BLOCKS; i++) {
    words[4 * i] = x0[i], words[4 * i + 1] = x1[i], words[4 * i + 2] = x2[i], words[4 * i + 3] = x3[i];
  }
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
