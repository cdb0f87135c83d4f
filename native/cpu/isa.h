// The instruction-set variant this file is being compiled for: -DHEDDLE_ISA=baseline, avx2, avx512, avx512bf16 or neon.
// Every kernel source is compiled once for each, in a namespace of its own, and may use no std:: template: an inline
// instantiation of a wider variant could be the one the linker keeps for all.
#pragma once
#ifndef HEDDLE_ISA
#define HEDDLE_ISA baseline
#endif
