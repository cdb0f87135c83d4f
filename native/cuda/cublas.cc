#include "cublas.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>

#include "shared_library.h"

namespace heddle { namespace cuda {
namespace {

// Values of the library's enumerations.
constexpr int32_t TYPE_F32 = 0, TYPE_BF16 = 14, COMPUTE_F32 = 68, COMPUTE_TF32 = 77;
constexpr int DESCRIPTION_TRANSPOSE_A = 3, DESCRIPTION_TRANSPOSE_B = 4, DESCRIPTION_EPILOGUE = 7, DESCRIPTION_BIAS = 8;
constexpr int DESCRIPTION_AUXILIARY = 11, DESCRIPTION_AUXILIARY_LEADING = 12, DESCRIPTION_AUXILIARY_STRIDE = 13;
constexpr int LAYOUT_BATCHES = 5, LAYOUT_BATCH_STRIDE = 6;
constexpr int PREFERENCE_WORKSPACE = 1, PREFERENCE_REDUCTIONS = 3, PREFERENCE_ALIGNMENT_A = 5;
constexpr int CONFIGURATION_SPLITS = 2, CONFIGURATION_REDUCTION = 3;
constexpr uint32_t REDUCTION_NONE = 0, REDUCTION_COMPUTE_TYPE = 2;  // the latter: parts in float32, added by a second kernel
constexpr int32_t EPILOGUE_IS_BIAS = 4, EPILOGUE_IS_GELU = 32, EPILOGUE_HAS_AUXILIARY = 128, EPILOGUE_IS_DGELU = 192;
constexpr int32_t EPILOGUE_IS_SUM_OF_A = 256;  // BGRADA: over K
constexpr int32_t OPERATION_TRANSPOSE = 1;
constexpr int SUCCESS = 0;

constexpr uint64_t MOST_WORKSPACE = 32 << 20;  // as NVIDIA recommends for Hopper
constexpr size_t OLDEST_MAJOR = 12, NEWEST_MAJOR = 13;

struct Heuristic {
  uint64_t algorithm[8];
  size_t workspace_bytes;
  int state;
  float waves;
  int reserved[4];
};

bool has_unit_stride(const Operand& operand, int axis) { return operand.stride[axis] == 1 || operand.shape[axis] == 1; }

// The distance of the matrices of a batch, where it is the same everywhere.
bool batch_stride_of(const Operand& operand, int64_t& stride) {
  stride = 0;
  int64_t next = -1;
  for (int axis = operand.rank - 3; axis >= 0; axis--) {
    if (operand.shape[axis] == 1) continue;
    if (next < 0) stride = operand.stride[axis];
    else if (operand.stride[axis] != next) return false;
    next = operand.stride[axis] * operand.shape[axis];
  }
  return true;
}

// A matrix by rows is the transposed one by columns.
bool describe_matrix(const Operand& operand, CublasProduct::Matrix& matrix) {
  const int last = operand.rank - 1;
  const int64_t rows = operand.shape[last - 1], columns = operand.shape[last];
  matrix.data = operand.data;
  matrix.is_transposed = !has_unit_stride(operand, last);
  if (matrix.is_transposed && !has_unit_stride(operand, last - 1)) return false;
  matrix.rows = matrix.is_transposed ? rows : columns, matrix.columns = matrix.is_transposed ? columns : rows;
  // What a single column would be apart from the next does not matter.
  matrix.leading = matrix.columns == 1 ? matrix.rows : operand.stride[matrix.is_transposed ? last : last - 1];
  return matrix.leading >= matrix.rows && batch_stride_of(operand, matrix.batch_stride);
}

// Of BIAS, GELU, GELU_AUX, DGELU and BGRADA what is exactly ours: their GELU is that with tanh, their A is our b.
bool describe_epilogue(const Call& call, bool has_sums, CublasProduct& p) {
  const auto& attributes = *static_cast<const MatmulAttributes*>(call.attributes);
  const Operand &bias = call.in[2], &addend = call.in[3], &preactivation = call.in[4], &kept = call.out[1];
  p.epilogue = 0;
  if (has_sums) {
    // They have the dtype of the result and no batches, and leave no room for another epilogue.
    if (p.result != TYPE_F32 || p.batches != 1 || bias.data || attributes.epilogue != EPILOGUE_NONE || kept.data) return false;
    p.epilogue = EPILOGUE_IS_SUM_OF_A, p.bias = call.out[2].data;
  }
  if (bias.data) {
    if (p.result != TYPE_F32) return false;  // the library's bias has the dtype of the result
    p.epilogue |= EPILOGUE_IS_BIAS, p.bias = bias.data;
  }
  if (addend.data && (!describe_matrix(addend, p.c) || p.c.is_transposed)) return false;
  if (attributes.epilogue != EPILOGUE_NONE) {
    if (attributes.kind != ACTIVATION_GELU_TANH) return false;
    const bool is_backward = attributes.epilogue == EPILOGUE_ACTIVATION_BACKWARD;
    if (is_backward && (bias.data || addend.data)) return false;
    const Operand& auxiliary = is_backward ? preactivation : kept;
    p.epilogue |= is_backward ? EPILOGUE_IS_DGELU : EPILOGUE_IS_GELU;
    if (auxiliary.data) {
      CublasProduct::Matrix matrix;
      if (!describe_matrix(auxiliary, matrix) || matrix.is_transposed || matrix.leading % 8 || matrix.batch_stride % 8)
        return false;
      p.epilogue |= EPILOGUE_HAS_AUXILIARY;
      p.auxiliary = matrix.data, p.auxiliary_leading = matrix.leading, p.auxiliary_stride = matrix.batch_stride;
    }
  } else if (kept.data) {
    return false;
  }
  if (p.epilogue == 0) p.epilogue = 1;
  return true;
}

}  // namespace

bool describe_for_cublas(const Call& call, MatmulChoice::Way way, void* product, CublasProduct& p) {
  const Operand &a = call.in[0], &b = call.in[1], &y = call.out[0];
  const int last = a.rank - 1;
  const int64_t most = int64_t(1) << 31;
  p = CublasProduct();
  p.real = a.dtype == BF16 ? TYPE_BF16 : TYPE_F32;
  p.compute = p.real == TYPE_F32 && matmul_context(call).tf32 ? COMPUTE_TF32 : COMPUTE_F32;
  p.batches = 1;
  for (int axis = 0; axis < a.rank - 2; axis++) p.batches *= a.shape[axis];
  p.columns = a.shape[last - 1], p.depth = a.shape[last], p.rows = b.shape[b.rank - 1];
  if (p.depth == 0 || p.columns >= most || p.depth >= most || p.rows >= most || p.batches > 65535) return false;
  if (!describe_matrix(b, p.a) || !describe_matrix(a, p.b)) return false;
  if (way == MatmulChoice::FINISHED) {
    p.result = TYPE_F32;
    p.d.data = product, p.d.rows = p.d.leading = p.rows, p.d.columns = p.columns, p.d.batch_stride = p.rows * p.columns;
    return true;
  }
  const bool has_sums = call.out[2].data != nullptr;
  if (!y.data || (way == MatmulChoice::FUSED_BUT_SUMS && !has_sums)) return false;
  p.result = y.dtype == BF16 ? TYPE_BF16 : TYPE_F32;
  return describe_matrix(y, p.d) && !p.d.is_transposed &&
         describe_epilogue(call, has_sums && way == MatmulChoice::FUSED, p);
}

struct Cublas::Functions {
  int (*create)(void** handle);
  int (*destroy)(void* handle);
  size_t (*get_version)();
  int (*create_description)(void** description, int32_t compute, int32_t scale);
  int (*destroy_description)(void* description);
  int (*set_description)(void* description, int attribute, const void* value, size_t bytes);
  int (*create_layout)(void** layout, int32_t type, uint64_t rows, uint64_t columns, int64_t leading);
  int (*destroy_layout)(void* layout);
  int (*set_layout)(void* layout, int attribute, const void* value, size_t bytes);
  int (*create_preference)(void** preference);
  int (*destroy_preference)(void* preference);
  int (*set_preference)(void* preference, int attribute, const void* value, size_t bytes);
  int (*get_heuristics)(void* handle, void* description, void* a, void* b, void* c, void* d, void* preference, int most,
                        Heuristic* results, int* count);
  int (*check)(void* handle, void* description, void* a, void* b, void* c, void* d, const uint64_t* algorithm,
               Heuristic* result);
  int (*get_configuration)(const uint64_t* algorithm, int attribute, void* value, size_t bytes, size_t* written);
  int (*multiply)(void* handle, void* description, const void* alpha, const void* a, void* a_layout, const void* b,
                  void* b_layout, const void* beta, const void* c, void* c_layout, void* d, void* d_layout,
                  const uint64_t* algorithm, void* workspace, size_t workspace_bytes, Stream stream);
};

// The library's objects that say what is to be multiplied.
class Cublas::Description {
 public:
  Description(const Functions& f, const CublasProduct& p) : f_(f) {
    is_good = f.create_description(&operation, p.compute, TYPE_F32) == SUCCESS;
    const int32_t transpose = OPERATION_TRANSPOSE;
    if (p.a.is_transposed) set(DESCRIPTION_TRANSPOSE_A, transpose);
    if (p.b.is_transposed) set(DESCRIPTION_TRANSPOSE_B, transpose);
    if (p.epilogue != 1) set(DESCRIPTION_EPILOGUE, p.epilogue);
    if (p.bias) set(DESCRIPTION_BIAS, p.bias);
    if (p.auxiliary) {
      set(DESCRIPTION_AUXILIARY, p.auxiliary);
      set(DESCRIPTION_AUXILIARY_LEADING, p.auxiliary_leading);
      if (p.batches > 1) set(DESCRIPTION_AUXILIARY_STRIDE, p.auxiliary_stride);
    }
    a = layout(p.real, p.a, p.batches), b = layout(p.real, p.b, p.batches), d = layout(p.result, p.d, p.batches);
    c = p.c.data ? layout(p.result, p.c, p.batches) : d;
  }
  ~Description() {
    for (void* each : {a, b, d, c == d ? nullptr : c})
      if (each) f_.destroy_layout(each);
    if (operation) f_.destroy_description(operation);
  }
  Description(const Description&) = delete;

