#include "ranges.h"

#include <dlfcn.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>

// The names and numbers of the protocol between a program and an injected profiler are those of NVTX 3 (nvtxTypes.h of
// https://github.com/NVIDIA/NVTX): a profiler asks for export tables, and writes its functions into the slots that the table of
// the module CORE points to.
namespace heddle { namespace cuda {
namespace {

typedef void (*Function)();
enum Core { RANGE_PUSH = 9, RANGE_POP = 11, CORE_FUNCTIONS = 16 };
constexpr int MODULE_CORE = 1;
constexpr uint32_t TABLE_CALLBACKS = 1, TABLE_VERSION = 3, NVTX_VERSION = 3;

Function slots[CORE_FUNCTIONS];
Function* slot_addresses[CORE_FUNCTIONS + 1];  // numbered from 1; ends with null

int get_functions(int module, Function*** table, unsigned* size) {
  if (module != MODULE_CORE) return 0;
  for (int i = 1; i < CORE_FUNCTIONS; i++) slot_addresses[i] = &slots[i];
  if (size) *size = CORE_FUNCTIONS;
  if (table) *table = slot_addresses;
  return 1;
}
void set_profilers_version(uint32_t) {}

struct Callbacks {
  size_t size;
  int (*get_functions)(int, Function***, unsigned*);
};
struct Version {
  size_t size;
  uint32_t version, reserved;
  void (*set_profilers_version)(uint32_t);
};

const void* table_of(uint32_t number) {
  static const Callbacks callbacks = {sizeof(Callbacks), get_functions};
  static const Version version = {sizeof(Version), NVTX_VERSION, 0, set_profilers_version};
  return number == TABLE_CALLBACKS ? static_cast<const void*>(&callbacks) : number == TABLE_VERSION ? &version : nullptr;
}

struct Profiler {
  int (*push)(const char* name) = nullptr;
  int (*pop)() = nullptr;

  Profiler() {
    const char* const file = getenv("NVTX_INJECTION64_PATH");
    void* const library = file && *file ? dlopen(file, RTLD_LAZY) : nullptr;
    if (!library) return;
    typedef int (*Initialize)(const void* (*get_table)(uint32_t));
    const auto initialize = reinterpret_cast<Initialize>(dlsym(library, "InitializeInjectionNvtx2"));
    if (!initialize || initialize(table_of) != 1) return;
    push = reinterpret_cast<decltype(push)>(slots[RANGE_PUSH]);
    pop = reinterpret_cast<decltype(pop)>(slots[RANGE_POP]);
  }
};

// One for the process, as the protocol wants it; made when the first range begins.
const Profiler& profiler() {
  static const Profiler one;
  return one;
}

}  // namespace

Range::Range(const char* name) : is_open_(profiler().push && profiler().pop) {
  if (is_open_) profiler().push(name);
}
Range::~Range() {
  if (is_open_) profiler().pop();
}

}}  // namespace heddle::cuda
