// Times the ways to compute a matrix product: our kernels, and the algorithms that the library recommends, with the epilogue in
// the library where it has exactly ours, else with a kernel of ours behind it. Each candidate runs on the real shapes and
// layouts, in noise; one whose results differ from our kernel's by more than rounding, or from run to run at all, is dropped.
// 2 to 20 candidates of 7 runs each, once for each kind of product in a process.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <sstream>
#include <vector>

#include "device.h"
#include "memory.h"
#include "tuning.h"

namespace heddle { namespace cuda {
namespace {

constexpr int MOST_ALGORITHMS = 8, TIMED_RUNS = 5;
constexpr float F32_BOUND = 1e-4f, LOW_PRECISION_BOUND = 2e-2f;  // of the largest result

// Numbers of +-[0.5, 1), as float32 and as bf16 alike.
__global__ void fill_with_noise(uint32_t* words, int64_t count, uint32_t seed) {
  for_elements(count, [&](int64_t i) {
    uint32_t x = (uint32_t(i) + seed) * 0x9E3779B9u;
    x = (x ^ x >> 16) * 0x85EBCA6Bu;
    x = (x ^ x >> 13) * 0xC2B2AE35u;
    words[i] = ((x ^ x >> 16) & 0x807F807Fu) | 0x3F003F00u;
  });
}

HEDDLE_DEVICE float real_at(const void* data, int64_t i, bool is_bf16) {
  return is_bf16 ? to_float(static_cast<const bf16*>(data)[i]) : static_cast<const float*>(data)[i];
}

// The largest difference, infinity where one of the two is no number, and the largest expected number, as bits.
__global__ void compare(const void* found, const void* expected, int64_t count, bool is_bf16, unsigned* largest) {
  for_elements(count, [&](int64_t i) {
    const float x = real_at(found, i, is_bf16), y = real_at(expected, i, is_bf16);
    if (__float_as_uint(x) != __float_as_uint(y)) {
      const float difference = fabsf(x - y);
      atomicMax(largest, __float_as_uint(difference <= 3e38f ? difference : INFINITY));
    }
    if (fabsf(y) <= 3e38f) atomicMax(largest + 1, __float_as_uint(fabsf(y)));
  });
}

int64_t element_bytes(const Operand& operand) { return operand.dtype == BF16 ? 2 : 4; }

// From the first element of a view to the end of its last.
int64_t span_of(const Operand& operand) {
  int64_t elements = 1;
  for (int axis = 0; axis < operand.rank; axis++) elements += (operand.shape[axis] - 1) * operand.stride[axis];
  return elements * element_bytes(operand);
}

std::string strides_text(const Operand& operand) {
  std::string text;
  for (int axis = 0; axis < operand.rank; axis++) {
    if (operand.shape[axis] == 1) continue;  // no two elements lie so far apart
    text += (text.empty() ? "" : ",") + std::to_string(operand.stride[axis]);
  }
  return text + (reinterpret_cast<uintptr_t>(operand.data) % 16 ? " unaligned" : "");
}

// Everything that decides which way is fastest, and which ways there are.
std::string kind_of(const Call& call, bool tf32) {
  constexpr const char* EPILOGUES[] = {"", "activation", "activation_backward"};
  const auto& attributes = attributes_of<MatmulAttributes>(call);
  const Operand &a = call.in[0], &b = call.in[1];
  std::ostringstream text;
  text << (a.dtype == BF16 ? "bf16" : tf32 ? "tf32" : "f32");
  for (int axis = 0; axis < a.rank; axis++) text << (axis ? "x" : " ") << a.shape[axis];
  text << "x" << b.shape[b.rank - 1] << " a " << strides_text(a) << " b " << strides_text(b);
  const struct {
    const char* name;
    const Operand& operand;
  } others[] = {{"bias", call.in[2]},
                {"addend", call.in[3]},
                {"preactivation", call.in[4]},
                {"y", call.out[0]},
                {"preactivation_output", call.out[1]},
                {"column_sums", call.out[2]}};
  for (const auto& [name, operand] : others)
    if (operand.data)
      text << " " << name << " " << (operand.dtype == BF16 ? "bf16 " : "") << strides_text(operand);
  if (attributes.epilogue != EPILOGUE_NONE) text << " " << EPILOGUES[attributes.epilogue] << " " << int(attributes.kind);
  return text.str();
}

// Of the ways of the library, in their order in MatmulChoice::Way.
constexpr const char* WAY_NAMES[] = {"own", "fused", "fused-but-sums", "finished"};

std::string name_of(const MatmulChoice& choice, const Cublas* cublas) {
  if (choice.way == MatmulChoice::OWN)
    return choice.tile == PLANNED_TILE ? "own" : "own tile " + std::to_string(choice.tile);
  std::string text = "cublasLt " + cublas->version() + " " + WAY_NAMES[choice.way] + " ";
  for (uint64_t word : choice.algorithm) {
    char digits[17];
    snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(word));
    text += digits;
  }
  return text;
}

// The product in memory of its own.
class Trial {
 public:
  Trial(const Call& call, const std::vector<MatmulContext>& contexts, Stream stream) : stream_(stream), call_(call) {
    for (int i = 0; i < 5; i++) in_[i] = place(call.in[i], inputs_);
    uint32_t seed = 1;
    for (const DeviceMemory& memory : inputs_)
      check(launch(fill_with_noise, blocks_for(int64_t(memory.bytes() / 4)), dim3(THREADS), 0, stream_,
                   reinterpret_cast<uint32_t*>(memory.data()), int64_t(memory.bytes() / 4), seed++),
            "filling with noise");
    for (Results& results : results_)
      for (int i = 0; i < 3; i++) results.out[i] = place(call.out[i], results.memory);
    int64_t workspace_bytes = 0;
    for (const MatmulContext& context : contexts) {
      MatmulContext copy = context;
      Call each = call_;
      each.context = &copy;
      workspace_bytes = std::max(workspace_bytes, matmul_workspace(each));
    }
    workspace_ = DeviceMemory(uint64_t(workspace_bytes), "comparing matrix products");
    largest_ = DeviceMemory(2 * sizeof(unsigned), "comparing matrix products");
    check(cudaEventCreate(&before_), "making an event");
    check(cudaEventCreate(&after_), "making an event");
  }
  ~Trial() {
    if (before_) cudaEventDestroy(before_);
    if (after_) cudaEventDestroy(after_);
  }

