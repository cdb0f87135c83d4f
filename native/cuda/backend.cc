#include "backend.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "../signature.h"
#include "kernels.h"
#include "memory.h"

namespace heddle { namespace cuda {
namespace {

constexpr uint64_t SCALAR_BYTES = SCALAR_COUNT * sizeof(double);
constexpr uint64_t WORKSPACE_ALIGNMENT = 256;

// What a program has become once the arenas have their addresses. Its first run is eager, so that whatever a kernel sets up
// on its first launch is set up; the second is captured into a graph, which later runs replay.
struct Prepared {
  std::vector<Operand> operands;  // as Program::operands
  uint64_t workspace_bytes = 0;   // the most that an instruction asks for
  uint64_t runs = 0;
  cudaGraphExec_t graph = nullptr;

  Prepared() = default;
  Prepared(const Prepared&) = delete;
  ~Prepared() { forget_graph(); }
  void forget_graph() {
    if (graph) cudaGraphExecDestroy(graph);
    graph = nullptr;
    runs = 0;
  }
};

class CudaBackend final : public Backend {
 public:
  explicit CudaBackend(int index) {
    check(cudaSetDevice(index), "selecting the device");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    scalars_ = DeviceMemory(SCALAR_BYTES, "scalars");
    pinned_scalars_ = PinnedMemory(SCALAR_BYTES, "scalars");
  }

  ~CudaBackend() override {
    cudaStreamSynchronize(stream_);
    prepared_.clear();
    cudaStreamDestroy(stream_);
  }

  void allocate(const ArenaBytes& bytes, const std::vector<const Program*>& programs) override {
    wait();
    std::vector<const Program*> all(programs);
    for (const auto& [program, prepared] : prepared_) all.push_back(program);
    std::unordered_map<const Program*, std::unique_ptr<Prepared>> prepared;
    for (const Program* program : all) {
      auto ready = std::make_unique<Prepared>();
      ready->operands.resize(program->operands.size());
      place(*program, arenas_, ready->operands);
      ready->workspace_bytes = most_workspace(*program, ready->operands);
      prepared[program] = std::move(ready);
    }
    uint64_t workspace_bytes = workspace_.bytes(), needed = 0;
    for (const auto& [program, ready] : prepared) workspace_bytes = std::max(workspace_bytes, ready->workspace_bytes);

    // WORKSPACE as the program declares it is the CPU kernels'; the kernels here have their own.
    const auto grows = [&](int arena) { return arena != WORKSPACE && bytes[arena] > arenas_[arena].bytes(); };
    for (int arena = 0; arena < ARENA_COUNT; arena++)
      if (grows(arena)) needed += bytes[arena];
    if (workspace_bytes > workspace_.bytes()) needed += workspace_bytes;
    size_t free = 0, total = 0;
    check(cudaMemGetInfo(&free, &total), "asking for the free memory");
    if (needed > free) throw Error(needed, free, "the program");

    std::array<DeviceMemory, ARENA_COUNT> grown;
    DeviceMemory workspace;
    for (int arena = 0; arena < ARENA_COUNT; arena++) {
      if (!grows(arena)) continue;
      const uint64_t kept = is_persistent(arena) ? arenas_[arena].bytes() : 0;
      grown[arena] = DeviceMemory(bytes[arena], ARENA_NAMES[arena]);
      check(cudaMemsetAsync(grown[arena].data(), 0, bytes[arena], stream_), "clearing an arena");
      if (kept > 0)
        check(cudaMemcpyAsync(grown[arena].data(), arenas_[arena].data(), kept, cudaMemcpyDeviceToDevice, stream_),
              "moving an arena");
    }
    if (workspace_bytes > workspace_.bytes()) workspace = DeviceMemory(workspace_bytes, "the kernels' workspace");
    PinnedMemory staging;
    if (bytes[IO] > staging_.bytes()) staging = PinnedMemory(bytes[IO], "pinned memory for inputs and outputs");
    wait();

    for (int arena = 0; arena < ARENA_COUNT; arena++)
      if (grown[arena].data()) arenas_[arena] = std::move(grown[arena]);
    if (workspace.data()) workspace_ = std::move(workspace);
    if (staging.data()) staging_ = std::move(staging);
    for (auto& [program, ready] : prepared) place(*program, arenas_, ready->operands);
    prepared_ = std::move(prepared);
  }

  void release() override {
    wait();
    prepared_.clear();
    for (DeviceMemory& arena : arenas_) arena = DeviceMemory();
    workspace_ = DeviceMemory();
    staging_ = PinnedMemory();
  }

  // Inputs and outputs of runs pass through pinned memory, so that their copies wait for nothing but the stream.
  void upload(Arena arena, uint64_t offset, const uint8_t* from, uint64_t bytes) override {
    if (bytes == 0) return;
    if (arena == IO) from = static_cast<uint8_t*>(memcpy(staging_.data() + offset, from, bytes));
    check(cudaMemcpyAsync(arenas_[arena].data() + offset, from, bytes, cudaMemcpyHostToDevice, stream_),
          "copying to the device");
  }

