// Prototypes of the CUDA kernels, one for each op of ops.h, and the table of them in the order of the ops.
//
// A kernel enqueues its work and returns; it allocates nothing, waits for nothing and reads no device memory from the
// host, so that it can be captured into a graph. Grids depend on shapes alone. Call::context holds the workspace and the
// scalars, both in device memory.
#pragma once
#include "gpu.h"

namespace heddle { namespace cuda {

typedef Status (*Kernel)(const Call& call, Stream stream);

// Tiles of matmul.cu, on CUDA cores and on tensor cores.
enum MatmulTile { EXACT_LARGE, EXACT_SMALL, TENSOR_WIDE, TENSOR_LARGE, TENSOR_SMALL, MATMUL_TILES };
constexpr int PLANNED_TILE = -1;  // whichever suits the shapes

// How one product is computed: by a kernel of ours, by the library with our epilogue in it, or by the library with a kernel of
// ours for the epilogue. Sums of columns that the product has are made by the library where it is FUSED, else by a kernel of ours.
struct MatmulChoice {
  enum Way { OWN, FUSED, FUSED_BUT_SUMS, FINISHED } way = OWN;
  int tile = PLANNED_TILE;       // OWN: or the one to take, where it has the right arithmetic
  uint64_t algorithm[8] = {};    // else the library's
  uint64_t workspace_bytes = 0;  // of the algorithm
};
class Cublas;

// What a call's context is on a GPU, when it runs and when its workspace is asked for.
struct MatmulContext : Context {
  bool tf32 = false;  // products of float32 may round their operands to tf32
  MatmulChoice choice;
  const Cublas* cublas = nullptr;  // where the choice needs it
};
inline const MatmulContext& matmul_context(const Call& call) { return *static_cast<const MatmulContext*>(call.context); }

#define HEDDLE_DECLARE(name, ...) Status name(const Call& call, Stream stream);
HEDDLE_OPS(HEDDLE_DECLARE)
#undef HEDDLE_DECLARE

// Ops whose kernels need device memory beside their operands: name_workspace gives the bytes.
#define HEDDLE_CUDA_WORKSPACES(X) \
  X(attention) \
  X(attention_backward) \
  X(beam_candidates) \
  X(embedding_backward) \
  X(gradient_norm) \
  X(layer_norm_backward) \
  X(matmul) \
  X(rms_norm_backward) \
  X(skip_gram) \
  X(sum)
#define HEDDLE_DECLARE(name) int64_t name##_workspace(const Call& call);
HEDDLE_CUDA_WORKSPACES(HEDDLE_DECLARE)
#undef HEDDLE_DECLARE

extern const Kernel kernels[OP_COUNT];
// Bytes of device memory that a call of this op needs; 256-byte aligned.
int64_t workspace_of(int op, const Call& call);

}}  // namespace heddle::cuda
