#include "memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "../error.h"

namespace heddle { namespace cpu {
namespace {

constexpr uint64_t HUGE_PAGE = 2 << 20;
#ifdef __SANITIZE_ADDRESS__
constexpr uint64_t LARGE = UINT64_MAX;  // all on the heap, where the sanitizer watches both ends
#else
constexpr uint64_t LARGE = HUGE_PAGE;
#endif
constexpr uint64_t UNLIMITED = UINT64_MAX;

// The number that stands after `key` in a file of lines, or alone in it where the key is empty.
uint64_t read_number(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  std::string word;
  while (file >> word) {
    if (key.empty()) return isdigit(word[0]) ? strtoull(word.c_str(), nullptr, 10) : UNLIMITED;
    uint64_t value;
    if (word == key && file >> value) return value;
  }
  return UNLIMITED;
}

struct GroupFiles {
  const char *limit, *usage, *reclaimable;
};

// What one control group leaves; cached file pages count as used there but go first when memory is short.
uint64_t left_in_group(const std::string& folder, const GroupFiles& files) {
  const uint64_t limit = read_number(folder + files.limit, "");
  const uint64_t usage = read_number(folder + files.usage, "");
  if (limit == UNLIMITED || usage == UNLIMITED) return UNLIMITED;
  const uint64_t cached = read_number(folder + "/memory.stat", files.reclaimable);
  const uint64_t held = cached == UNLIMITED ? usage : usage - std::min(usage, cached);
  return limit - std::min(limit, held);
}

// The least that the control groups of this process, from its own up to the root, leave.
uint64_t left_in_groups() {
  uint64_t left = UNLIMITED;
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const size_t first = line.find(':'), second = line.find(':', first + 1);
    if (second == std::string::npos) continue;
    const std::string controllers = line.substr(first + 1, second - first - 1);
    const bool version2 = controllers.empty();
    if (!version2 && controllers != "memory") continue;
    const GroupFiles files = version2 ? GroupFiles{"/memory.max", "/memory.current", "inactive_file"}
                                      : GroupFiles{"/memory.limit_in_bytes", "/memory.usage_in_bytes", "total_inactive_file"};
    const std::string root = version2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory";
    for (std::string path = line.substr(second + 1);; path.resize(path.rfind('/'))) {
      if (path == "/") path.clear();
      left = std::min(left, left_in_group(root + path, files));
      if (path.rfind('/') == std::string::npos) break;
    }
  }
  return left;
}

}  // namespace

uint64_t available_memory() {
  uint64_t machine = read_number("/proc/meminfo", "MemAvailable:");
  if (machine != UNLIMITED) machine *= 1024;
#ifdef __APPLE__
  machine = static_cast<uint64_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<uint64_t>(sysconf(_SC_PAGESIZE));
#endif
  return std::min(machine, left_in_groups());
}

Block::Block(uint64_t bytes, const char* what) : bytes_(bytes) {
  if (bytes == 0) return;
  if (bytes < LARGE) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, bytes) != 0) throw Error(bytes, 0, what);
    data_ = static_cast<uint8_t*>(memory);
    memset(data_, 0, bytes);
    return;
  }
  const uint64_t free = available_memory();
  if (bytes > free) throw Error(bytes, free, what);
  mapped_ = bytes + HUGE_PAGE;
  mapping_ = mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (mapping_ == MAP_FAILED) {
    mapping_ = nullptr;
    throw Error(bytes, free, what);
  }
  const uint64_t address = (reinterpret_cast<uint64_t>(mapping_) + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
  data_ = reinterpret_cast<uint8_t*>(address);
#ifdef MADV_HUGEPAGE
  madvise(data_, bytes, MADV_HUGEPAGE);
#endif
#ifdef MADV_POPULATE_WRITE
  // Pages are taken now: a machine that promises more than it has would otherwise kill the process in mid-step.
  if (madvise(data_, bytes, MADV_POPULATE_WRITE) != 0 && errno == ENOMEM) {
    munmap(mapping_, mapped_);
    mapping_ = nullptr;
    throw Error(bytes, available_memory(), what);
  }
#endif
}

Block::Block(Block&& other) noexcept { *this = std::move(other); }

Block& Block::operator=(Block&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_, other.mapped_);
  return *this;
}

Block::~Block() {
  if (mapping_) munmap(mapping_, mapped_);
  else free(data_);
}

}}  // namespace heddle::cpu