  enum Place { EXPECTED, FIRST, LATEST };

  bool run(const MatmulContext& context, Place place) {
    MatmulContext copy = context;
    copy.workspace = workspace_.data(), copy.workspace_bytes = int64_t(workspace_.bytes());
    const bool is_good = matmul({in_, results_[place].out, call_.attributes, &copy}, stream_) == cudaSuccess;
    if (!is_good) cudaGetLastError();
    return is_good;
  }
  // So that what is not written shows.
  void clear(Place place) {
    for (const DeviceMemory& memory : results_[place].memory)
      check(cudaMemsetAsync(memory.data(), 0xFF, memory.bytes(), stream_), "clearing results");
  }
  // The largest difference between two results, as a share of the largest expected number.
  float difference(Place found, Place expected) {
    float worst = 0;
    for (size_t i = 0; i < results_[found].memory.size(); i++) {
      check(cudaMemsetAsync(largest_.data(), 0, largest_.bytes(), stream_), "comparing results");
      const DeviceMemory &x = results_[found].memory[i], &y = results_[expected].memory[i];
      const bool is_sums = call_.out[2].data && i + 1 == results_[found].memory.size();
      const bool is_bf16 = !is_sums && (call_.out[0].dtype == BF16 || call_.out[1].dtype == BF16);
      const int64_t count = int64_t(x.bytes()) / (is_bf16 ? 2 : 4);
      check(launch(compare, blocks_for(count), dim3(THREADS), 0, stream_, static_cast<const void*>(x.data()),
                   static_cast<const void*>(y.data()), count, is_bf16, reinterpret_cast<unsigned*>(largest_.data())),
            "comparing results");
      float largest[2];
      check(cudaMemcpyAsync(largest, largest_.data(), sizeof largest, cudaMemcpyDeviceToHost, stream_), "comparing results");
      check(cudaStreamSynchronize(stream_), "comparing results");
      if (largest[0] > 0) worst = std::max(worst, largest[1] > 0 ? largest[0] / largest[1] : INFINITY);
    }
    return worst;
  }
  // Milliseconds: the median of some runs; negative where one fails.
  float time(const MatmulContext& context) {
    std::vector<float> times;
    for (int i = 0; i < TIMED_RUNS; i++) {
      check(cudaEventRecord(before_, stream_), "recording an event");
      if (!run(context, LATEST)) return -1;
      check(cudaEventRecord(after_, stream_), "recording an event");
      check(cudaEventSynchronize(after_), "timing a matrix product");
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, before_, after_), "reading an event");
      times.push_back(milliseconds);
    }
    std::sort(times.begin(), times.end());
    return times[TIMED_RUNS / 2];
  }

