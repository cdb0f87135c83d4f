// cuBLASLt, NVIDIA's library of matrix products, loaded at run time: the addon neither includes its headers nor links it,
// and works without it. The prototypes here are those of cuBLASLt 12 and 13 (https://docs.nvidia.com/cuda/cublas).
#pragma once
#include <string>
#include <vector>

#include "cublas_search.h"
#include "kernels.h"

namespace heddle { namespace cuda {

// The part of a product that the library can be asked for, in its own words: matrices lie by columns there, so that y
// by rows is y^T = b^T a^T.
struct CublasProduct {
  int32_t real, result;  // cudaDataType_t of operands and of what is written
  int32_t compute;       // cublasComputeType_t
  int64_t batches, rows, columns, depth;  // of the library's D: rows is our N, columns our M
  struct Matrix {
    void* data = nullptr;
    int64_t rows = 0, columns = 0, leading = 0, batch_stride = 0;
    bool is_transposed = false;
  } a, b, c, d;           // the library's A is our b
  int32_t epilogue = 1;  // cublasLtEpilogue_t: DEFAULT
  void *bias = nullptr, *auxiliary = nullptr;
  int64_t auxiliary_leading = 0, auxiliary_stride = 0;
};

// What the library does of the product: all of it (FUSED), all but sums of columns, or a b alone as float32 in a contiguous
// `product` (FINISHED). False where the library cannot do exactly that, and for FUSED_BUT_SUMS where there are no sums.
bool describe_for_cublas(const Call& call, MatmulChoice::Way way, void* product, CublasProduct& described);

struct CublasAlgorithm {
  uint64_t data[8];  // as the library keeps it: good for the same version of it
  uint64_t workspace_bytes;
};

class Cublas {
 public:
  // The first that can be used of: HEDDLE_CUBLAS (a file or a folder; 0 means none), the loader's path, CUDA_HOME, CUDA_PATH,
  // the usual folders and those of Python packages. Or `file` alone, where an earlier search found it.
  explicit Cublas(CublasSearch& search, const std::string& file = "");
  ~Cublas();
  Cublas(const Cublas&) = delete;

  bool is_loaded() const { return handle_ != nullptr; }
  const std::string& version() const { return version_; }
  // At most `most` algorithms that add in a fixed order, the library's favourite first; none where it fails.
  std::vector<CublasAlgorithm> algorithms(const CublasProduct& product, int most) const;
  // Whether an algorithm of an earlier process still suits.
  bool accepts(const CublasProduct& product, CublasAlgorithm& algorithm) const;
  // Enqueues the product; false where the library refuses.
  bool multiply(const CublasProduct& product, const CublasAlgorithm& algorithm, void* workspace, Stream stream) const;

 private:
  struct Functions;
  class Description;

  std::string open(const std::string& file);  // what is wrong, or nothing
  bool call(const CublasProduct& product, const CublasAlgorithm& algorithm, void* workspace, Stream stream) const;
  bool is_deterministic(const CublasAlgorithm& algorithm) const;

  void* library_ = nullptr;
  Functions* functions_ = nullptr;
  void* handle_ = nullptr;
  std::string version_;
};

}}  // namespace heddle::cuda
