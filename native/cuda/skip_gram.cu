// Skip-gram with negative sampling over a stretch of text, vectors updated in place (src/ops/skipGram.ts has the formulas).
// A centre costs ~22 products of C elements and twice as many sums: 130 C flops.
// One block keeps or drops words; then each 32 centres are two launches: a block for each group of 16, in which a warp
// multiplies a centre with a context or a negative and threads then own columns; and a block for each row, which adds up the
// row's gradients where it first occurs. So no row has two writers, every sum has one order, and nothing is atomic.
#include "../skip_gram.h"
#include "device.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr int ROW_THREADS = 128;

struct Update {
  float *centres, *contexts;
  const int32_t* ids;
  const float *keep, *probability;
  const int32_t* alias;
  int64_t words, columns, length;
  int window, negatives;
  SkipGramPlaces at;
  float* floats;      // the workspace
  int32_t* integers;  // the same
  const double* scalars;

  // How many words were kept: the first of the counts.
  __device__ int64_t kept() const { return integers[at.counts]; }
  __device__ float* gradient(int64_t row) const { return floats + at.gradients + row * at.stride; }
};

// The kept words to the front, in their order: rounds of a word a thread. One block.
__global__ void keep_words(Update u) {
  SHARED_ARRAY(int32_t, flags, [THREADS]);
  uint32_t key[2], random[4], rest;
  philox_key(u.scalars[SCALAR_SEED], key);
  const uint32_t step = to_counter(u.scalars[SCALAR_STEP]);
  int64_t filled = 0;
  for (int64_t first = 0; first < u.length; first += THREADS) {
    const int64_t i = first + threadIdx.x;
    const int32_t id = i < u.length ? u.ids[i] : -1;
    const uint32_t counter[4] = {0, uint32_t(i), step, SKIP_GRAM_TEXT_SITE};
    philox(counter, key, random);
    const bool keeps = id >= 0 && id < u.words && skip_gram_keeps(random[0], u.keep[id]);
    flags[threadIdx.x] = keeps;
    __syncthreads();
    int32_t before = 0, all = 0;
    for (int other = 0; other < THREADS; other++) {
      before += other < int(threadIdx.x) ? flags[other] : 0;
      all += flags[other];
    }
    if (keeps) {
      u.integers[u.at.kept + filled + before] = id;
      u.integers[u.at.reaches + filled + before] = int32_t(1 + drawn_below(random[1], uint32_t(u.window), &rest));
    }
    filled += all;
    __syncthreads();
  }
  if (threadIdx.x == 0) u.integers[u.at.counts] = int32_t(filled);
}

// Sum over a warp, which every lane gets, of the products of two vectors.
HEDDLE_DEVICE float product_of(const float* a, const float* b, int64_t columns) {
  float sum = 0;
  for (int64_t i = threadIdx.x % LANES; i < columns; i += LANES) sum += a[i] * b[i];
  return warp_sum(sum);
}

