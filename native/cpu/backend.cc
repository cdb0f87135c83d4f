#include "backend.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "../signature.h"
#include "memory.h"
#include "threads.h"

namespace heddle { namespace cpu {

#define HEDDLE_VARIANT(name) \
  namespace name { \
  extern const Kernel kernels[OP_COUNT]; \
  }
HEDDLE_VARIANT(baseline)
#ifdef HEDDLE_HAVE_AVX2
HEDDLE_VARIANT(avx2)
#endif
#ifdef HEDDLE_HAVE_AVX512
HEDDLE_VARIANT(avx512)
#endif
#ifdef HEDDLE_HAVE_AVX512BF16
HEDDLE_VARIANT(avx512bf16)
#endif
#ifdef HEDDLE_HAVE_NEON
HEDDLE_VARIANT(neon)
#endif
#undef HEDDLE_VARIANT

namespace {

bool always() { return true; }
// The flags of native/sources.json, variant by variant.
#ifdef HEDDLE_HAVE_AVX2
bool has_avx2() { return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"); }
#endif
#ifdef HEDDLE_HAVE_AVX512
bool has_avx512() {
  return __builtin_cpu_supports("fma") && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
         __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512dq");
}
#endif
#ifdef HEDDLE_HAVE_AVX512BF16
bool has_avx512bf16() { return has_avx512() && __builtin_cpu_supports("avx512bf16"); }
#endif

// What a program has become once the arenas have their addresses.
struct Prepared {
  std::vector<Operand> operands;  // as Program::operands
};

class CpuBackend final : public Backend {
 public:
  CpuBackend(const Variant& variant, int workers) : variant_(variant), threads_(workers) {
    for (int worker = 0; worker < threads_.workers(); worker++) {
      blocks_.emplace_back(SCRATCH_BYTES, "the workers' scratch memory");
      scratch_.push_back(blocks_.back().data());
    }
  }

  void allocate(const ArenaBytes& bytes, const std::vector<const Program*>& programs) override {
    for (const Program* program : programs)
      for (const Instruction& instruction : program->instructions)
        if (!variant_.kernels[instruction.op])
          throw Error("DEVICE", std::string("the ") + variant_.name + " kernels lack " +
                                    SIGNATURES.op[instruction.op].name + "; build the addon again");
    uint64_t needed = 0;
    for (int arena = 0; arena < ARENA_COUNT; arena++)
      if (bytes[arena] > arenas_[arena].bytes()) needed += bytes[arena];
    const uint64_t free = available_memory();
    if (needed > free) throw Error(needed, free, "the program");

    std::array<Block, ARENA_COUNT> grown;
    for (int arena = 0; arena < ARENA_COUNT; arena++)
      if (bytes[arena] > arenas_[arena].bytes()) grown[arena] = Block(bytes[arena], ARENA_NAMES[arena]);
    std::vector<const Program*> all(programs);
    for (const auto& [program, prepared] : prepared_) all.push_back(program);
    std::unordered_map<const Program*, Prepared> prepared;
    for (const Program* program : all) prepared[program].operands.resize(program->operands.size());

    for (int arena = 0; arena < ARENA_COUNT; arena++) {
      if (!grown[arena].data()) continue;
      if (is_persistent(arena) && arenas_[arena].bytes() > 0)
        memcpy(grown[arena].data(), arenas_[arena].data(), arenas_[arena].bytes());
      arenas_[arena] = std::move(grown[arena]);
    }
    prepared_ = std::move(prepared);
    for (auto& [program, ready] : prepared_) place(*program, ready.operands);
  }

  void release() override {
    prepared_.clear();
    for (Block& block : arenas_) block = Block();
  }

  void upload(Arena arena, uint64_t offset, const uint8_t* from, uint64_t bytes) override {
    if (bytes > 0) memcpy(arenas_[arena].data() + offset, from, bytes);
  }

  void download(Arena arena, uint64_t offset, uint8_t* to, uint64_t bytes) override {
    if (bytes > 0) memcpy(to, arenas_[arena].data() + offset, bytes);
  }

  void run(const Program& program, const uint8_t* inputs, const double* scalars, double* seconds) override {
    upload(IO, 0, inputs, program.input_bytes);
    ended_ = &program;
    const Operand* operands = prepared_.at(&program).operands.data();
    Scheduler context;
    context.parallel = [](Context* self, int64_t count, Task task, void* argument) {
      static_cast<Scheduler*>(self)->threads->parallel(count, task, argument);
    };
    context.threads = &threads_;
    context.scratch = scratch_.data();
    context.scratch_bytes = SCRATCH_BYTES;
    context.workers = threads_.workers();
    context.scalars = scalars;
    int64_t before = seconds ? monotonic_nanoseconds() : 0;
    for (const Instruction& instruction : program.instructions) {
      if (stop.load(std::memory_order_relaxed)) return;
      const bool has_workspace = instruction.workspace_bytes > 0;
      context.workspace = has_workspace ? arenas_[WORKSPACE].data() + instruction.workspace_offset : nullptr;
      context.workspace_bytes = static_cast<int64_t>(instruction.workspace_bytes);
      const Operand* in = operands + instruction.first_operand;
      variant_.kernels[instruction.op](
          {in, in + instruction.inputs, program.attributes.data() + instruction.first_attribute, &context});
      if (!seconds) continue;
      const int64_t now = monotonic_nanoseconds();
      *seconds++ = static_cast<double>(now - before) * 1e-9;
      before = now;
    }
  }

  int most_runs() const override { return 1; }
  bool has_ended() override { return true; }
  void collect(uint8_t* outputs) override { download(IO, ended_->output_offset, outputs, ended_->output_bytes); }

  void wait() override {}

 private:
  struct Scheduler : Context {
    Threads* threads;
  };

  void place(const Program& program, std::vector<Operand>& operands) const {
    for (size_t i = 0; i < operands.size(); i++) {
      const uint32_t number = program.operands[i];
      if (number == ABSENT) {
        operands[i] = Operand{};
        continue;
      }
      const Buffer& buffer = program.buffers[number];
      operands[i] = buffer.view;
      operands[i].data = arenas_[buffer.arena].data() + buffer.offset;
    }
  }

  const Variant variant_;
  Threads threads_;
  std::vector<Block> blocks_;
  std::vector<void*> scratch_;
  std::array<Block, ARENA_COUNT> arenas_;
  std::unordered_map<const Program*, Prepared> prepared_;
  const Program* ended_ = nullptr;  // the last run
};

}  // namespace

std::vector<Variant> variants() {
  return {
      {"baseline", always, baseline::kernels},
#ifdef HEDDLE_HAVE_AVX2
      {"avx2", has_avx2, avx2::kernels},
#endif
#ifdef HEDDLE_HAVE_AVX512
      {"avx512", has_avx512, avx512::kernels},
#endif
#ifdef HEDDLE_HAVE_AVX512BF16
      {"avx512bf16", has_avx512bf16, avx512bf16::kernels},
#endif
#ifdef HEDDLE_HAVE_NEON
      {"neon", always, neon::kernels},
#endif
  };
}

Variant choose_variant() {
  const std::vector<Variant> linked = variants();
  const char* wanted = getenv("HEDDLE_ISA");
  if (wanted && *wanted) {
    std::string names;
    for (const Variant& variant : linked) {
      if (strcmp(variant.name, wanted) == 0) {
        if (variant.is_supported()) return variant;
        throw Error("CONFIG", std::string("HEDDLE_ISA is ") + wanted + " but this processor does not support it");
      }
      names += std::string(names.empty() ? "" : ", ") + variant.name;
    }
    throw Error("CONFIG", std::string("HEDDLE_ISA is ") + wanted + " but the addon was built with " + names);
  }
  return *std::find_if(linked.rbegin(), linked.rend(), [](const Variant& variant) { return variant.is_supported(); });
}

std::unique_ptr<Backend> open(const Variant& variant, int workers) {
  return std::make_unique<CpuBackend>(variant, workers);
}

}}  // namespace heddle::cpu
