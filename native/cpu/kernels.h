// Prototypes of this variant's kernels, one for each op of ops.h, and the table of them in the order of the ops.
#pragma once
#include "../ops.h"
#include "isa.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

#define HEDDLE_DECLARE(name, ...) void name(const Call& call);
HEDDLE_OPS(HEDDLE_DECLARE)
#undef HEDDLE_DECLARE

extern const Kernel kernels[OP_COUNT];

}}}  // namespace heddle::cpu::HEDDLE_ISA
