#include "backend.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "../signature.h"
#include "kernels.h"
#include "memory.h"
#include "ranges.h"
#include "tuning.h"

namespace heddle { namespace cuda {
namespace {

constexpr uint64_t SCALAR_BYTES = SCALAR_COUNT * sizeof(double);
constexpr uint64_t WORKSPACE_ALIGNMENT = 256;

// What a program has become once the arenas have their addresses. Its first run is eager, so that whatever a kernel sets up
// on its first launch is set up; the second is captured into a graph, which later runs replay.
struct Prepared {
  std::vector<Operand> operands;  // as Program::operands
  std::vector<MatmulChoice> choices;  // by instruction
  std::string name;               // for a profiler
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

constexpr int MOST_RUNS = 2;

// Host memory of a run that is under way.
struct Lane {
  const Program* program = nullptr;
  PinnedMemory io, scalars;
  cudaEvent_t ended = nullptr;
};

class CudaBackend final : public Backend {
 public:
  CudaBackend(int index, bool tf32) : tuner_(tf32) {
    check(cudaSetDevice(index), "selecting the device");
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "making a stream");
    scalars_ = DeviceMemory(SCALAR_BYTES, "scalars");
    for (Lane& lane : lanes_) {
      lane.scalars = PinnedMemory(SCALAR_BYTES, "scalars");
      check(cudaEventCreate(&lane.ended), "making an event");
    }
  }

  ~CudaBackend() override {
    cudaStreamSynchronize(stream_);
    prepared_.clear();
    for (Lane& lane : lanes_)
      if (lane.ended) cudaEventDestroy(lane.ended);
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
      ready->name = "program of " + std::to_string(program->instructions.size()) + " instructions";
      ready->choices = choices_for(*program, ready->operands);
      ready->workspace_bytes = most_workspace(*program, *ready);
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
    PinnedMemory staging[MOST_RUNS];
    if (grows(IO))
      for (PinnedMemory& each : staging) each = PinnedMemory(bytes[IO], "pinned memory for inputs and outputs");
    wait();

    for (int arena = 0; arena < ARENA_COUNT; arena++)
      if (grown[arena].data()) arenas_[arena] = std::move(grown[arena]);
    if (workspace.data()) workspace_ = std::move(workspace);
    for (int i = 0; i < MOST_RUNS; i++)
      if (staging[i].data()) lanes_[i].io = std::move(staging[i]);
    for (auto& [program, ready] : prepared) place(*program, arenas_, ready->operands);
    prepared_ = std::move(prepared);
  }

  void release() override {
    wait();
    prepared_.clear();
    for (DeviceMemory& arena : arenas_) arena = DeviceMemory();
    workspace_ = DeviceMemory();
    for (Lane& lane : lanes_) lane.io = PinnedMemory();
  }

  void upload(Arena arena, uint64_t offset, const uint8_t* from, uint64_t bytes) override {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(arenas_[arena].data() + offset, from, bytes, cudaMemcpyHostToDevice, stream_),
          "copying to the device");
  }

  void download(Arena arena, uint64_t offset, uint8_t* to, uint64_t bytes) override {
    if (bytes == 0) return;
    check(cudaMemcpyAsync(to, arenas_[arena].data() + offset, bytes, cudaMemcpyDeviceToHost, stream_),
          "copying from the device");
  }

  // Inputs, scalars and outputs pass through pinned memory of the run's own, so that the next run can be given its inputs
  // while this one is under way, and the stream never waits for the host.
  void run(const Program& program, const uint8_t* inputs, const double* scalars, double* seconds) override {
    Prepared& prepared = *prepared_.at(&program);
    Lane& lane = lanes_[started_++ % MOST_RUNS];
    lane.program = &program;
    memcpy(lane.scalars.data(), scalars, SCALAR_BYTES);
    check(cudaMemcpyAsync(scalars_.data(), lane.scalars.data(), SCALAR_BYTES, cudaMemcpyHostToDevice, stream_),
          "copying scalars");
    if (program.input_bytes > 0) upload(IO, 0, static_cast<uint8_t*>(memcpy(lane.io.data(), inputs, program.input_bytes)), program.input_bytes);
    if (seconds) run_timed(program, prepared, seconds);
    else if (prepared.runs++ == 0) launch_all(program, prepared);
    else {
      if (!prepared.graph) capture(program, prepared);
      const Range range(prepared.name.c_str());
      check(cudaGraphLaunch(prepared.graph, stream_), "replaying a program");
    }
    download(IO, program.output_offset, lane.io.data() + program.output_offset, program.output_bytes);
    check(cudaEventRecord(lane.ended, stream_), "recording an event");
  }

