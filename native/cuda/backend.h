// Sessions on an NVIDIA GPU.
#pragma once
#include <memory>

#include "../backend.h"

namespace heddle { namespace cuda {

// To be called on the session's thread, which device `index` then belongs to.
std::unique_ptr<Backend> open(int index);

}}  // namespace heddle::cuda
