// Every line of inline PTX, each wrapper beside what the emulator does instead.
#pragma once
#include "gpu.h"

namespace heddle { namespace cuda {

#ifndef HEDDLE_SIMT

HEDDLE_DEVICE uint32_t shared_address(const void* p) { return uint32_t(__cvta_generic_to_shared(p)); }
// Within 2 ulp; subnormal results are 0.
HEDDLE_DEVICE float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
// Two bf16 in a register, the first in its low half; rounded to the nearest, ties to even.
HEDDLE_DEVICE uint32_t pack_bf16(float low, float high) {
  uint32_t pair;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(pair) : "f"(high), "f"(low));
  return pair;
}
// The first `bytes` of 16 from global to shared memory, and zeros for the rest; both addresses are multiples of 16.
HEDDLE_DEVICE void copy_async_bytes(void* to, const void* from, int bytes) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(from), "r"(bytes) : "memory");
}
// All 16, or zeros where `present` is false.
HEDDLE_DEVICE void copy_async(void* to, const void* from, bool present) { copy_async_bytes(to, from, present ? 16 : 0); }
// The same for one word of 4 bytes.
HEDDLE_DEVICE void copy_async_word(void* to, const void* from, bool present) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(from), "r"(present ? 4 : 0)
               : "memory");
}
HEDDLE_DEVICE void commit_copies() { asm volatile("cp.async.commit_group;" ::: "memory"); }
// Waits until at most GROUPS of this thread's committed groups are under way. Other threads' copies need a barrier too.
template <int GROUPS>
HEDDLE_DEVICE void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;" ::"n"(GROUPS) : "memory");
}
// Four 8 by 8 matrices of 16-bit elements; lane 8 m + i gives the address of row i of matrix m.
HEDDLE_DEVICE void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
HEDDLE_DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
// d[16][8] += a[16][16] b[16][8] in bf16.
HEDDLE_DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// d[16][8] += a[16][8] b[8][8] in tf32: float32 with 10 bits of mantissa.
HEDDLE_DEVICE void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3]) : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}
// The nearest number of tf32, ties away from 0, as bits of a float32.
HEDDLE_DEVICE uint32_t to_tf32(float x) {
  uint32_t y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}

#else

HEDDLE_DEVICE float fast_exp2(float x) { return exp2f(x); }
HEDDLE_DEVICE uint32_t pack_bf16(float low, float high) {
  return uint32_t(to_bf16(low).bits) | uint32_t(to_bf16(high).bits) << 16;
}
HEDDLE_DEVICE void copy_async_bytes(void* to, const void* from, int bytes, SIMT_PLACE) {
  simt::copy_async(to, from, 16, uint32_t(bytes), place);
}
HEDDLE_DEVICE void copy_async(void* to, const void* from, bool present, SIMT_PLACE) {
  simt::copy_async(to, from, 16, present ? 16 : 0, place);
}
HEDDLE_DEVICE void copy_async_word(void* to, const void* from, bool present, SIMT_PLACE) {
  simt::copy_async(to, from, 4, present ? 4 : 0, place);
}
HEDDLE_DEVICE void commit_copies() { simt::commit_copies(); }
template <int GROUPS>
HEDDLE_DEVICE void wait_for_copies() {
  simt::wait_for_copies(GROUPS);
}
HEDDLE_DEVICE void load_matrices(uint32_t (&r)[4], const void* row, SIMT_PLACE) {
  simt::load_matrices(r, 4, false, row, place);
}
HEDDLE_DEVICE void load_matrices_transposed(uint32_t (&r)[4], const void* row, SIMT_PLACE) {
  simt::load_matrices(r, 4, true, row, place);
}
HEDDLE_DEVICE void mma_bf16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, SIMT_PLACE) {
  const uint32_t b[2] = {b0, b1};
  simt::mma_bf16_16816(d, a, b, place);
}
HEDDLE_DEVICE void mma_tf32(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1, SIMT_PLACE) {
  const uint32_t b[2] = {b0, b1};
  simt::mma_tf32_1688(d, a, b, place);
}
HEDDLE_DEVICE uint32_t to_tf32(float x) { return (__float_as_uint(x) + 0x1000u) & 0xFFFFE000u; }

#endif

}}  // namespace heddle::cuda
