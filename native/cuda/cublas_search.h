// Which cuBLASLt there is on this machine, and if none can be used, why.
#pragma once
#include <string>
#include <vector>

namespace heddle { namespace cuda {

// What was looked for and found.
struct CublasSearch {
  std::string file, version;       // empty where none is used
  std::string reason;              // why not, in one sentence
  std::vector<std::string> tried;  // files that are there and cannot be used, each with its problem
};

// What sessions would use, for whoever asks.
CublasSearch find_cublas();

}}  // namespace heddle::cuda
