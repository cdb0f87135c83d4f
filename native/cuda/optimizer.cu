// The norm of all gradients with the factor that clips them, and the updates of AdamW and SGD over flat arenas.
// Norm: 4 bytes and 2 flops an element. AdamW: reads four arenas and writes three, 28 bytes, 14 flops; SGD 12 to 20.
// The norm sums squares by blocks of 16,384 elements, whose float64 partial sums one block adds in their order. An update
// is a block for each entry of the table (1,024 elements), four elements a thread; learning rate, step, clip factor and
// whether the update is applied at all are read from device memory, so that a captured graph serves every step.
#include "device.h"
#include "kernels.h"

namespace heddle { namespace cuda {
namespace {

constexpr int64_t NORM_BLOCK = 16384;
constexpr int TABLE_BLOCK = 1024;  // elements an entry {decay factor, learning-rate factor} stands for
constexpr int VECTOR = TABLE_BLOCK / THREADS;

__global__ void sum_squares(const float* gradients, int64_t count, double* partial) {
  const int64_t start = blockIdx.x * NORM_BLOCK, end = start + NORM_BLOCK < count ? start + NORM_BLOCK : count;
  float sum = 0;  // of at most 64 elements a thread
  for (int64_t i = start + threadIdx.x; i < end; i += THREADS) sum += gradients[i] * gradients[i];
  double wide = sum;
  if (!(sum < INFINITY)) {  // squares that only float32 cannot hold
    wide = 0;
    for (int64_t i = start + threadIdx.x; i < end; i += THREADS) wide += double(gradients[i]) * gradients[i];
  }
  wide = block_total(wide);
  if (threadIdx.x == 0) partial[blockIdx.x] = wide;
}

__global__ void finish_norm(const double* partial, int64_t blocks, const float* token_count, GradientNormAttributes attributes,
                            float* norm_output, float* factor_output, int32_t* finite_output) {
  double total = 0;
  for (int64_t block = threadIdx.x; block < blocks; block += THREADS) total += partial[block];
  total = block_total(total);
  if (threadIdx.x != 0) return;
  const double tokens = *token_count, maximum_norm = attributes.maximum;
  // No token at all is no gradient: as bad as an infinite one, but never a NaN in the weights.
  const double norm = tokens > 0 ? sqrt(total) / tokens : double(NAN);
  double factor = 1.0 / tokens;
  if (attributes.clip == CLIP_NORM && maximum_norm < norm + 1e-6) factor *= maximum_norm / (norm + 1e-6);
  if (attributes.clip == CLIP_RESCALE) factor *= maximum_norm / (norm + 1e-6);
  const bool finite = float(norm) < INFINITY && float(factor) < INFINITY;
  if (norm_output) *norm_output = float(norm);
  if (factor_output) *factor_output = finite ? float(factor) : 0.0f;
  if (finite_output) *finite_output = finite;
}

// counters = {applied, skipped, skipped in a row, unused}; runs after the update, which reads the old ones.
__global__ void count_update(int32_t* counters, const int32_t* finite) {
  const bool applied = *finite != 0;
  counters[0] += applied;
  counters[1] += !applied;
  counters[2] = applied ? 0 : counters[2] + 1;
}

HEDDLE_DEVICE float clipped(float gradient, ClipMode clip, float limit) {
  if (clip != CLIP_VALUE) return gradient;
  const float bounded = gradient < -limit ? -limit : gradient;
  return bounded > limit ? limit : bounded;
}

// update(i) for the elements of this block's entry of the table that exist.
template <typename Update>
HEDDLE_DEVICE void for_block(int64_t count, const Update& update) {
  const int64_t start = int64_t(blockIdx.x) * TABLE_BLOCK;
#pragma unroll
  for (int i = 0; i < VECTOR; i++) {
    const int64_t element = start + i * THREADS + threadIdx.x;
    if (element < count) update(element);
  }
}

struct Arenas {
  float* parameters;
  const float* gradients;
  float *first, *second;
  const float* table;
  int32_t* counters;
  const float* factor;
  const int32_t* finite;
  bf16* mirror;  // or null
};

HEDDLE_DEVICE void write_parameter(const Arenas& a, int64_t i, float value) {
  a.parameters[i] = value;
  if (a.mirror) a.mirror[i] = to_bf16(value);
}

// p -= lr decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + epsilon), with the hats dividing
// by 1 - b^t (Loshchilov & Hutter 2017, algorithm 2, in torch's order of operations). Not decoupled, decay p joins g.
__global__ void __launch_bounds__(THREADS)
    update_adamw(Arenas a, int64_t count, AdamwAttributes attributes, const double* scalars) {
  SHARED_ARRAY(float, shared, [4]);
  if (*a.finite == 0) return;
  if (threadIdx.x == 0) {
    const double t = double(a.counters[0]) + 1, rate = scalars[SCALAR_LEARNING_RATE];
    const float decay = attributes.weight_decay * a.table[2 * blockIdx.x], rate_factor = a.table[2 * blockIdx.x + 1];
    shared[0] = attributes.decoupled ? float(1 - rate * rate_factor * decay) : 1;
    shared[3] = attributes.decoupled ? 0 : decay;
    shared[1] = float(rate / (1 - pow(double(attributes.beta1), t)) * rate_factor);
    shared[2] = float(1 / sqrt(1 - pow(double(attributes.beta2), t)));
  }
  __syncthreads();
  const float kept = shared[0], size = shared[1], root = shared[2], joined = shared[3], factor = *a.factor;
  const float b1 = attributes.beta1, b2 = attributes.beta2;
  const float c1 = float(1 - double(b1)), c2 = float(1 - double(b2));
  for_block(count, [&](int64_t i) {
    const float old = a.parameters[i];
    const float gradient = clipped(a.gradients[i] * factor, attributes.clip, attributes.maximum) + joined * old;
    const float first = a.first[i] * b1 + gradient * c1, second = a.second[i] * b2 + gradient * gradient * c2;
    a.first[i] = first;
    a.second[i] = second;
    write_parameter(a, i, old * kept - size * first / (sqrtf(second) * root + attributes.epsilon));
  });
}

// g += decay p; b = momentum b + g; p -= lr (nesterov ? g + momentum b : b), as torch.optim.SGD with dampening 0.
__global__ void __launch_bounds__(THREADS)
    update_sgd(Arenas a, int64_t count, SgdAttributes attributes, const double* scalars) {
  if (*a.finite == 0) return;
  const float momentum = attributes.momentum, factor = *a.factor;
  const float decay = attributes.weight_decay * a.table[2 * blockIdx.x];
  const float size = float(scalars[SCALAR_LEARNING_RATE] * a.table[2 * blockIdx.x + 1]);
  for_block(count, [&](int64_t i) {
    const float old = a.parameters[i];
    float gradient = clipped(a.gradients[i] * factor, attributes.clip, attributes.maximum) + decay * old;
    if (momentum != 0.0f) {
      const float moved = a.first[i] * momentum + gradient;
      a.first[i] = moved;
      gradient = attributes.nesterov ? gradient + momentum * moved : moved;
    }
    write_parameter(a, i, old - size * gradient);
  });
}

float* floats(const Operand& operand) { return static_cast<float*>(operand.data); }
int32_t* integers(const Operand& operand) { return static_cast<int32_t*>(operand.data); }

// Entries of the table that elements belong to.
dim3 blocks_of(int64_t count, const Operand& table) {
  const int64_t needed = divide_up(count, TABLE_BLOCK);
  return dim3(unsigned(needed < table.shape[0] ? needed : table.shape[0]));
}

}  // namespace

int64_t gradient_norm_workspace(const Call& call) {
  return divide_up(call.in[0].shape[0], NORM_BLOCK) * int64_t(sizeof(double));
}

Status gradient_norm(const Call& call, Stream stream) {
  const int64_t count = call.in[0].shape[0], blocks = divide_up(count, NORM_BLOCK);
  double* partial = static_cast<double*>(call.context->workspace);
  if (blocks > 0) {
    const Status status = launch(sum_squares, dim3(unsigned(blocks)), dim3(THREADS), 0, stream, floats(call.in[0]), count, partial);
    if (status != cudaSuccess) return status;
  }
  return launch(finish_norm, dim3(1), dim3(THREADS), 0, stream, partial, blocks, floats(call.in[1]),
                attributes_of<GradientNormAttributes>(call), floats(call.out[0]), floats(call.out[1]), integers(call.out[2]));
}

Status adamw(const Call& call, Stream stream) {
  const Operand* in = call.in;
  const Arenas arenas = {floats(in[0]), floats(in[1]),   floats(in[2]), floats(in[3]),
                         floats(in[4]), integers(in[5]), floats(in[6]), integers(in[7]),
                         static_cast<bf16*>(in[8].data)};
  const dim3 blocks = blocks_of(in[0].shape[0], in[4]);
  if (blocks.x > 0) {
    const Status status = launch(update_adamw, blocks, dim3(THREADS), 0, stream, arenas, in[0].shape[0],
                                 attributes_of<AdamwAttributes>(call), call.context->scalars);
    if (status != cudaSuccess) return status;
  }
  return launch(count_update, dim3(1), dim3(1), 0, stream, arenas.counters, arenas.finite);
}

Status sgd(const Call& call, Stream stream) {
  const Operand* in = call.in;
  const Arenas arenas = {floats(in[0]), floats(in[1]),   floats(in[2]), nullptr,
                         floats(in[3]), integers(in[4]), floats(in[5]), integers(in[6]),
                         static_cast<bf16*>(in[7].data)};
  const dim3 blocks = blocks_of(in[0].shape[0], in[3]);
  if (blocks.x > 0) {
    const Status status = launch(update_sgd, blocks, dim3(THREADS), 0, stream, arenas, in[0].shape[0],
                                 attributes_of<SgdAttributes>(call), call.context->scalars);
    if (status != cudaSuccess) return status;
  }
  return launch(count_update, dim3(1), dim3(1), 0, stream, arenas.counters, arenas.finite);
}

}}  // namespace heddle::cuda