  int most_runs() const override { return MOST_RUNS; }

  // An error ends a run too; collect reports it.
  bool has_ended() override { return cudaEventQuery(lanes_[collected_ % MOST_RUNS].ended) != cudaErrorNotReady; }

  void collect(uint8_t* outputs) override {
    const Lane& lane = lanes_[collected_++ % MOST_RUNS];
    check(cudaEventSynchronize(lane.ended), "running a program");
    const Program& program = *lane.program;
    if (program.output_bytes > 0) memcpy(outputs, lane.io.data() + program.output_offset, program.output_bytes);
  }

  void use_matmul_choices(const std::string& text) override { tuner_.use(text); }
  std::string matmul_choices() const override { return tuner_.text(); }

  void wait() override { check(cudaStreamSynchronize(stream_), "running a program"); }

 private:
  Call call_of(const Program& program, const Prepared& prepared, const Instruction& instruction, Context& context) const {
    const Operand* in = prepared.operands.data() + instruction.first_operand;
    return {in, in + instruction.inputs, program.attributes.data() + instruction.first_attribute, &context};
  }

  MatmulContext context_of(const Prepared& prepared) const {
    MatmulContext context = {};
    context.tf32 = tuner_.tf32();
    context.cublas = tuner_.cublas();
    context.workspace = workspace_.data();
    context.workspace_bytes = static_cast<int64_t>(prepared.workspace_bytes);
    context.scalars = reinterpret_cast<const double*>(scalars_.data());
    return context;
  }

  // Before the arenas grow: what is needed to compare ways to compute a product is given back by then.
  std::vector<MatmulChoice> choices_for(const Program& program, const std::vector<Operand>& operands) {
    std::vector<MatmulChoice> choices(program.instructions.size());
    for (size_t i = 0; i < choices.size(); i++) {
      const Instruction& instruction = program.instructions[i];
      if (instruction.op != OP_matmul) continue;
      const Operand* in = operands.data() + instruction.first_operand;
      const void* attributes = program.attributes.data() + instruction.first_attribute;
      choices[i] = tuner_.choose({in, in + instruction.inputs, attributes, nullptr}, stream_);
    }
    return choices;
  }

  uint64_t most_workspace(const Program& program, const Prepared& prepared) const {
    uint64_t most = 0;
    MatmulContext context = context_of(prepared);
    for (size_t i = 0; i < program.instructions.size(); i++) {
      context.choice = prepared.choices[i];
      const Call call = call_of(program, prepared, program.instructions[i], context);
      most = std::max(most, static_cast<uint64_t>(workspace_of(program.instructions[i].op, call)));
    }
    return (most + WORKSPACE_ALIGNMENT - 1) / WORKSPACE_ALIGNMENT * WORKSPACE_ALIGNMENT;
  }

  void launch_one(const Program& program, const Prepared& prepared, size_t index, MatmulContext& context) {
    const Instruction& instruction = program.instructions[index];
    const Range range(SIGNATURES.op[instruction.op].name);
    context.choice = prepared.choices[index];
    check(kernels[instruction.op](call_of(program, prepared, instruction, context), stream_),
          SIGNATURES.op[instruction.op].name);
  }

  void launch_all(const Program& program, const Prepared& prepared) {
    MatmulContext context = context_of(prepared);
    for (size_t i = 0; i < program.instructions.size(); i++) launch_one(program, prepared, i, context);
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
    MatmulContext context = context_of(prepared);
    mark();
    for (size_t i = 0; i < program.instructions.size(); i++) {
      launch_one(program, prepared, i, context);
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

  MatmulTuner tuner_;
  Stream stream_ = nullptr;
  DeviceMemory scalars_, workspace_;
  Lane lanes_[MOST_RUNS];
  uint64_t started_ = 0, collected_ = 0;  // runs
  std::array<DeviceMemory, ARENA_COUNT> arenas_;
  std::unordered_map<const Program*, std::unique_ptr<Prepared>> prepared_;
};

}  // namespace

std::unique_ptr<Backend> open(int index, bool tf32) { return std::make_unique<CudaBackend>(index, tf32); }

}}  // namespace heddle::cuda
