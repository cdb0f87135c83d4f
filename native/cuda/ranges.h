// Names of what runs for NVIDIA's profilers (NVTX ranges), without their headers: a profiler names a library in
// NVTX_INJECTION64_PATH, which is given a table of functions to fill in. Without one a range costs a comparison.
#pragma once

namespace heddle { namespace cuda {

// From here to the end of the scope, on this thread.
class Range {
 public:
  explicit Range(const char* name);
  ~Range();
  Range(const Range&) = delete;

 private:
  const bool is_open_;
};

}}  // namespace heddle::cuda
