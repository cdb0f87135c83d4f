// Which GPUs can be used, in words; the one place outside native/cuda that knows of the build without it.
#pragma once
#include <memory>
#include <string>
#include <vector>

#include "../backend.h"
#ifdef HEDDLE_CUDA
#include "backend.h"
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
};

#ifdef HEDDLE_CUDA
inline CudaAvailability cuda_availability() {
  const cuda::Probe found = cuda::probe();
  CudaAvailability result = {true, found.available, found.reason, {}};
  for (const cuda::Device& device : found.devices)
    result.devices.push_back(
        {device.name, "sm_" + std::to_string(device.major) + std::to_string(device.minor), device.memory_bytes, device.problem});
  return result;
}
inline std::unique_ptr<Backend> open_cuda(int index) { return cuda::open(index); }
#else
inline CudaAvailability cuda_availability() { return {false, false, "built without CUDA; npx heddle doctor says why", {}}; }
inline std::unique_ptr<Backend> open_cuda(int) { throw Error("DEVICE", "built without CUDA"); }
#endif

}  // namespace heddle
