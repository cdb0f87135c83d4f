// Runs CUDA kernel sources on the host: a block at a time, a cooperative fiber for each of its threads. gpu.h includes this
// in place of the toolkit's headers; the kernels do not know. What CUDA promises nothing about (the order of threads, when
// an asynchronous copy lands, what shared memory holds at first) is varied by the settings; what it forbids is reported with
// its line: divergent collectives, barriers that not all reach, exited lanes that others wait for, misaligned copies.
#pragma once
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <type_traits>

#include "runtime.h"

// ---- the language

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define SHARED_ARRAY(type, name, dimensions)                          \
  static char simt_key_##name;                                        \
  typedef type simt_type_##name dimensions;                           \
  simt_type_##name& name = *static_cast<simt_type_##name*>(           \
      ::simt::shared_array(&simt_key_##name, sizeof(simt_type_##name)))
#define SHARED_DYNAMIC(name) unsigned char* const name = ::simt::shared_dynamic()
#define threadIdx (::simt::thread_index())
#define blockIdx (::simt::block_index())
#define blockDim (::simt::block_dimensions())
#define gridDim (::simt::grid_dimensions())

namespace simt {

// Where in a kernel: default arguments of the built-ins below fill it in.
struct Place {
  const char* file;
  int line;
};

// From the environment at the first launch: HEDDLE_SIMT_ORDER, _COPIES, _POISON (a byte, or "none"), _SEED.
struct Settings {
  enum Order { FORWARD, SHUFFLED } order = FORWARD;    // of threads that could go on
  enum Copies { LATE, EARLY, MIXED } copies = LATE;    // when cp.async lands: at the wait, at once, or now so, now so
  int poison = 0xFF;                                   // of shared memory before its first write; -1 leaves it as it is
  uint64_t seed = 1;
  bool is_quiet = false;                               // faults are counted and not printed
};
extern Settings settings;

// Faults since the process began. A launch with a fault fails and leaves its grid unfinished.
int faults();

uint3 thread_index();
uint3 block_index();
dim3 block_dimensions();
dim3 grid_dimensions();
void* shared_array(void* key, size_t bytes);
unsigned char* shared_dynamic();

// Does `work` now, or notes it down where the stream is being captured.
cudaError_t enqueue(cudaStream_t stream, std::function<cudaError_t()> work);
// Runs body once for each thread of the grid.
cudaError_t run_grid(dim3 grid, dim3 block, size_t shared_bytes, const std::function<void()>& body);

void block_barrier(Place place);
void warp_barrier(uint32_t mask, Place place);
// Every lane of the mask gives a value; each gets that of the lane it names. A lane outside the mask gives rubbish.
uint64_t exchange(uint32_t mask, uint64_t value, int source, Place place);
uint32_t ballot(uint32_t mask, bool vote, Place place);
int lane();

void copy_async(void* to, const void* from, uint32_t bytes, uint32_t read_bytes, Place place);
uint64_t copies();  // asked for since the process began
void commit_copies();
void wait_for_copies(uint32_t groups_left);

// Tensor cores, in the fragment layouts of the PTX ISA (9.7.14). Sums run in float32 in the order of k.
void mma_bf16_16816(float* d, const uint32_t* a, const uint32_t* b, Place place);
void mma_tf32_1688(float* d, const uint32_t* a, const uint32_t* b, Place place);
void load_matrices(uint32_t* registers, int count, bool transposed, const void* row, Place place);

template <typename T>
T exchanged(uint32_t mask, T value, int source, Place place) {
  static_assert(std::is_trivially_copyable<T>::value && sizeof(T) <= 8, "a shuffle moves 4 or 8 bytes");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  bits = exchange(mask, bits, source, place);
  memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace simt

#define SIMT_PLACE ::simt::Place place = {__builtin_FILE(), __builtin_LINE()}

// ---- built-in functions

inline void __syncthreads(SIMT_PLACE) { simt::block_barrier(place); }
inline void __syncwarp(unsigned mask = ~0u, SIMT_PLACE) { simt::warp_barrier(mask, place); }
template <typename T>
T __shfl_sync(unsigned mask, T value, int source, int width = 32, SIMT_PLACE) {
  const int first = simt::lane() & ~(width - 1);
  return simt::exchanged(mask, value, first | (source & (width - 1)), place);
}
template <typename T>
T __shfl_xor_sync(unsigned mask, T value, int bits, int width = 32, SIMT_PLACE) {
  const int lane = simt::lane(), source = lane ^ bits;
  return simt::exchanged(mask, value, source >= (lane & ~(width - 1)) + width ? lane : source, place);
}
template <typename T>
T __shfl_down_sync(unsigned mask, T value, int distance, int width = 32, SIMT_PLACE) {
  const int lane = simt::lane(), within = lane & (width - 1);
  return simt::exchanged(mask, value, within + distance >= width ? lane : lane + distance, place);
}
template <typename T>
T __shfl_up_sync(unsigned mask, T value, int distance, int width = 32, SIMT_PLACE) {
  const int lane = simt::lane(), within = lane & (width - 1);
  return simt::exchanged(mask, value, within < distance ? lane : lane - distance, place);
}
inline unsigned __ballot_sync(unsigned mask, int vote, SIMT_PLACE) { return simt::ballot(mask, vote != 0, place); }
inline int __any_sync(unsigned mask, int vote, SIMT_PLACE) { return simt::ballot(mask, vote != 0, place) != 0; }
inline int __all_sync(unsigned mask, int vote, SIMT_PLACE) { return simt::ballot(mask, vote != 0, place) == mask; }

// As one thread of the host runs all blocks, ordinary operations would do; the thread sanitizer wants to be told.
inline void __threadfence() {}
template <typename T>
T atomicAdd(T* to, T value) {
  static_assert(std::is_integral<T>::value, "sums of floats depend on the order of threads");
  return __atomic_fetch_add(to, value, __ATOMIC_RELAXED);
}
template <typename T>
T atomicMax(T* to, T value) {
  T old = __atomic_load_n(to, __ATOMIC_RELAXED);
  while (value > old && !__atomic_compare_exchange_n(to, &old, value, true, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return old;
}

template <typename T>
T __ldg(const T* from) { return *from; }
inline int __popc(unsigned x) { return __builtin_popcount(x); }
inline int __clz(int x) { return x ? __builtin_clz(unsigned(x)) : 32; }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline unsigned __umulhi(unsigned a, unsigned b) { return unsigned(uint64_t(a) * b >> 32); }
inline float __uint_as_float(unsigned bits) { float x; memcpy(&x, &bits, 4); return x; }
inline unsigned __float_as_uint(float x) { unsigned bits; memcpy(&bits, &x, 4); return bits; }
inline int __float_as_int(float x) { int bits; memcpy(&bits, &x, 4); return bits; }
inline float __int_as_float(int bits) { float x; memcpy(&x, &bits, 4); return x; }
inline float __fdividef(float a, float b) { return a / b; }
inline float rsqrtf(float x) { return 1.0f / sqrtf(x); }
template <typename T>
T min(T a, T b) { return b < a ? b : a; }
template <typename T>
T max(T a, T b) { return a < b ? b : a; }