  void *operation = nullptr, *a = nullptr, *b = nullptr, *c = nullptr, *d = nullptr;
  bool is_good;

 private:
  template <typename T>
  void set(int attribute, const T& value) {
    is_good = is_good && f_.set_description(operation, attribute, &value, sizeof value) == SUCCESS;
  }
  void* layout(int32_t type, const CublasProduct::Matrix& m, int64_t batches) {
    void* made = nullptr;
    if (is_good) is_good = f_.create_layout(&made, type, uint64_t(m.rows), uint64_t(m.columns), m.leading) == SUCCESS;
    if (is_good && batches > 1) {
      const int32_t count = int32_t(batches);
      is_good = f_.set_layout(made, LAYOUT_BATCHES, &count, sizeof count) == SUCCESS &&
                f_.set_layout(made, LAYOUT_BATCH_STRIDE, &m.batch_stride, sizeof m.batch_stride) == SUCCESS;
    }
    return made;
  }
  const Functions& f_;
};

Cublas::Cublas(CublasSearch& search, const std::string& known) {
  search = CublasSearch();
  const char* const asked = getenv("HEDDLE_CUBLAS");
  if (asked && std::string(asked) == "0") {
    search.reason = "HEDDLE_CUBLAS=0";
    return;
  }
  const std::vector<std::string> names = {"libcublasLt.so.13", "libcublasLt.so.12"};
  const auto attempt = [&](const std::string& file) {
    const std::string problem = open(file);
    if (problem.empty()) search.file = file, search.version = version_;
    else if (file.find('/') != std::string::npos) search.tried.push_back(file + ": " + problem);
    return problem.empty();
  };
  const std::vector<std::string> files =
      known.empty() ? library_files("HEDDLE_CUBLAS", names, "cublas") : std::vector<std::string>{known};
  for (const std::string& file : files)
    if (attempt(file)) return;
  search.reason = asked && *asked       ? "HEDDLE_CUBLAS=" + std::string(asked) + " names no library that can be used"
                  : search.tried.empty() ? "libcublasLt was not found; HEDDLE_CUBLAS may name it"
                                         : "no libcublasLt that can be used";
}

std::string Cublas::open(const std::string& file) {
  void* const library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) return dlerror();
  Functions f = {};
  const char* missing = nullptr;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::decay_t<decltype(function)>>(dlsym(library, name));
    if (!function && !missing) missing = name;
  };
  find(f.create, "cublasLtCreate");
  find(f.destroy, "cublasLtDestroy");
  find(f.get_version, "cublasLtGetVersion");
  find(f.create_description, "cublasLtMatmulDescCreate");
  find(f.destroy_description, "cublasLtMatmulDescDestroy");
  find(f.set_description, "cublasLtMatmulDescSetAttribute");
  find(f.create_layout, "cublasLtMatrixLayoutCreate");
  find(f.destroy_layout, "cublasLtMatrixLayoutDestroy");
  find(f.set_layout, "cublasLtMatrixLayoutSetAttribute");
  find(f.create_preference, "cublasLtMatmulPreferenceCreate");
  find(f.destroy_preference, "cublasLtMatmulPreferenceDestroy");
  find(f.set_preference, "cublasLtMatmulPreferenceSetAttribute");
  find(f.get_heuristics, "cublasLtMatmulAlgoGetHeuristic");
  find(f.check, "cublasLtMatmulAlgoCheck");
  find(f.get_configuration, "cublasLtMatmulAlgoConfigGetAttribute");
  find(f.multiply, "cublasLtMatmul");
  const auto fail = [&](const std::string& problem) {
    dlclose(library);
    return problem;
  };
  if (missing) return fail(std::string("has no ") + missing);
  const size_t version = f.get_version(), major = version / 10000;
  const std::string text =
      std::to_string(major) + "." + std::to_string(version / 100 % 100) + "." + std::to_string(version % 100);
  if (major < OLDEST_MAJOR || major > NEWEST_MAJOR)
    return fail("is cuBLASLt " + text + ", but " + std::to_string(OLDEST_MAJOR) + " or " + std::to_string(NEWEST_MAJOR) +
                " is needed");
  void* handle = nullptr;
  if (const int status = f.create(&handle); status != SUCCESS || !handle)
    return fail("cublasLtCreate fails with status " + std::to_string(status));
  library_ = library, functions_ = new Functions(f), handle_ = handle, version_ = text;
  return "";
}

