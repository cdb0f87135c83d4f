// The CPU: instructions in order, threads inside kernels.
#pragma once
#include <memory>

#include "../backend.h"

namespace heddle { namespace cpu {

// One set of kernels, compiled for an instruction set.
struct Variant {
  const char* name;
  bool (*is_supported)();
  const Kernel* kernels;
};

// Those linked in, the widest last.
std::vector<Variant> variants();
// The widest that this processor runs, or the one that the environment variable HEDDLE_ISA names. Throws CONFIG where that
// one is not built or not supported.
Variant choose_variant();

std::unique_ptr<Backend> open(const Variant& variant, int workers);

}}  // namespace heddle::cpu