// Gradients of the group blockIdx.x of the centres from `block` on. errors[centre][row] are the factors of the rows' vectors.
__global__ void differentiate(Update u, int64_t block) {
  SHARED_DYNAMIC(memory);
  SHARED_ARRAY(float, losses, [SKIP_GRAM_GROUP]);
  SHARED_ARRAY(int32_t, pairs, [SKIP_GRAM_GROUP]);
  const int64_t kept = u.kept(), first = block + blockIdx.x * SKIP_GRAM_GROUP;
  if (first >= kept) return;  // the whole block
  const int64_t last = first + SKIP_GRAM_GROUP < kept ? first + SKIP_GRAM_GROUP : kept;
  const int64_t low = first > u.window ? first - u.window : 0, high = last + u.window < kept ? last + u.window : kept;
  const int contexts = int(high - low), outputs = contexts + SKIP_GRAM_GROUP, stride = int(u.at.outputs);
  const int64_t first_output = SKIP_GRAM_BLOCK + blockIdx.x * u.at.outputs;
  float* const errors = reinterpret_cast<float*>(memory);
  int32_t* const rows = u.integers + u.at.rows + first_output;
  const int32_t* words = u.integers + u.at.kept;
  const int32_t* reaches = u.integers + u.at.reaches;

  for (int i = threadIdx.x; i < stride; i += THREADS) rows[i] = i < contexts ? words[low + i] : -1;
  __syncthreads();
  if (threadIdx.x < SKIP_GRAM_GROUP / 4) {
    uint32_t key[2], random[4];
    philox_key(u.scalars[SCALAR_SEED], key);
    const uint32_t counter[4] = {threadIdx.x, uint32_t(first / SKIP_GRAM_GROUP), to_counter(u.scalars[SCALAR_STEP]),
                                 SKIP_GRAM_NEGATIVES_SITE};
    philox(counter, key, random);
    for (int i = 0; i < 4; i++)
      rows[contexts + 4 * threadIdx.x + i] = skip_gram_negative(random[i], u.probability, u.alias, uint32_t(u.words));
  }
  if (threadIdx.x < SKIP_GRAM_GROUP) losses[threadIdx.x] = 0, pairs[threadIdx.x] = 0;
  __syncthreads();

  // A warp goes through centres, so that a centre's loss has one order.
  for (int c = threadIdx.x / LANES; c < int(last - first); c += THREADS / LANES) {
    const int64_t position = first + c;
    const int64_t begin = position > reaches[position] ? position - reaches[position] : 0;
    const int64_t end = position + reaches[position] + 1 < kept ? position + reaches[position] + 1 : kept;
    const int own = int(end - begin) - 1;
    const float weight = float(u.negatives) * float(own) / SKIP_GRAM_GROUP;
    float loss = 0;
    for (int row = 0; row < outputs; row++) {
      const bool is_negative = row >= contexts, is_own = low + row >= begin && low + row < end && low + row != position;
      float error = 0;
      if (is_negative || is_own) {  // the same for the whole warp
        const float product = product_of(u.centres + words[position] * u.columns, u.contexts + rows[row] * u.columns, u.columns);
        const float x = is_negative ? product : -product, e = expf(-fabsf(x)), size = is_negative ? weight : 1.0f;
        error = (is_negative ? -weight : 1.0f) * (x < 0 ? e : 1.0f) / (1.0f + e);
        loss += size * ((x > 0 ? x : 0.0f) + log1pf(e));
      }
      if (threadIdx.x % LANES == 0) errors[c * stride + row] = error;
    }
    if (threadIdx.x % LANES == 0) losses[c] = loss, pairs[c] = own;
  }
  __syncthreads();
  for (int64_t column = threadIdx.x; column < u.columns; column += THREADS) {
    for (int c = 0; c < int(last - first); c++) {
      float sum = 0;
      for (int row = 0; row < outputs; row++)
        if (errors[c * stride + row] != 0) sum += errors[c * stride + row] * u.contexts[rows[row] * u.columns + column];
      u.gradient(first + c - block)[column] = sum;
    }
    for (int row = 0; row < outputs; row++) {
      float sum = 0;
      for (int c = 0; c < int(last - first); c++)
        if (errors[c * stride + row] != 0) sum += errors[c * stride + row] * u.centres[words[first + c] * u.columns + column];
      u.gradient(first_output + row)[column] = sum;
    }
  }
  if (threadIdx.x == 0) {
    float loss = 0;
    int32_t count = 0;
    for (int c = 0; c < SKIP_GRAM_GROUP; c++) loss += losses[c], count += pairs[c];
    u.floats[u.at.losses + first / SKIP_GRAM_GROUP] = loss;
    u.integers[u.at.pairs + first / SKIP_GRAM_GROUP] = count;
  }
}