Cublas::~Cublas() {
  if (handle_) functions_->destroy(handle_);
  delete functions_;
  if (library_) dlclose(library_);
}

bool Cublas::is_deterministic(const CublasAlgorithm& algorithm) const {
  int32_t splits = 0;
  uint32_t reduction = 0;
  size_t written = 0;
  if (functions_->get_configuration(algorithm.data, CONFIGURATION_SPLITS, &splits, sizeof splits, &written) != SUCCESS ||
      functions_->get_configuration(algorithm.data, CONFIGURATION_REDUCTION, &reduction, sizeof reduction, &written) != SUCCESS)
    return false;
  return splits <= 1 || reduction == REDUCTION_NONE || reduction == REDUCTION_COMPUTE_TYPE;
}

std::vector<CublasAlgorithm> Cublas::algorithms(const CublasProduct& product, int most) const {
  std::vector<CublasAlgorithm> found;
  const Functions& f = *functions_;
  const Description description(f, product);
  void* preference = nullptr;
  if (!description.is_good || f.create_preference(&preference) != SUCCESS) return found;
  const auto alignment = [](const CublasProduct::Matrix& m) {
    const uintptr_t address = reinterpret_cast<uintptr_t>(m.data);
    uint32_t bytes = 16;  // what the kind of a product tells apart
    while (address % bytes) bytes /= 2;
    return bytes;
  };
  bool is_good = f.set_preference(preference, PREFERENCE_WORKSPACE, &MOST_WORKSPACE, sizeof MOST_WORKSPACE) == SUCCESS &&
                 f.set_preference(preference, PREFERENCE_REDUCTIONS, &REDUCTION_COMPUTE_TYPE,
                                  sizeof REDUCTION_COMPUTE_TYPE) == SUCCESS;
  const CublasProduct::Matrix* const matrices[] = {&product.a, &product.b, product.c.data ? &product.c : &product.d, &product.d};
  for (int i = 0; i < 4; i++) {
    const uint32_t bytes = alignment(*matrices[i]);
    is_good = is_good && f.set_preference(preference, PREFERENCE_ALIGNMENT_A + i, &bytes, sizeof bytes) == SUCCESS;
  }
  std::vector<Heuristic> results(static_cast<size_t>(most));
  int count = 0;
  if (is_good && f.get_heuristics(handle_, description.operation, description.a, description.b, description.c, description.d,
                                  preference, most, results.data(), &count) != SUCCESS)
    count = 0;
  f.destroy_preference(preference);
  for (int i = 0; i < std::min(count, most); i++) {
    CublasAlgorithm algorithm;
    std::copy_n(results[i].algorithm, 8, algorithm.data);
    algorithm.workspace_bytes = results[i].workspace_bytes;
    if (results[i].state == SUCCESS && algorithm.workspace_bytes <= MOST_WORKSPACE && is_deterministic(algorithm))
      found.push_back(algorithm);
  }
  return found;
}