  void download(Arena arena, uint64_t offset, uint8_t* to, uint64_t bytes) override {
    if (bytes == 0) return;
    uint8_t* const through = arena == IO ? staging_.data() + offset : to;
    check(cudaMemcpyAsync(through, arenas_[arena].data() + offset, bytes, cudaMemcpyDeviceToHost, stream_),
          "copying from the device");
    if (through == to) return;
    wait();
    memcpy(to, through, bytes);
  }

  void run(const Program& program, const double* scalars, double* seconds) override {
    Prepared& prepared = *prepared_.at(&program);
    memcpy(pinned_scalars_.data(), scalars, SCALAR_BYTES);
    check(cudaMemcpyAsync(scalars_.data(), pinned_scalars_.data(), SCALAR_BYTES, cudaMemcpyHostToDevice, stream_),
          "copying scalars");
    if (seconds) return run_timed(program, prepared, seconds);
    if (prepared.runs++ == 0) return launch_all(program, prepared);
    if (!prepared.graph) capture(program, prepared);
    check(cudaGraphLaunch(prepared.graph, stream_), "replaying a program");
  }

  void wait() override { check(cudaStreamSynchronize(stream_), "running a program"); }

 private:
  Call call_of(const Program& program, const Prepared& prepared, const Instruction& instruction, Context& context) const {
    const Operand* in = prepared.operands.data() + instruction.first_operand;
    return {in, in + instruction.inputs, program.attributes.data() + instruction.first_attribute, &context};
  }

  Context context_of(const Prepared& prepared) const {
    Context context = {};
    context.workspace = workspace_.data();
    context.workspace_bytes = static_cast<int64_t>(prepared.workspace_bytes);
    context.scalars = reinterpret_cast<const double*>(scalars_.data());
    return context;
  }

  uint64_t most_workspace(const Program& program, const std::vector<Operand>& operands) const {
    uint64_t most = 0;
    for (const Instruction& instruction : program.instructions) {
      const Operand* in = operands.data() + instruction.first_operand;
      const Call call = {in, in + instruction.inputs, program.attributes.data() + instruction.first_attribute, nullptr};
      most = std::max(most, static_cast<uint64_t>(workspace_of(instruction.op, call)));
    }
    return (most + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
  }

  void launch_one(const Program& program, const Prepared& prepared, const Instruction& instruction, Context& context) {
    check(kernels[instruction.op](call_of(program, prepared, instruction, context), stream_),
          SIGNATURES.op[instruction.op].name);
  }

  void launch_all(const Program& program, const Prepared& prepared) {
    Context context = context_of(prepared);
    for (const Instruction& instruction : program.instructions) launch_one(program, prepared, instruction, context);
  }

  void capture(const Program& program, Prepared& prepared) {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "capturing a program");
    cudaGraph_t graph = nullptr;
    try {
      launch_all(program, prepared);
    } catch (...) {
      if (cudaStreamEndCapture(stream_, &graph) == cudaSuccess && graph) cudaGraphDestroy(graph);
      throw;
    }
    check(cudaStreamEndCapture(stream_, &graph), "capturing a program");
    const Status status = cudaGraphInstantiate(&prepared.graph, graph, 0);
    cudaGraphDestroy(graph);
    check(status, "making a graph of a program");
  }

  // The time of each instruction, by events around it.
  void run_timed(const Program& program, const Prepared& prepared, double* seconds) {
    struct Events : std::vector<cudaEvent_t> {
      ~Events() {
        for (cudaEvent_t event : *this) cudaEventDestroy(event);
      }
    } events;
    const auto mark = [&] {
      events.push_back(nullptr);
      check(cudaEventCreate(&events.back()), "making an event");
      check(cudaEventRecord(events.back(), stream_), "recording an event");
    };
    Context context = context_of(prepared);
    mark();
    for (const Instruction& instruction : program.instructions) {
      launch_one(program, prepared, instruction, context);
      mark();
    }
    wait();
    for (size_t i = 0; i + 1 < events.size(); i++) {
      float milliseconds = 0;
      check(cudaEventElapsedTime(&milliseconds, events[i], events[i + 1]), "reading an event");
      seconds[i] = milliseconds * 1e-3;
    }
  }

  static void place(const Program& program, const std::array<DeviceMemory, ARENA_COUNT>& arenas,
                    std::vector<Operand>& operands) {
    for (size_t i = 0; i < operands.size(); i++) {
      const uint32_t number = program.operands[i];
      if (number == ABSENT) {
        operands[i] = Operand{};
        continue;
      }
      const Buffer& buffer = program.buffers[number];
      operands[i] = buffer.view;
      // Before the arenas stand there is an address too: kernels tell operands that are present by it.
      operands[i].data = arenas[buffer.arena].data() ? arenas[buffer.arena].data() + buffer.offset
                                                     : reinterpret_cast<uint8_t*>(WORKSPACE_ALIGNMENT) + buffer.offset;
    }
  }

  Stream stream_ = nullptr;
  DeviceMemory scalars_, workspace_;
  PinnedMemory pinned_scalars_, staging_;
  std::array<DeviceMemory, ARENA_COUNT> arenas_;
  std::unordered_map<const Program*, std::unique_ptr<Prepared>> prepared_;
};

}  // namespace

std::unique_ptr<Backend> open(int index) { return std::make_unique<CudaBackend>(index); }

}}  // namespace heddle::cuda
