// The best continuations of every group of beams, by log-probability.
// Reads the logits M + 2 times from cache, M candidates wanted: nothing beside the decoding step that made them.
// A block a beam finds its own best one after the other, each the next in the order (score, lower token first); then a thread
// a group takes the best of its beams' lists.
#include "kernels.h"
#include "logits.h"

namespace heddle { namespace cuda {
namespace {

struct Beams {
  const float *logits, *scores;
  int64_t B, V;
  int K, M;
  // Of every beam [K, B, M], best first.
  float* best_scores;
  int32_t* best_tokens;
};

// One number for (score, lower token first), ascending; 0 is nobody's.
HEDDLE_DEVICE uint64_t rank_of(float score, int32_t token) {
  return uint64_t(key_of(score)) << 32 | (0xFFFFFFFFu - uint32_t(token));
}
HEDDLE_DEVICE uint64_t block_highest(uint64_t own) {
  SHARED_ARRAY(uint64_t, highest, [THREADS]);
  __syncthreads();
  highest[threadIdx.x] = own;
  __syncthreads();
  for (int half = THREADS / 2; half > 0; half /= 2) {
    if (int(threadIdx.x) < half && highest[threadIdx.x + half] > highest[threadIdx.x])
      highest[threadIdx.x] = highest[threadIdx.x + half];
    __syncthreads();
  }
  return highest[0];
}

__global__ void __launch_bounds__(THREADS) rank_beam(Beams beams) {
  const int64_t row = blockIdx.x;
  const float* x = beams.logits + row * beams.V;
  const float before = beams.scores[row], greatest = greatest_of(x, beams.V);
  const bool possible = before > -INFINITY && greatest > -INFINITY;
  const double normaliser = possible ? greatest + log_of_sum(x, beams.V, greatest) : 0.0;
  uint64_t bound = ~uint64_t(0);
  for (int i = 0; i < beams.M; i++) {
    uint64_t own = 0;
    for (int64_t v = threadIdx.x; possible && v < beams.V; v += THREADS) {
      const float score = float(before + (comparable(x[v]) - normaliser));
      const uint64_t rank = score > -INFINITY ? rank_of(score, int32_t(v)) : 0;
      if (rank < bound && rank > own) own = rank;
    }
    bound = block_highest(own);
    if (threadIdx.x != 0) continue;
    const int32_t token = bound == 0 ? 0 : int32_t(0xFFFFFFFFu - uint32_t(bound));
    beams.best_tokens[row * beams.M + i] = token;
    beams.best_scores[row * beams.M + i] = bound == 0 ? -INFINITY : float(before + (comparable(x[token]) - normaliser));
  }
}

__global__ void __launch_bounds__(THREADS) merge_beams(Beams beams, float* scores, int32_t* tokens, int32_t* parents) {
  constexpr int MOST_BEAMS = 256;
  for_elements(beams.B, [&](int64_t b) {
    int32_t taken[MOST_BEAMS];
    for (int k = 0; k < beams.K; k++) taken[k] = 0;
    for (int i = 0; i < beams.M; i++) {
      int from = 0;
      float highest = -INFINITY;
      for (int k = 0; k < beams.K; k++) {
        const float next = taken[k] < beams.M ? beams.best_scores[(k * beams.B + b) * beams.M + taken[k]] : -INFINITY;
        if (next > highest) highest = next, from = k;
      }
      const bool found = highest > -INFINITY;
      if (scores) scores[b * beams.M + i] = highest;
      if (tokens) tokens[b * beams.M + i] = found ? beams.best_tokens[(from * beams.B + b) * beams.M + taken[from]] : 0;
      if (parents) parents[b * beams.M + i] = from;
      taken[from] += found;
    }
  });
}

int64_t lists_of(const Call& call) {
  return size_of(call.in[1]) * attributes_of<BeamCandidatesAttributes>(call).candidates;
}

}  // namespace

int64_t beam_candidates_workspace(const Call& call) { return lists_of(call) * int64_t(sizeof(float) + sizeof(int32_t)); }

Status beam_candidates(const Call& call, Stream stream) {
  const Operand& logits = call.in[0];
  const int64_t K = logits.shape[0], B = logits.shape[1], V = logits.shape[2];
  float* lists = static_cast<float*>(call.context->workspace);
  const int M = attributes_of<BeamCandidatesAttributes>(call).candidates;
  const Beams beams = {data_of<float>(logits), data_of<float>(call.in[1]), B, V, int(K), M, lists,
                       reinterpret_cast<int32_t*>(lists + lists_of(call))};
  if (B * beams.M == 0) return cudaSuccess;
  const Status status = launch(rank_beam, dim3(unsigned(K * B)), dim3(THREADS), 0, stream, beams);
  if (status != cudaSuccess) return status;
  return launch(merge_beams, blocks_for(B), dim3(THREADS), 0, stream, beams, data_of<float>(call.out[0]),
                data_of<int32_t>(call.out[1]), data_of<int32_t>(call.out[2]));
}

}}  // namespace heddle::cuda
