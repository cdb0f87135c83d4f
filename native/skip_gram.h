// What the backends agree on for the op skip_gram: its draws and the places in its scratch memory. See src/ops/skipGram.ts.
#pragma once
#include "numeric.h"

namespace heddle {

// Centres that share as many negatives, centres whose gradients are taken at the same
// weights, the widest window, and the numbers in place of a dropout's site.
constexpr int SKIP_GRAM_GROUP = 16, SKIP_GRAM_BLOCK = 32, SKIP_GRAM_WINDOW = 256;
constexpr int SKIP_GRAM_GROUPS = SKIP_GRAM_BLOCK / SKIP_GRAM_GROUP;
constexpr uint32_t SKIP_GRAM_TEXT_SITE = 0xFFFFFE00u, SKIP_GRAM_NEGATIVES_SITE = SKIP_GRAM_TEXT_SITE + 1;

// Whether an occurrence is kept: the 24 high bits of a word as a number in [0, 1) against its probability.
HEDDLE_EVERYWHERE bool skip_gram_keeps(uint32_t word, float probability) {
  return static_cast<float>(static_cast<int32_t>(word >> 8)) * 0x1p-24f < probability;
}
// A number in [0, count) from a word, and what of the word is left to draw from.
HEDDLE_EVERYWHERE uint32_t drawn_below(uint32_t word, uint32_t count, uint32_t* rest) {
  const uint64_t product = static_cast<uint64_t>(word) * count;
  *rest = static_cast<uint32_t>(product);
  return static_cast<uint32_t>(product >> 32);
}
// Walker's alias method; an alias that is no word counts as none.
HEDDLE_EVERYWHERE int32_t skip_gram_negative(uint32_t word, const float* probability, const int32_t* alias, uint32_t count) {
  uint32_t rest;
  const uint32_t own = drawn_below(word, count, &rest);
  if (skip_gram_keeps(rest, probability[own])) return static_cast<int32_t>(own);
  return static_cast<uint32_t>(alias[own]) < count ? alias[own] : static_cast<int32_t>(own);
}

// Scratch memory of the op, in elements of four bytes from its beginning; the total is src/ops/skipGram.ts's.
struct SkipGramPlaces {
  int64_t kept, reaches, losses, pairs, counts, rows, gradients, end;  // the first of each
  int64_t outputs, stride;  // rows of contexts and negatives of a group, elements between two rows of gradients
};
HEDDLE_EVERYWHERE int64_t skip_gram_aligned(int64_t count) { return (count + 15) / 16 * 16; }
HEDDLE_EVERYWHERE SkipGramPlaces skip_gram_places(int64_t length, int64_t window, int64_t columns) {
  SkipGramPlaces at{};
  const int64_t groups = skip_gram_aligned((length + SKIP_GRAM_GROUP - 1) / SKIP_GRAM_GROUP);
  at.outputs = 2 * (SKIP_GRAM_GROUP + window);
  at.stride = skip_gram_aligned(columns);
  const int64_t rows = SKIP_GRAM_BLOCK + SKIP_GRAM_GROUPS * at.outputs;
  at.reaches = skip_gram_aligned(length);
  at.losses = 2 * at.reaches;
  at.pairs = at.losses + groups;
  at.counts = at.pairs + groups;
  at.rows = at.counts + skip_gram_aligned((length + 1023) / 1024 + 1);
  at.gradients = at.rows + skip_gram_aligned(rows);
  at.end = at.gradients + rows * at.stride;
  return at;
}

}  // namespace heddle