// The word of an entry of the block's rows, or -1: centres stand in the text, contexts and negatives in the workspace.
HEDDLE_DEVICE int32_t word_of(const Update& u, int64_t entry, int64_t block, int64_t kept) {
  if (entry < SKIP_GRAM_BLOCK) return block + entry < kept ? u.integers[u.at.kept + block + entry] : -1;
  const int64_t group = (entry - SKIP_GRAM_BLOCK) / u.at.outputs;
  return block + group * SKIP_GRAM_GROUP < kept ? u.integers[u.at.rows + entry] : -1;
}

// Adds up the gradients of a row where it first occurs; a block for each entry.
__global__ void apply_row(Update u, int64_t block, int64_t entries) {
  const int64_t kept = u.kept(), entry = blockIdx.x;
  const bool is_centre = entry < SKIP_GRAM_BLOCK;
  const int64_t begin = is_centre ? 0 : SKIP_GRAM_BLOCK, end = is_centre ? SKIP_GRAM_BLOCK : entries;
  const int32_t word = word_of(u, entry, block, kept);
  if (word < 0) return;
  for (int64_t other = begin; other < entry; other++)
    if (word_of(u, other, block, kept) == word) return;
  const float rate = float(u.scalars[SCALAR_LEARNING_RATE]);
  float* const vector = (is_centre ? u.centres : u.contexts) + word * u.columns;
  for (int64_t column = threadIdx.x; column < u.columns; column += ROW_THREADS) {
    float sum = vector[column];
    for (int64_t other = entry; other < end; other++)
      if (word_of(u, other, block, kept) == word) sum += rate * u.gradient(other)[column];
    vector[column] = sum;
  }
}

__global__ void sum_groups(Update u, float* loss_sum, float* pair_count) {
  double loss = 0, pairs = 0;
  for (int64_t group = threadIdx.x; group * SKIP_GRAM_GROUP < u.kept(); group += THREADS)
    loss += u.floats[u.at.losses + group], pairs += u.integers[u.at.pairs + group];
  loss = block_total(loss);
  __syncthreads();
  pairs = block_total(pairs);
  if (threadIdx.x != 0) return;
  if (loss_sum) *loss_sum = float(loss);
  if (pair_count) *pair_count = float(pairs);
}

}  // namespace

int64_t skip_gram_workspace(const Call& call) {
  return skip_gram_places(call.in[2].shape[0], attributes_of<SkipGramAttributes>(call).window, call.in[0].shape[1])
             .end * int64_t(sizeof(float));
}

Status skip_gram(const Call& call, Stream stream) {
  const SkipGramAttributes& attributes = attributes_of<SkipGramAttributes>(call);
  const Operand* in = call.in;
  const SkipGramPlaces at = skip_gram_places(in[2].shape[0], attributes.window, in[0].shape[1]);
  void* workspace = call.context->workspace;
  const Update update = {data_of<float>(in[0]), data_of<float>(in[1]), data_of<int32_t>(in[2]), data_of<float>(in[3]),
                         data_of<float>(in[4]), data_of<int32_t>(in[5]), in[0].shape[0], in[0].shape[1], in[2].shape[0],
                         attributes.window, attributes.negatives, at, static_cast<float*>(workspace),
                         static_cast<int32_t*>(workspace), call.context->scalars};
  Status status = launch(keep_words, dim3(1), dim3(THREADS), 0, stream, update);
  const size_t errors = size_t(SKIP_GRAM_GROUP * at.outputs) * sizeof(float);
  const int64_t entries = SKIP_GRAM_BLOCK + SKIP_GRAM_GROUPS * at.outputs;
  for (int64_t block = 0; block < update.length && status == cudaSuccess; block += SKIP_GRAM_BLOCK) {
    status = launch(differentiate, dim3(SKIP_GRAM_GROUPS), dim3(THREADS), errors, stream, update, block);
    if (status == cudaSuccess)
      status = launch(apply_row, dim3(unsigned(entries)), dim3(ROW_THREADS), 0, stream, update, block, entries);
  }
  if (status != cudaSuccess) return status;
  return launch(sum_groups, dim3(1), dim3(THREADS), 0, stream, update, data_of<float>(call.out[0]), data_of<float>(call.out[1]));
}

}}  // namespace heddle::cuda