bool Cublas::accepts(const CublasProduct& product, CublasAlgorithm& algorithm) const {
  const Description d(*functions_, product);
  Heuristic result = {};
  if (!d.is_good || functions_->check(handle_, d.operation, d.a, d.b, d.c, d.d, algorithm.data, &result) != SUCCESS)
    return false;
  algorithm.workspace_bytes = result.workspace_bytes;
  return algorithm.workspace_bytes <= MOST_WORKSPACE && is_deterministic(algorithm);
}

bool Cublas::multiply(const CublasProduct& p, const CublasAlgorithm& algorithm, void* workspace, Stream stream) const {
#ifdef HEDDLE_SIMT  // the library knows nothing of the emulator's streams, which may be noting down what they are asked for
  const auto work = [=] { return call(p, algorithm, workspace, stream) ? cudaSuccess : cudaErrorInvalidValue; };
  return simt::enqueue(stream, work) == cudaSuccess;
#else
  return call(p, algorithm, workspace, stream);
#endif
}

bool Cublas::call(const CublasProduct& p, const CublasAlgorithm& algorithm, void* workspace, Stream stream) const {
  const Description d(*functions_, p);
  const float alpha = 1.0f, beta = p.c.data ? 1.0f : 0.0f;
  return d.is_good && functions_->multiply(handle_, d.operation, &alpha, p.a.data, d.a, p.b.data, d.b, &beta,
                                           p.c.data ? p.c.data : p.d.data, d.c, p.d.data, d.d, algorithm.data, workspace,
                                           algorithm.workspace_bytes, stream) == SUCCESS;
}

CublasSearch find_cublas() {
  CublasSearch search;
  const Cublas cublas(search);
  return search;
}

}}  // namespace heddle::cuda
