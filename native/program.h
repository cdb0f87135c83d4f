// A program as src/compile/encode.ts writes it, decoded and validated once. Whatever bytes come in, a Program that
// `decode` returns touches nothing outside the arenas it declares.
#pragma once
#include <array>
#include <vector>

#include "error.h"
#include "ops.h"

namespace heddle {

// Memory of one lifetime, in the order of `arenas` in src/graph/graph.ts.
enum Arena : uint8_t { PARAMETERS, PARAMETERS_BF16, GRADIENTS, OPTIMIZER_STATE, ACTIVATIONS, WORKSPACE, KV_CACHE, IO };
constexpr int ARENA_COUNT = 8;
extern const char* const ARENA_NAMES[ARENA_COUNT];
// Whether an arena's bytes outlive a run.
constexpr bool is_persistent(int arena) { return arena != ACTIVATIONS && arena != WORKSPACE && arena != IO; }
typedef std::array<uint64_t, ARENA_COUNT> ArenaBytes;

constexpr uint32_t ABSENT = 0xffffffffu;

struct Buffer {
  Arena arena;
  uint64_t offset;  // bytes
  Operand view;     // data is null until a backend places the arenas
};

struct Instruction {
  uint16_t op;
  uint8_t inputs, outputs;   // as many as the op's signature has
  uint32_t first_operand;    // in Program::operands: inputs, then outputs
  uint32_t first_attribute;  // in Program::attributes
  uint64_t workspace_offset, workspace_bytes;
};

// int32 inputs of a run that must lie in [minimum, limit).
struct InputRange {
  uint64_t offset, count;  // bytes from the start of the inputs; elements
  int64_t minimum, limit;
};

struct Program {
  ArenaBytes bytes;   // how large each arena must be
  ArenaBytes layout;  // hash of what lies where in it; 0 says that this program does not care
  uint64_t input_bytes, output_offset, output_bytes;  // within IO; inputs begin at 0
  std::vector<Buffer> buffers;
  std::vector<InputRange> ranges;
  std::vector<Instruction> instructions;
  std::vector<uint32_t> operands;    // buffer numbers, or ABSENT
  std::vector<uint64_t> attributes;  // words, so that attribute structs are aligned
};

// Throws Error: CONFIG for another version of the ops, SHAPE for extents that do not fit, else DATA.
Program decode(const uint8_t* bytes, size_t size);

// Throws DATA where an integer input lies outside its declared range.
void check_inputs(const Program& program, const uint8_t* inputs);

}  // namespace heddle
