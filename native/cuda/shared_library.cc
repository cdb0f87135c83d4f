#include "shared_library.h"

#include <glob.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>

namespace heddle { namespace cuda {
namespace {

std::string text_of(const char* variable) {
  const char* const value = getenv(variable);
  return value ? value : "";
}

std::vector<std::string> parts_of(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t start = 0; start < path.size();) {
    const size_t end = std::min(path.find(':', start), path.size());
    if (end > start) parts.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

// Paths that match, the highest version last in the order of names first.
std::vector<std::string> matches_of(const std::string& pattern) {
  glob_t found = {};
  std::vector<std::string> paths;
  if (glob(pattern.c_str(), 0, nullptr, &found) == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  std::reverse(paths.begin(), paths.end());
  return paths;
}

bool is_folder(const std::string& path) {
  struct stat status;
  return stat(path.c_str(), &status) == 0 && S_ISDIR(status.st_mode);
}

// Patterns of the folders of libraries, most particular first.
std::vector<std::string> folder_patterns(const std::string& package) {
  std::vector<std::string> patterns, pythons;
  for (const char* variable : {"CUDA_HOME", "CUDA_PATH"})
    if (const std::string home = text_of(variable); !home.empty())
      patterns.insert(patterns.end(), {home + "/lib64", home + "/lib", home + "/targets/*-linux/lib"});
  patterns.insert(patterns.end(), {"/usr/local/cuda/lib64", "/usr/local/cuda-*/lib64", "/opt/cuda/lib64",
                                   "/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64"});
  // Environments of Python: the active one, those whose python is on the path, the user's and the system's.
  for (const char* variable : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string home = text_of(variable); !home.empty()) pythons.push_back(home + "/lib/python3*/site-packages");
  for (const std::string& folder : parts_of(text_of("PYTHONPATH"))) pythons.push_back(folder);
  for (const std::string& folder : parts_of(text_of("PATH"))) pythons.push_back(folder + "/../lib/python3*/site-packages");
  if (const std::string home = text_of("HOME"); !home.empty()) pythons.push_back(home + "/.local/lib/python3*/site-packages");
  pythons.insert(pythons.end(), {"/usr/local/lib/python3*/dist-packages", "/usr/lib/python3*/dist-packages"});
  for (const std::string& python : pythons)
    for (const std::string& folder : {package, std::string("cu13"), std::string("*")})
      patterns.push_back(python + "/nvidia/" + folder + "/lib");
  return patterns;
}

}  // namespace

std::vector<std::string> library_files(const char* variable, const std::vector<std::string>& names, const std::string& package) {
  std::vector<std::string> files;
  const auto add = [&](const std::string& file) {
    if (std::find(files.begin(), files.end(), file) == files.end()) files.push_back(file);
  };
  if (const std::string asked = text_of(variable); !asked.empty()) {
    if (!is_folder(asked)) return {asked};
    for (const std::string& name : names)
      for (const std::string& file : matches_of(asked + "/" + name)) add(file);
    return files;
  }
  for (const std::string& name : names) add(name);
  for (const std::string& pattern : folder_patterns(package))
    for (const std::string& name : names)
      for (const std::string& file : matches_of(pattern + "/" + name)) add(file);
  return files;
}

}}  // namespace heddle::cuda
