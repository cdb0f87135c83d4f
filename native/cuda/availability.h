// Whether CUDA can be used, in words; the one place outside native/cuda that knows of the build without it.
#pragma once
#include <string>
#ifdef HEDDLE_CUDA
#include "probe.h"
#endif

namespace heddle {

struct CudaAvailability {
  bool is_built, is_available;
  std::string reason;  // why not, where it is not available
};

inline CudaAvailability cuda_availability() {
#ifdef HEDDLE_CUDA
  const cuda::Probe found = cuda::probe();
  return {true, found.available, found.reason};
#else
  return {false, false, "built without CUDA"};
#endif
}

// Why sessions run on the CPU.
inline std::string cuda_unused_reason() {
  const CudaAvailability found = cuda_availability();
  return found.is_available ? "the CUDA backend runs no programs yet; use device 'cpu'" : found.reason;
}

}  // namespace heddle
