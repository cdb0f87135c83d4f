// The norm of all gradients with the factor that clips them, and the updates of AdamW and SGD over flat arenas.
// Norm: 4 bytes and 2 flops an element. AdamW: reads four arenas and writes three, 28 bytes, 14 flops; SGD 12 to 20; 2 more with a bf16 mirror.
// The norm sums squares in float64 over blocks of 16,384 elements, added in their order. Updates are split into runs of
// four blocks of the table (4,096 elements): no element depends on another, and each arena is touched once.
#include <math.h>

#include "kernels.h"
#include "math.h"
#include "operand.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

namespace {

constexpr int64_t NORM_BLOCK = 16384;  // src/ops/optimizer.ts sizes the workspace by it
constexpr int64_t TABLE_BLOCK = 1024;  // elements an entry {decay factor, learning-rate factor} stands for
constexpr int64_t BLOCKS_PER_TASK = 4;

typedef float HalfVector __attribute__((vector_size(LANES * 2)));
typedef double DoubleVector __attribute__((vector_size(LANES * 4)));

double sum_of_squares(const float* x, int64_t count) {
  constexpr int64_t HALF = LANES / 2;
  DoubleVector sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * HALF <= count; i += 4 * HALF) {
    for (int part = 0; part < 4; part++) {
      HalfVector v;
      memcpy(&v, x + i + part * HALF, sizeof v);
      const DoubleVector wide = __builtin_convertvector(v, DoubleVector);
      sum[part] += wide * wide;
    }
  }
  const DoubleVector all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  double total = 0;
  for (int lane = 0; lane < HALF; lane++) total += all[lane];
  for (; i < count; i++) total += static_cast<double>(x[i]) * x[i];
  return total;
}

// counters = {applied, skipped, skipped in a row, unused}.
void count_update(int32_t* counters, bool applied) {
  counters[0] += applied;
  counters[1] += !applied;
  counters[2] = applied ? 0 : counters[2] + 1;
}

HEDDLE_INLINE Vector clipped(Vector gradient, bool by_value, float maximum_value) {
  if (!by_value) return gradient;
  return minimum(broadcast(maximum_value), maximum(broadcast(-maximum_value), gradient));
}

// update(start, end, decay factor, learning-rate factor) for each block of the table.
template <typename Update>
void for_blocks(const Call& call, const Operand& parameters, const Operand& table, const Update& update) {
  const int64_t count = parameters.shape[0], entries = table.shape[0];
  parallel_ranges(call.context, smaller(entries, divide_up(count, TABLE_BLOCK)), BLOCKS_PER_TASK,
                  [&](int64_t first, int64_t last, int32_t) {
                    for (int64_t block = first; block < last; block++) {
                      const float* entry = floats(table) + 2 * block;
                      update(block * TABLE_BLOCK, smaller(count, (block + 1) * TABLE_BLOCK), entry[0], entry[1]);
                    }
                  });
}

}  // namespace

void gradient_norm(const Call& call) {
  const GradientNormAttributes& attributes = attributes_of<GradientNormAttributes>(call);
  const float* gradients = floats(call.in[0]);
  const int64_t count = call.in[0].shape[0], blocks = divide_up(count, NORM_BLOCK);
  double* partial = static_cast<double*>(call.context->workspace);
  parallel(call.context, blocks, [&](int64_t block, int32_t) {
    const int64_t start = block * NORM_BLOCK;
    partial[block] = sum_of_squares(gradients + start, smaller(NORM_BLOCK, count - start));
  });
  double total = 0;
  for (int64_t block = 0; block < blocks; block++) total += partial[block];

  const double tokens = *floats(call.in[1]), maximum_norm = attributes.maximum;
  // No token at all is no gradient: as bad as an infinite one, but never a NaN in the weights.
  const double norm = tokens > 0 ? sqrt(total) / tokens : static_cast<double>(__builtin_nanf(""));
  double factor = 1.0 / tokens;
  if (attributes.clip == CLIP_NORM && maximum_norm < norm + 1e-6) factor *= maximum_norm / (norm + 1e-6);
  if (attributes.clip == CLIP_RESCALE) factor *= maximum_norm / (norm + 1e-6);
  // Compared as float32, in which they are stored.
  const bool finite = static_cast<float>(norm) < __builtin_inff() && static_cast<float>(factor) < __builtin_inff();
  if (call.out[0].data) *floats(call.out[0]) = static_cast<float>(norm);
  if (call.out[1].data) *floats(call.out[1]) = finite ? static_cast<float>(factor) : 0.0f;
  if (call.out[2].data) *integers(call.out[2]) = finite;
}

