// The kernels of this variant in the order of ops.h.
// Moves nothing and computes nothing.
// Function pointers, read by the session once for each instruction of a program when it is loaded.
// A table of pointers makes a missing kernel a linker error that names it.
#include "kernels.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

#define HEDDLE_ENTRY(name, ...) name,
const Kernel kernels[OP_COUNT] = {HEDDLE_OPS(HEDDLE_ENTRY)};
#undef HEDDLE_ENTRY

}}}  // namespace heddle::cpu::HEDDLE_ISA
