// Which GPUs can be used, in words; the one place outside native/cuda that knows of the build without it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"
#ifdef HEDDLE_CUDA
#include "backend.h"
#include "cublas_search.h"
#include "probe.h"
#endif

namespace heddle {

struct CudaDevice {
  std::string name, architecture;  // such as sm_90
  uint64_t memory_bytes;
  std::string problem;             // why it cannot be used; empty where it can
};

struct CudaAvailability {
  bool is_built = false, is_available = false;
  std::string reason;  // why not, where it is not available
  std::vector<CudaDevice> devices;
  // Of NVIDIA's library of matrix products: which is used, or why none is, and the files that cannot be.
  std::string cublas_file, cublas_version, cublas_reason;
  std::vector<std::string> cublas_tried;
};

#ifdef HEDDLE_CUDA
inline CudaAvailability cuda_availability() {
  const cuda::Probe found = cuda::probe();
  CudaAvailability result;
  result.is_built = true, result.is_available = found.available, result.reason = found.reason;
  for (const cuda::Device& device : found.devices)
    result.devices.push_back(
        {device.name, "sm_" + std::to_string(device.major) + std::to_string(device.minor), device.memory_bytes, device.problem});
  return result;
}
// Fills in what is known of the library; loads it for that.
inline void look_for_cublas(CudaAvailability& result) {
  if (!result.is_available) {
    result.cublas_reason = "CUDA is not available";
    return;
  }
  const cuda::CublasSearch search = cuda::find_cublas();
  result.cublas_file = search.file, result.cublas_version = search.version;
  result.cublas_reason = search.reason, result.cublas_tried = search.tried;
}
inline std::unique_ptr<Backend> open_cuda(int index, bool tf32) { return cuda::open(index, tf32); }
#else
inline void look_for_cublas(CudaAvailability&) {}
inline CudaAvailability cuda_availability() {
  CudaAvailability result;
  result.reason = "built without CUDA; npx heddle doctor says why";
  return result;
}
inline std::unique_ptr<Backend> open_cuda(int, bool) { throw Error("DEVICE", "built without CUDA"); }
#endif

}  // namespace heddle
