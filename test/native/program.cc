// Programs that must load, programs that must not, and bytes that nobody wrote.
#include "program.h"

#include <chrono>
#include <cstdlib>
#include <memory>

#include "check.h"
#include "cpu/backend.h"
#include "programs.h"

using namespace heddle;
using namespace heddle::test;

static Program decode(const ProgramText& text) {
  const std::vector<uint8_t> bytes = encode(text);
  return heddle::decode(bytes.data(), bytes.size());
}

template <typename Change>
static ProgramText changed(const Change& change) {
  ProgramText text = add_and_scale();
  change(text);
  return text;
}
#define REFUSED(code, message, ...) CHECK_ERROR(decode(changed([](ProgramText& t) { __VA_ARGS__; })), code, message)

static void test_decoding() {
  const Program program = decode(add_and_scale());
  CHECK(program.buffers.size() == 5 && program.instructions.size() == 3 && program.ranges.size() == 1);
  CHECK(program.instructions[1].op == OP_scale && program.bytes[IO] == 528 && program.layout[PARAMETERS] == 7);
  const auto* scale = reinterpret_cast<const ScaleAttributes*>(&program.attributes[program.instructions[1].first_attribute]);
  CHECK(scale->factor == 2.0f && scale->shift == 0.0f);
  // Trailing operands that are left out are absent.
  ProgramText text = add_and_scale();
  text.bytes[WORKSPACE] = 4096;
  text.instructions.push_back({OP_matmul, {5, 6}, {7}, {EPILOGUE_NONE, ACTIVATION_NONE}, 0, 4096});
  text.bytes[GRADIENTS] = 4 * 24;
  text.buffers.push_back({GRADIENTS, F32, 0, {2, 4}, {4, 1}});
  text.buffers.push_back({GRADIENTS, F32, 32, {4, 2}, {1, 4}});
  text.buffers.push_back({GRADIENTS, F32, 64, {2, 2}, {2, 1}});
  const Program matmul = decode(text);
  CHECK(matmul.instructions[3].inputs == 5 && matmul.instructions[3].outputs == 3);
  CHECK(matmul.operands[matmul.instructions[3].first_operand + 2] == ABSENT);
}

static void test_refusals() {
  REFUSED("DATA", "beyond its arena", t.buffers[0].offset = 4);
  REFUSED("DATA", "beyond its arena", t.buffers[0].offset = ~uint64_t{3});
  REFUSED("DATA", "beyond its arena", t.buffers[0].shape = {65});
  REFUSED("DATA", "beyond its arena", t.buffers[0].stride = {2});
  REFUSED("DATA", "aligned", t.buffers[0].offset = 2);
  REFUSED("DATA", "extent below 1", t.buffers[0].shape = {0});
  REFUSED("DATA", "extent below 1", t.buffers[0].shape = {-64});
  REFUSED("DATA", "stride below 0", t.buffers[0].stride = {-1});
  REFUSED("DATA", "too many elements", t.buffers[0] = (BufferText{PARAMETERS, F32, 0, {1ll << 32, 1ll << 32}, {0, 0}}));
  REFUSED("DATA", "overflow", t.buffers[0] = (BufferText{PARAMETERS, F32, 0, {64, 3}, {1, INT64_MAX}}));
  REFUSED("DATA", "overflow", t.buffers[0] = (BufferText{PARAMETERS, F32, 0, {64, 1}, {1, INT64_MAX}}));
  REFUSED("DATA", "dtype that does not exist", t.buffers[0].dtype = static_cast<DType>(4));
  REFUSED("DATA", "arena that does not exist", t.buffers[0].arena = static_cast<Arena>(8));
  REFUSED("DATA", "impossible size", t.bytes[GRADIENTS] = 1ull << 60);
  REFUSED("DATA", "fit in the io arena", t.output_offset = 268);
  REFUSED("DATA", "fit in the io arena", t.output_bytes = 257);
  REFUSED("DATA", "op that does not exist", t.instructions[0].op = OP_COUNT);
  REFUSED("DATA", "more operands", t.instructions[1].inputs = (std::vector<uint32_t>{2, 2}));
  REFUSED("DATA", "is missing", t.instructions[0].inputs[1] = ABSENT);
  REFUSED("DATA", "no output is written", t.instructions[0].outputs[0] = ABSENT);
  REFUSED("DATA", "buffer that does not exist", t.instructions[0].inputs[1] = 5);
  REFUSED("DATA", "number of attributes", t.instructions[1].attributes.pop_back());
  REFUSED("DATA", "has another dtype", t.buffers[0].dtype = I32);
  REFUSED("DATA", "inputs of the run", t.instructions[0].outputs[0] = 1);
  REFUSED("SHAPE", "leading extents", t.buffers[0].shape = {63});
  REFUSED("SHAPE", "instruction 1 (scale): input 0", t.buffers[2] = (BufferText{ACTIVATIONS, F32, 0, {64}, {0}}); t.instructions[0].outputs[0] = 3);
  REFUSED("DATA", "workspace that ends beyond", t.instructions[0].workspace_bytes = 1);
  REFUSED("DATA", "range 0 is not over contiguous int32", t.ranges[0].buffer = 1);
  REFUSED("DATA", "range 0 is not over an input", t.buffers[4].offset = 272);
  REFUSED("DATA", "range 0 names a buffer", t.ranges[0].buffer = 9);
  // Sharing: the same place is fine where the op says so (the third instruction), a shifted one never.
  REFUSED("DATA", "written over operand", t.buffers[0].shape = {32}; t.buffers[1].shape = {32}; t.buffers[2].shape = {32};
          t.buffers[3].shape = {32}; t.buffers.push_back({PARAMETERS, F32, 64, {32}, {1}}); t.instructions[2].outputs[0] = 5);
  REFUSED("DATA", "overlaps itself", t.bytes[ACTIVATIONS] = 4096; t.buffers.clear(); t.ranges.clear(); t.instructions.clear();
          t.buffers = {{ACTIVATIONS, F32, 0, {4, 4}, {2, 1}}}; t.instructions = {{OP_fill, {}, {0}, {bits(1)}}});
  REFUSED("DATA", "overlaps itself", t.ranges.clear();
          t.buffers = {{ACTIVATIONS, F32, 0, {4, 4}, {0, 1}}}; t.instructions = {{OP_fill, {}, {0}, {bits(1)}}});
  REFUSED("DATA", "attribute 0 is 7", t.instructions[1] = {OP_activation, {2}, {3}, {7}});
}

