// The best continuations of every group of beams, by log-probability.
// Reads the logits three times from cache: 4 bytes and ~30 flops an element.
// Split by beams first, each of which keeps its own best in a sorted list (few enter it, so that a comparison an element is
// all there is to do); then by groups, which take the best of those lists.
#include <math.h>

#include "kernels.h"
#include "logits.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

// The best of one beam, in order.
struct Best {
  float* scores;
  int32_t* tokens;

  void clear(int64_t capacity) {
    for (int64_t i = 0; i < capacity; i++) scores[i] = IMPOSSIBLE, tokens[i] = 0;
  }
  // Puts a score that is above the last one in its place; equals stay in the order of their coming.
  void insert(float score, int32_t token, int64_t capacity) {
    int64_t place = capacity - 1;
    for (; place > 0 && scores[place - 1] < score; place--)
      scores[place] = scores[place - 1], tokens[place] = tokens[place - 1];
    scores[place] = score, tokens[place] = token;
  }
};

}  // namespace

void beam_candidates(const Call& call) {
  const Operand& logits = call.in[0];
  const int64_t K = logits.shape[0], B = logits.shape[1], V = logits.shape[2], M = attributes_of<BeamCandidatesAttributes>(call).candidates;
  float* workspace = static_cast<float*>(call.context->workspace);
  const auto best_of = [&](int64_t row) {
    return Best{workspace + row * M, reinterpret_cast<int32_t*>(workspace + K * B * M) + row * M};
  };
  parallel(call.context, K * B, [&](int64_t row, int32_t) {
    Best best = best_of(row);
    best.clear(M);
    const float* x = floats(logits) + row * V;
    const float before = floats(call.in[1])[row], greatest = greatest_of(x, V);
    if (M == 0 || !(before > IMPOSSIBLE) || !(greatest > IMPOSSIBLE)) return;
    const double normaliser = greatest + log_of_sum(x, V, greatest);
    for (int64_t v = 0; v < V; v++) {
      const float score = static_cast<float>(before + (comparable(x[v]) - normaliser));
      if (score > best.scores[M - 1]) best.insert(score, static_cast<int32_t>(v), M);
    }
  });
  parallel(call.context, B, [&](int64_t b, int32_t) {
    constexpr int64_t MOST_BEAMS = 256;
    int32_t taken[MOST_BEAMS] = {};
    for (int64_t i = 0; i < M; i++) {
      int64_t from = 0;
      float highest = IMPOSSIBLE;
      for (int64_t k = 0; k < K; k++) {
        const float next = taken[k] < M ? best_of(k * B + b).scores[taken[k]] : IMPOSSIBLE;
        if (next > highest) highest = next, from = k;
      }
      const bool found = highest > IMPOSSIBLE;
      if (call.out[0].data) floats(call.out[0])[b * M + i] = highest;
      if (call.out[1].data) integers(call.out[1])[b * M + i] = found ? best_of(from * B + b).tokens[taken[from]] : 0;
      if (call.out[2].data) integers(call.out[2])[b * M + i] = static_cast<int32_t>(from);
      taken[from] += found;
    }
  });
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
