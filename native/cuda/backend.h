// Sessions on an NVIDIA GPU.
#pragma once
#include <memory>

#include "../backend.h"

namespace heddle { namespace cuda {

// To be called on the session's thread, which device `index` then belongs to. With `tf32` products of float32 may round their
// operands to it.
std::unique_ptr<Backend> open(int index, bool tf32);

}}  // namespace heddle::cuda
