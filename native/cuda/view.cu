// fill: every element of a strided view becomes one value.
// Writes 4 bytes an element, computes nothing.
// A thread takes every (grid x block)-th element, the last axis fastest: neighbours write neighbours where it is dense.
// At most 4,096 blocks, enough to saturate memory on any GPU, so that large views do not pay for starting blocks.
#include "gpu.h"

namespace heddle { namespace cuda {
namespace {

constexpr int THREADS = 256;
constexpr int64_t MOST_BLOCKS = 4096;

__global__ void fill_elements(Operand out, int64_t count, float value) {
  const int64_t step = int64_t(gridDim.x) * THREADS;
  for (int64_t element = int64_t(blockIdx.x) * THREADS + threadIdx.x; element < count; element += step) {
    int64_t rest = element, offset = 0;
    for (int axis = out.rank - 1; axis >= 0; axis--) {
      offset += rest % out.shape[axis] * out.stride[axis];
      rest /= out.shape[axis];
    }
    static_cast<float*>(out.data)[offset] = value;
  }
}

}  // namespace

Status fill(const Call& call, Stream stream) {
  const Operand& out = call.out[0];
  if (out.dtype != F32) return cudaErrorInvalidValue;
  int64_t count = 1;
  for (int axis = 0; axis < out.rank; axis++) count *= out.shape[axis];
  if (count == 0) return cudaSuccess;
  const int64_t blocks = (count + THREADS - 1) / THREADS;
  const float value = static_cast<const FillAttributes*>(call.attributes)->value;
  return launch(fill_elements, dim3(unsigned(blocks < MOST_BLOCKS ? blocks : MOST_BLOCKS)), dim3(THREADS), 0, stream,
                out, count, value);
}

}}  // namespace heddle::cuda