static void test_headers() {
  std::vector<uint8_t> bytes = encode(add_and_scale());
  for (size_t size = 0; size < bytes.size(); size++) CHECK_ERROR(heddle::decode(bytes.data(), size), "DATA", "program");
  bytes.push_back(0);
  CHECK_ERROR(heddle::decode(bytes.data(), bytes.size()), "DATA", "goes on");
  bytes.pop_back();
  bytes[8] ^= 1;
  CHECK_ERROR(heddle::decode(bytes.data(), bytes.size()), "CONFIG", "other ops");
  bytes[8] ^= 1;
  for (size_t count : {16, 20, 24}) {  // counts that would ask for gigabytes
    std::vector<uint8_t> huge = bytes;
    memset(&huge[count], 0xff, 4);
    CHECK_ERROR(heddle::decode(huge.data(), huge.size()), "DATA", "");
  }
}

static void test_input_ranges() {
  const Program program = decode(add_and_scale());
  std::vector<uint8_t> inputs(program.input_bytes);
  const auto set = [&](int index, int32_t value) { memcpy(&inputs[256 + 4 * index], &value, 4); };
  check_inputs(program, inputs.data());
  set(3, 9);
  check_inputs(program, inputs.data());
  set(3, 10);
  CHECK_ERROR(check_inputs(program, inputs.data()), "DATA", "element 3");
  set(3, -1);
  CHECK_ERROR(check_inputs(program, inputs.data()), "DATA", "is -1 but must be at least 0 and below 10");
}

// Heads that interleave in one row are apart; shifted by less than a head they are not.
static void test_interleaving() {
  ProgramText text;
  text.bytes[ACTIVATIONS] = 4 * 2 * 3 * 24;
  text.bytes[WORKSPACE] = 4096;
  text.bytes[GRADIENTS] = 4096;
  const auto head = [](uint64_t offset) { return BufferText{ACTIVATIONS, F32, offset, {2, 3, 2, 4}, {72, 24, 4, 1}}; };
  text.buffers = {head(0), head(32), head(64), {GRADIENTS, F32, 0, {2, 3, 2, 4}, {24, 8, 4, 1}},
                  {GRADIENTS, F32, 192, {2, 2, 3}, {6, 3, 1}}};
  text.instructions = {{OP_attention_backward, {3, 3, 3, 3, 4, 3}, {0, 1, 2}, {0, 0, 0, 0, 0}, 0, 4096}};
  decode(text);
  text.buffers[1].offset = 16;
  CHECK_ERROR(decode(text), "DATA", "written over");
}

