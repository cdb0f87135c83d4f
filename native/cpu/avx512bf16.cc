// The kernels of the variant avx512bf16: those of avx512, but for the products of bf16, which this one multiplies in pairs.
// Moves nothing and computes nothing.
// A table of its own, so that an install compiles only what differs.
#include "../ops.h"
#include "isa.h"

namespace heddle { namespace cpu {

#define HEDDLE_DECLARE(name, ...) void name(const Call& call);
namespace avx512 {
HEDDLE_OPS(HEDDLE_DECLARE)
}
#undef HEDDLE_DECLARE

namespace HEDDLE_ISA {

using namespace avx512;        // what is not declared here is found there
void matmul(const Call& call);

extern const Kernel kernels[OP_COUNT];
#define HEDDLE_ENTRY(name, ...) name,
const Kernel kernels[OP_COUNT] = {HEDDLE_OPS(HEDDLE_ENTRY)};
#undef HEDDLE_ENTRY

}  // namespace HEDDLE_ISA

}}  // namespace heddle::cpu