 private:
  struct Results {
    std::vector<DeviceMemory> memory;
    Operand out[3] = {};
  };

  // The same view in new memory, aligned as it was.
  static Operand place(const Operand& operand, std::vector<DeviceMemory>& memory) {
    if (!operand.data) return operand;
    const uint64_t within = reinterpret_cast<uintptr_t>(operand.data) % 256;
    memory.emplace_back((within + uint64_t(span_of(operand)) + 3) / 4 * 4, "comparing matrix products");
    Operand placed = operand;
    placed.data = memory.back().data() + within;
    return placed;
  }

  const Stream stream_;
  const Call call_;
  std::vector<DeviceMemory> inputs_;
  Operand in_[5] = {};
  Results results_[3];
  DeviceMemory workspace_, largest_;
  cudaEvent_t before_ = nullptr, after_ = nullptr;
};

std::string milliseconds_text(float milliseconds) {
  char text[32];
  snprintf(text, sizeof text, "%.4f ms", double(milliseconds));
  return text;
}

// Our kernels first: what the others are held to.
std::vector<MatmulChoice> candidates_for(const Call& call, const Cublas& cublas) {
  std::vector<MatmulChoice> candidates(1);
  const int first = call.in[0].dtype == BF16 ? TENSOR_WIDE : matmul_context(call).tf32 ? TENSOR_LARGE : EXACT_LARGE;
  for (int tile = first; tile <= (first == EXACT_LARGE ? EXACT_SMALL : TENSOR_SMALL); tile++) {
    candidates.emplace_back();
    candidates.back().tile = tile;
  }
  for (const MatmulChoice::Way way : {MatmulChoice::FUSED, MatmulChoice::FUSED_BUT_SUMS, MatmulChoice::FINISHED}) {
    CublasProduct product;
    if (!describe_for_cublas(call, way, nullptr, product)) continue;
    for (const CublasAlgorithm& algorithm : cublas.algorithms(product, MOST_ALGORITHMS)) {
      candidates.emplace_back();
      candidates.back().way = way, candidates.back().workspace_bytes = algorithm.workspace_bytes;
      std::copy_n(algorithm.data, 8, candidates.back().algorithm);
    }
  }
  return candidates;
}

TimedChoice time_candidates(const Call& call, const std::vector<MatmulContext>& contexts, const Cublas& cublas,
                            Stream stream) {
  const bool is_exact = call.in[0].dtype == F32 && !contexts[0].tf32 && call.out[0].dtype != BF16;
  Trial trial(call, contexts, stream);
  trial.clear(Trial::EXPECTED);
  if (!trial.run(contexts[0], Trial::EXPECTED)) check(cudaErrorInvalidValue, "matmul");
  float own = 0, best = 0;
  size_t winner = 0;
  int wrong = 0, varying = 0, failed = 0;
  for (size_t i = 0; i < contexts.size(); i++) {
    trial.clear(Trial::FIRST), trial.clear(Trial::LATEST);
    if (!trial.run(contexts[i], Trial::FIRST)) {
      failed++;
      continue;
    }
    if (!(trial.difference(Trial::FIRST, Trial::EXPECTED) <= (is_exact ? F32_BOUND : LOW_PRECISION_BOUND))) {
      wrong++;
      continue;
    }
    const float milliseconds = trial.time(contexts[i]);
    if (milliseconds < 0) failed++;
    else if (trial.difference(Trial::LATEST, Trial::FIRST) > 0) varying++;
    else if (i == 0 || milliseconds < best) best = milliseconds, winner = i;
    if (i == 0) own = milliseconds;
  }
  std::string remarks = milliseconds_text(best) + ", own " + milliseconds_text(own) + ", " +
                        std::to_string(contexts.size()) + " candidates";
  if (failed) remarks += ", " + std::to_string(failed) + " failed";
  if (wrong) remarks += ", " + std::to_string(wrong) + " wrong";
  if (varying) remarks += ", " + std::to_string(varying) + " varying";
  return {contexts[winner].choice, name_of(contexts[winner].choice, &cublas), remarks};
}

