// What the addon throws; src/runtime/addon.ts turns the codes into the classes of src/errors.ts.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace heddle {

struct Error : std::runtime_error {
  // One of DATA, SHAPE, CONFIG, OUT_OF_MEMORY, DEVICE, CLOSED.
  const char* code;
  // OUT_OF_MEMORY only: bytes wanted, and bytes the device could give.
  uint64_t needed = 0, free = 0;

  Error(const char* code, const std::string& message) : std::runtime_error(message), code(code) {}
  Error(uint64_t needed, uint64_t free, const std::string& what)
      : std::runtime_error(what + " needs " + std::to_string(needed) + " bytes but only " + std::to_string(free) +
                           " are free; use a smaller batch, sequence or model"),
        code("OUT_OF_MEMORY"),
        needed(needed),
        free(free) {}
};

}  // namespace heddle
