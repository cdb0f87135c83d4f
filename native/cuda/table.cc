// The kernels in the order of ops.h. A table of pointers makes a missing kernel a linker error that names it.
#include "kernels.h"

namespace heddle { namespace cuda {

#define HEDDLE_ENTRY(name, ...) name,
const Kernel kernels[OP_COUNT] = {HEDDLE_OPS(HEDDLE_ENTRY)};
#undef HEDDLE_ENTRY

int64_t workspace_of(int op, const Call& call) {
#define HEDDLE_ENTRY(name) \
  if (kernels[op] == name) return name##_workspace(call);
  HEDDLE_CUDA_WORKSPACES(HEDDLE_ENTRY)
#undef HEDDLE_ENTRY
  return 0;
}

}}  // namespace heddle::cuda