// p -= lr decay p; m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; p -= lr m^ / (sqrt(v^) + epsilon), with the hats
// dividing by 1 - b^t (Loshchilov & Hutter 2017, algorithm 2, in torch's order of operations). Not decoupled, decay p joins g.
void adamw(const Call& call) {
  const AdamwAttributes& attributes = attributes_of<AdamwAttributes>(call);
  float *parameters = floats(call.in[0]), *first_moment = floats(call.in[2]), *second_moment = floats(call.in[3]);
  const float* gradients = floats(call.in[1]);
  int32_t* counters = integers(call.in[5]);
  const float factor = *floats(call.in[6]);
  const bool finite = *integers(call.in[7]) != 0;
  bf16* mirror = elements<bf16>(call.in[8]);
  if (!finite) return count_update(counters, false);

  const double t = static_cast<double>(counters[0]) + 1, rate = call.context->scalars[SCALAR_LEARNING_RATE];
  const double beta1 = attributes.beta1, beta2 = attributes.beta2;
  const double step = rate / (1 - pow(beta1, t));
  const float root = static_cast<float>(1 / sqrt(1 - pow(beta2, t))), epsilon = attributes.epsilon;
  const float b1 = attributes.beta1, b2 = attributes.beta2, c1 = static_cast<float>(1 - beta1),
              c2 = static_cast<float>(1 - beta2);
  const bool by_value = attributes.clip == CLIP_VALUE;
  const float limit = attributes.maximum;
  for_blocks(call, call.in[0], call.in[4], [&](int64_t start, int64_t end, float decay_factor, float rate_factor) {
    const float decay = attributes.weight_decay * decay_factor, joined = attributes.decoupled ? 0 : decay;
    const float kept = attributes.decoupled ? static_cast<float>(1 - rate * rate_factor * decay) : 1;
    const float size = static_cast<float>(step * rate_factor);
    float *p = parameters + start, *m = first_moment + start, *v = second_moment + start;
    const float* g = gradients + start;
    for_vectors(end - start, [&](int64_t i, int lanes) {
      const Vector old = fetch(p + i, lanes);
      const Vector gradient = clipped(fetch(g + i, lanes) * factor, by_value, limit) + joined * old;
      const Vector first = fetch(m + i, lanes) * b1 + gradient * c1;
      const Vector second = fetch(v + i, lanes) * b2 + gradient * gradient * c2;
      put(m + i, first, lanes);
      put(v + i, second, lanes);
      const Vector moved = old * kept - size * first / (square_root(second) * root + epsilon);
      put(p + i, moved, lanes);
      if (mirror) put(mirror + start + i, moved, lanes);
    });
  });
  count_update(counters, true);
}

// g += decay p; b = momentum b + g; p -= lr (nesterov ? g + momentum b : b), as torch.optim.SGD with dampening 0.
void sgd(const Call& call) {
  const SgdAttributes& attributes = attributes_of<SgdAttributes>(call);
  float *parameters = floats(call.in[0]), *buffer = floats(call.in[2]);
  const float* gradients = floats(call.in[1]);
  int32_t* counters = integers(call.in[4]);
  const float factor = *floats(call.in[5]);
  const bool finite = *integers(call.in[6]) != 0;
  bf16* mirror = elements<bf16>(call.in[7]);
  if (!finite) return count_update(counters, false);

  const double rate = call.context->scalars[SCALAR_LEARNING_RATE];
  const float momentum = attributes.momentum, limit = attributes.maximum;
  const bool nesterov = attributes.nesterov != 0, by_value = attributes.clip == CLIP_VALUE;
  for_blocks(call, call.in[0], call.in[3], [&](int64_t start, int64_t end, float decay_factor, float rate_factor) {
    const float decay = attributes.weight_decay * decay_factor, size = static_cast<float>(rate * rate_factor);
    float *p = parameters + start, *b = buffer + start;
    const float* g = gradients + start;
    for_vectors(end - start, [&](int64_t i, int lanes) {
      const Vector old = fetch(p + i, lanes);
      Vector gradient = clipped(fetch(g + i, lanes) * factor, by_value, limit) + decay * old;
      if (momentum != 0.0f) {
        const Vector moved = fetch(b + i, lanes) * momentum + gradient;
        put(b + i, moved, lanes);
        gradient = nesterov ? gradient + momentum * moved : moved;
      }
      put(p + i, old - size * gradient, lanes);
      if (mirror) put(mirror + start + i, old - size * gradient, lanes);
    });
  });
  count_update(counters, true);
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