// Executes a program with random bytes in every arena. Small arenas are heap blocks: a sanitizer sees each step outside.
static void execute(const Program& program, Backend* backend, std::mt19937_64& random) {
  backend->allocate(program.bytes, {&program});
  for (int arena = 0; arena < ARENA_COUNT; arena++) {
    std::vector<uint8_t> noise(program.bytes[arena]);
    for (size_t i = 0; i + 8 <= noise.size(); i += 8) {
      const uint64_t word = random();
      memcpy(&noise[i], &word, 8);
    }
    backend->upload(static_cast<Arena>(arena), 0, noise.data(), noise.size());
  }
  std::vector<uint8_t> inputs(program.input_bytes);  // as run() lets them pass
  for (const InputRange& range : program.ranges)
    for (uint64_t i = 0; i < range.count; i++) {
      const int64_t low = std::max<int64_t>(range.minimum, INT32_MIN), high = std::min<int64_t>(range.limit, INT32_MAX);
      const int32_t value = high > low ? static_cast<int32_t>(low + static_cast<int64_t>(random() % (high - low))) : 0;
      memcpy(&inputs[range.offset + 4 * i], &value, sizeof value);
    }
  try {
    check_inputs(program, inputs.data());
  } catch (const Error&) {
    return backend->release();  // ranges that contradict each other
  }
  const double scalars[SCALAR_COUNT] = {1e-3, 1, 2, 3, 4, 0.5, 3, 0.9};
  std::vector<uint8_t> outputs(program.output_bytes);
  backend->run(program, inputs.data(), scalars, nullptr);
  backend->collect(outputs.data());
  backend->release();
}

static void mutate(std::vector<uint8_t>& bytes, std::mt19937_64& random) {
  static const uint64_t values[] = {0, 1, 2, 3, 7, 8, 16, 63, 64, 65, 255, 256, 1 << 16, 1u << 31, 0xffffffff, 1ull << 32,
                                    1ull << 40, 1ull << 62, 1ull << 63, ~0ull};
  for (uint64_t edits = 1 + random() % 3; edits > 0; edits--) {
    const size_t at = random() % bytes.size();
    switch (random() % 4) {
      case 0: bytes[at] ^= static_cast<uint8_t>(1u << random() % 8); break;
      case 1: bytes[at] = static_cast<uint8_t>(random()); break;
      case 2: {
        const size_t word = at / 8 * 8, width = random() % 2 ? 8 : 4;
        const uint64_t value = values[random() % (sizeof values / sizeof *values)];
        if (word + width <= bytes.size()) memcpy(&bytes[word], &value, width);
        break;
      }
      default: {  // a word from elsewhere in the program
        const size_t to = at / 4 * 4, from = random() % bytes.size() / 4 * 4;
        if (std::max(to, from) + 4 <= bytes.size()) memmove(&bytes[to], &bytes[from], 4);
      }
    }
  }
}

static void test_hostile_bytes(long count, uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::unique_ptr<Backend> backend = cpu::open(cpu::choose_variant(), 1);
  long accepted = 0, refused = 0, executed = 0;
  std::chrono::duration<double> longest{0};
  for (long i = 0; i < count; i++) {
    const uint16_t op = static_cast<uint16_t>(i % OP_COUNT);
    std::vector<uint8_t> bytes = encode(RandomProgram(op, random).text);
    if (i % 8 != 0) mutate(bytes, random);
    const auto start = std::chrono::steady_clock::now();
    try {
      const Program program = heddle::decode(bytes.data(), bytes.size());
      accepted++;
      uint64_t total = 0;
      for (uint64_t size : program.bytes) total += size;
      if (total < 1 << 20) execute(program, backend.get(), random), executed++;
    } catch (const Error&) {
      refused++;
      if (i % 8 == 0) CHECK(!"an unchanged program was refused");
    }
    longest = std::max(longest, std::chrono::duration<double>(std::chrono::steady_clock::now() - start));
  }
  printf("%ld programs: %ld refused, %ld accepted, %ld executed, longest %.3f s\n", count, refused, accepted, executed,
         longest.count());
  CHECK(longest.count() < 5);
}

int main(int argc, char** argv) {
  test_decoding();
  test_refusals();
  test_headers();
  test_input_ranges();
  test_interleaving();
  test_hostile_bytes(argc > 1 ? atol(argv[1]) : 20000, argc > 2 ? strtoull(argv[2], nullptr, 10) : 1);
  return report("program");
}
