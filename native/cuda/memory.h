// Memory that frees itself, and statuses that become errors.
#pragma once
#include <utility>

#include "../error.h"
#include "gpu.h"

namespace heddle { namespace cuda {

// Throws DEVICE, naming what failed.
inline void check(Status status, const char* what) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // or the next call reports it again
  throw Error("DEVICE", std::string("CUDA: ") + what + ": " + cudaGetErrorString(status));
}

template <Status (*ALLOCATE)(void**, size_t), Status (*FREE)(void*)>
class Memory {
 public:
  Memory() = default;
  // Throws OUT_OF_MEMORY.
  Memory(uint64_t bytes, const char* what) : bytes_(bytes) {
    if (bytes == 0) return;
    const Status status = ALLOCATE(&data_, bytes);
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      size_t free = 0, total = 0;
      cudaMemGetInfo(&free, &total);
      throw Error(bytes, free, what);
    }
    check(status, what);
  }
  ~Memory() {
    if (data_) FREE(data_);
  }
  Memory(Memory&& other) noexcept { *this = std::move(other); }
  Memory& operator=(Memory&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(bytes_, other.bytes_);
    return *this;
  }
  uint8_t* data() const { return static_cast<uint8_t*>(data_); }
  uint64_t bytes() const { return bytes_; }

 private:
  void* data_ = nullptr;
  uint64_t bytes_ = 0;
};

inline Status allocate_device(void** memory, size_t bytes) { return cudaMalloc(memory, bytes); }
inline Status allocate_pinned(void** memory, size_t bytes) { return cudaMallocHost(memory, bytes); }
typedef Memory<allocate_device, cudaFree> DeviceMemory;
typedef Memory<allocate_pinned, cudaFreeHost> PinnedMemory;

}}  // namespace heddle::cuda
