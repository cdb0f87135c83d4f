// What a kernel is given. Plain structs only: this header is compiled into every instruction-set variant.
#pragma once
#include <cstddef>
#include <cstdint>

namespace heddle {

enum DType : int32_t { F32 = 0, BF16 = 1, I32 = 2, U8 = 3 };
constexpr int MAX_RANK = 6;

// One operand of an instruction. Strides count elements and may be 0 (a broadcast axis). `data` is null for an
// optional input that is absent and for an output that nobody reads.
struct Operand {
  void* data;
  int32_t dtype;
  int32_t rank;
  int64_t shape[MAX_RANK];
  int64_t stride[MAX_RANK];
};

// Runs task(argument, index, worker) for every index in [0, count), in any order and on any worker. A kernel splits its
// work by shape alone, never by the number of workers: that is what makes results independent of it.
typedef void (*Task)(void* argument, int64_t index, int32_t worker);

struct Context {
  void (*parallel)(Context* context, int64_t count, Task task, void* argument);
  void* workspace;          // shared by all workers, 64-byte aligned, as large as the op declared
  int64_t workspace_bytes;
  void* const* scratch;     // one block per worker, 64-byte aligned
  int64_t scratch_bytes;    // size of each of them: SCRATCH_BYTES
  int32_t workers;
  const double* scalars;    // indexed by the Scalar enumeration of ops.h
};
constexpr int64_t SCRATCH_BYTES = 2 << 20;

struct Call {
  const Operand* in;
  const Operand* out;
  const void* attributes;   // the op's struct in ops.h
  Context* context;
};

typedef void (*Kernel)(const Call&);

}  // namespace heddle
