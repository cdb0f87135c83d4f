// The one header that a CUDA kernel includes. Kernels write SHARED_ARRAY and SHARED_DYNAMIC, never a bare __shared__, are
// started by launch, never by <<<>>>, and reach PTX through ptx.h only: so the same sources also run on the emulator of
// test/native/simt, which HEDDLE_SIMT asks for.
#pragma once
#ifdef HEDDLE_SIMT
#include "simt.h"
#else
#include <cuda_runtime_api.h>
#endif

#include <cstddef>
#include <cstdint>

#include "../kernel.h"
#include "../numeric.h"
#include "../ops.h"

namespace heddle { namespace cuda {

typedef cudaStream_t Stream;
typedef cudaError_t Status;  // cudaSuccess is 0

}}  // namespace heddle::cuda

#if defined(HEDDLE_SIMT)

namespace heddle { namespace cuda {

template <typename... Parameters, typename... Arguments>
Status launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
              Arguments... arguments) {
  return simt::enqueue(stream, [=] {
    return simt::run_grid(grid, block, shared_bytes, [&] { kernel(static_cast<Parameters>(arguments)...); });
  });
}

}}  // namespace heddle::cuda

#elif defined(__CUDACC__)

#define SHARED_ARRAY(type, name, dimensions) __shared__ type name dimensions
// As many bytes as the launch asked for, aligned for TMA's 128-byte swizzle.
#define SHARED_DYNAMIC(name) extern __shared__ __align__(1024) unsigned char name[]

namespace heddle { namespace cuda {

// Starts `kernel` on `stream` with `shared_bytes` of SHARED_DYNAMIC memory. Past 48 KB a kernel has to ask for it.
template <typename... Parameters, typename... Arguments>
Status launch(void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared_bytes, Stream stream,
              Arguments... arguments) {
  if (shared_bytes > 48 * 1024) {
    const Status status = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int(shared_bytes));
    if (status != cudaSuccess) return status;
  }
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  return cudaGetLastError();
}

}}  // namespace heddle::cuda

#endif

#define HEDDLE_DEVICE static __device__ __forceinline__
