// A lambda for each index of a range, on all workers of the session.
#pragma once
#include "../kernel.h"
#include "isa.h"

namespace heddle { namespace cpu { namespace HEDDLE_ISA {

// body(index, worker) for index in [0, count). The split into indices must depend on shapes alone.
template <typename Body>
inline void parallel(Context* context, int64_t count, const Body& body) {
  context->parallel(
      context, count,
      [](void* argument, int64_t index, int32_t worker) { (*static_cast<const Body*>(argument))(index, worker); },
      const_cast<Body*>(&body));
}

}}}  // namespace heddle::cpu::HEDDLE_ISA
