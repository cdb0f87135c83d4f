// What one instruction must satisfy before any kernel sees it.
#pragma once
#include "program.h"

namespace heddle {

constexpr int64_t ELEMENT_BYTES[] = {4, 2, 4, 1};  // by DType

// Bytes from an operand's first element to the end of its last one.
int64_t span_bytes(const Operand& view);

// Throws Error where the instruction breaks its op's signature, writes what it must not, or has too little workspace.
void check_instruction(const Program& program, const Instruction& instruction);

}  // namespace heddle