// The choices of this process: sessions that come and go compute the same products the same way.
struct Pinned {
  std::mutex mutex;
  // The library found for each value of HEDDLE_CUBLAS, empty where none was: folders are searched once.
  std::map<std::string, std::string> files;
  std::map<std::string, TimedChoice> choices;  // by device, library and kind
};
Pinned& pinned() {
  static Pinned all;
  return all;
}

}  // namespace

void MatmulTuner::use(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t first = line.find('\t'), second = line.find('\t', first == std::string::npos ? first : first + 1);
    if (first == std::string::npos) continue;
    earlier_[line.substr(0, first)] = line.substr(first + 1, second == std::string::npos ? second : second - first - 1);
  }
}

bool MatmulTuner::restore(const std::string& name, const Call& call, MatmulChoice& choice) const {
  std::istringstream words(name);
  std::string library, version, way, digits;
  words >> library;
  if (library == "own") {
    if (!(words >> way)) return true;
    return way == "tile" && words >> choice.tile && choice.tile >= 0 && choice.tile < MATMUL_TILES;
  }
  words >> version >> way >> digits;
  const auto named = std::find(std::begin(WAY_NAMES) + 1, std::end(WAY_NAMES), way);
  if (library != "cublasLt" || version != cublas_->version() || named == std::end(WAY_NAMES) || digits.size() != 128 ||
      digits.find_first_not_of("0123456789abcdef") != std::string::npos)
    return false;
  choice.way = MatmulChoice::Way(named - std::begin(WAY_NAMES));
  CublasAlgorithm algorithm = {};
  for (size_t i = 0; i < 8; i++) algorithm.data[i] = std::stoull(digits.substr(16 * i, 16), nullptr, 16);
  CublasProduct product;
  if (!describe_for_cublas(call, choice.way, nullptr, product) ||
      !cublas_->accepts(product, algorithm))
    return false;
  std::copy_n(algorithm.data, 8, choice.algorithm);
  choice.workspace_bytes = algorithm.workspace_bytes;
  return true;
}

TimedChoice MatmulTuner::find(const std::string& kind, const Call& call, Stream stream) {
  const auto earlier = earlier_.find(kind);
  std::string lost;
  if (earlier != earlier_.end()) {
    MatmulChoice choice;
    if (restore(earlier->second, call, choice)) return {choice, earlier->second, "as before"};
    lost = ", in place of " + earlier->second;
  }
  std::vector<MatmulContext> contexts;
  for (const MatmulChoice& choice : candidates_for(call, *cublas_)) {
    MatmulContext context = {};
    context.tf32 = tf32_, context.choice = choice, context.cublas = cublas_.get();
    contexts.push_back(context);
  }
  TimedChoice timed;
  try {
    timed = time_candidates(call, contexts, *cublas_, stream);
  } catch (const Error& error) {
    if (strcmp(error.code, "OUT_OF_MEMORY") != 0) throw;
    timed = {MatmulChoice(), "own", "no memory left to compare it with others"};
  }
  timed.remarks += lost;
  return timed;
}

MatmulChoice MatmulTuner::choose(const Call& call, Stream stream) {
  MatmulContext context = {};
  context.tf32 = tf32_;
  Call described = call;
  described.context = &context;
  Pinned& all = pinned();
  std::lock_guard<std::mutex> lock(all.mutex);
  if (!cublas_) {
    const char* const asked = getenv("HEDDLE_CUBLAS");
    const auto known = all.files.find(asked ? asked : "");
    if (known != all.files.end() && known->second.empty()) return MatmulChoice();
    CublasSearch search;
    cublas_ = std::make_unique<Cublas>(search, known == all.files.end() ? "" : known->second);
    all.files[asked ? asked : ""] = search.file;
  }
  if (!cublas_->is_loaded() || extent_of(call.in[0], 0, call.in[0].rank) == 0 || extent_of(call.in[1], 0, call.in[1].rank) == 0)
    return MatmulChoice();
  const std::string kind = kind_of(call, tf32_);
  int device = 0;
  check(cudaGetDevice(&device), "asking for the device");
  const std::string place = std::to_string(device) + " " + cublas_->version() + " " + kind;
  auto found = all.choices.find(place);
  if (found == all.choices.end()) found = all.choices.emplace(place, find(kind, described, stream)).first;
  chosen_[kind] = found->second;
  return found->second.choice;
}

std::string MatmulTuner::text() const {
  std::string text;
  for (const auto& [kind, chosen] : chosen_) text += kind + "\t" + chosen.name + "\t" + chosen.remarks + "\n";
  return text;
}

}}  // namespace heddle::cuda
