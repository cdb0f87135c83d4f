// What CUDA there is on this machine, and if none can be used, why.
#pragma once
#include <cstddef>
#include <string>
#include <vector>

namespace heddle { namespace cuda {

struct Device {
  std::string name;
  int major, minor;     // compute capability
  size_t memory_bytes;  // in all
  std::string problem;  // why this device cannot be used; empty where a kernel ran on it and gave the right result
};

struct Probe {
  bool available;      // at least one device works
  std::string reason;  // one sentence where none does
  int driver_version;  // the CUDA version that the driver supports, such as 13000; 0 without a driver
  int runtime_version;
  std::vector<Device> devices;
};

// Needs no driver. Creates a context on every device and leaves the calling thread on device 0: costs up to a second.
Probe probe();

}}  // namespace heddle::cuda
