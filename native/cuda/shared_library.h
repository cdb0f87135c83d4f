// Where NVIDIA's shared libraries may lie.
#pragma once
#include <string>
#include <vector>

namespace heddle { namespace cuda {

// Files to try in turn for a library of one of these names: where `variable` of the environment is set, that file or those in
// that folder and nothing else; else the loader's path (bare names), CUDA_HOME, CUDA_PATH, the usual folders, and the
// folders of Python's package nvidia/`package` or nvidia/cu13 beside it. Files that do not exist are left out.
std::vector<std::string> library_files(const char* variable, const std::vector<std::string>& names, const std::string& package);

}}  // namespace heddle::cuda
