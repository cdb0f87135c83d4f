// A profiler as NVTX_INJECTION64_PATH names one: keeps the ranges it is told of as text.
#include <stddef.h>
#include <stdint.h>

#include <string>

namespace {

typedef void (*Function)();
struct Callbacks {
  size_t size;
  int (*get_functions)(int, Function***, unsigned*);
};

std::string told;

int push(const char* name) { return told += std::string("(") + name, 0; }
int pop() { return told += ")", 0; }

}  // namespace

extern "C" const char* toldRanges() { return told.c_str(); }

extern "C" int InitializeInjectionNvtx2(const void* (*get_table)(uint32_t)) {
  const auto* const callbacks = static_cast<const Callbacks*>(get_table(1));
  Function** table = nullptr;
  unsigned size = 0;
  if (!callbacks || callbacks->size < sizeof(Callbacks) || !callbacks->get_functions(1, &table, &size) || size < 12) return 0;
  *table[9] = reinterpret_cast<Function>(push);
  *table[11] = reinterpret_cast<Function>(pop);
  return 1;
}
