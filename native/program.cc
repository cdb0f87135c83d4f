#include "program.h"

#include <cstring>

#include "rules.h"
#include "signature.h"

namespace heddle {

const char* const ARENA_NAMES[ARENA_COUNT] = {"parameters",  "parametersBf16", "gradients", "optimizerState",
                                              "activations", "workspace",      "kvCache",   "io"};

namespace {

constexpr uint32_t MAGIC = 0x4c444448;  // "HDDL"
constexpr uint32_t VERSION = 1;
constexpr size_t BUFFER_BYTES = 112, RANGE_BYTES = 24, INSTRUCTION_BYTES = 24;
// No operand has more elements, broadcast ones counted: what a kernel multiplies and adds up fits in an int64 by far.
constexpr int64_t MAX_ELEMENTS = int64_t{1} << 40;

[[noreturn]] void fail(const std::string& what) { throw Error("DATA", "program: " + what); }

// Reads little-endian fields in order and refuses to pass the end.
class Reader {
 public:
  Reader(const uint8_t* bytes, size_t size) : at_(bytes), left_(size) {}

  size_t left() const { return left_; }

  template <typename T>
  T next() {
    T value;
    copy(&value, sizeof value);
    return value;
  }
  void copy(void* to, size_t size) {
    need(size);
    if (size > 0) memcpy(to, at_, size);
    advance(size);
  }
  void skip_padding(size_t written) {
    const size_t padding = (8 - written % 8) % 8;
    need(padding);
    advance(padding);
  }
  void need(size_t size) const {
    if (size > left_) fail("is cut short");
  }

 private:
  void advance(size_t size) {
    at_ += size;
    left_ -= size;
  }
  const uint8_t* at_;
  size_t left_;
};

Buffer read_buffer(Reader& reader, const ArenaBytes& arenas, size_t index) {
  const auto refuse = [&](const char* why) { fail("buffer " + std::to_string(index) + " " + why); };
  const uint8_t arena = reader.next<uint8_t>(), dtype = reader.next<uint8_t>(), rank = reader.next<uint8_t>();
  for (int i = 0; i < 5; i++)
    if (reader.next<uint8_t>() != 0) refuse("has bytes set that must be 0");
  if (arena >= ARENA_COUNT) refuse("is in an arena that does not exist");
  if (dtype > U8) refuse("has a dtype that does not exist");
  if (rank > MAX_RANK) refuse("has too many axes");
  Buffer buffer{static_cast<Arena>(arena), reader.next<uint64_t>(), Operand{}};
  Operand& view = buffer.view;
  view.dtype = dtype;
  view.rank = rank;
  reader.copy(view.shape, sizeof view.shape);
  reader.copy(view.stride, sizeof view.stride);
  int64_t elements = 1, last = 0;
  for (int axis = 0; axis < rank; axis++) {
    const int64_t extent = view.shape[axis], stride = view.stride[axis];
    int64_t reach;
    if (extent <= 0 || stride < 0) refuse("has an extent below 1 or a stride below 0");
    if (__builtin_mul_overflow(elements, extent, &elements) || elements > MAX_ELEMENTS) refuse("has too many elements");
    if (__builtin_mul_overflow(extent - 1, stride, &reach) || __builtin_add_overflow(last, reach, &last))
      refuse("has strides that overflow");
    // A stride that no index multiplies could still overflow where a kernel adds it up.
    if (extent == 1 && stride > MAX_ELEMENTS) refuse("has strides that overflow");
  }
  const int64_t element = ELEMENT_BYTES[dtype];
  const uint64_t size = arenas[arena];
  if (buffer.offset % element != 0) refuse("is not aligned to its dtype");
  if (buffer.offset > size || last >= static_cast<int64_t>(size / element)) refuse("ends beyond its arena");
  if ((last + 1) * element > static_cast<int64_t>(size - buffer.offset)) refuse("ends beyond its arena");
  for (int axis = rank; axis < MAX_RANK; axis++) view.shape[axis] = 1, view.stride[axis] = 0;
  return buffer;
}

InputRange read_range(Reader& reader, const Program& program, size_t index) {
  const auto refuse = [&](const char* why) { fail("input range " + std::to_string(index) + " " + why); };
  const uint32_t number = reader.next<uint32_t>();
  reader.next<uint32_t>();
  const int64_t minimum = reader.next<int64_t>(), limit = reader.next<int64_t>();
  if (number >= program.buffers.size()) refuse("names a buffer that does not exist");
  const Buffer& buffer = program.buffers[number];
  int64_t count = 1;
  for (int axis = 0; axis < buffer.view.rank; axis++) count *= buffer.view.shape[axis];
  const uint64_t span = static_cast<uint64_t>(span_bytes(buffer.view));
  if (buffer.view.dtype != I32 || span != static_cast<uint64_t>(count) * 4) refuse("is not over contiguous int32");
  if (buffer.arena != IO || buffer.offset > program.input_bytes || span > program.input_bytes - buffer.offset)
    refuse("is not over an input of the run");
  return {buffer.offset, static_cast<uint64_t>(count), minimum, limit};
}

void read_instruction(Reader& reader, Program& program) {
  const auto refuse = [&](const char* why) {
    fail("instruction " + std::to_string(program.instructions.size()) + " " + why);
  };
  Instruction instruction{};
  instruction.op = reader.next<uint16_t>();
  const uint8_t inputs = reader.next<uint8_t>(), outputs = reader.next<uint8_t>();
  const uint32_t attribute_bytes = reader.next<uint32_t>();
  instruction.workspace_offset = reader.next<uint64_t>();
  instruction.workspace_bytes = reader.next<uint64_t>();
  if (instruction.op >= OP_COUNT) refuse("is an op that does not exist");
  const OpSignature& op = SIGNATURES.op[instruction.op];
  if (inputs > op.inputs || outputs > op.outputs) refuse("has more operands than its op takes");
  if (attribute_bytes != 4u * op.attributes) refuse("has another number of attributes than its op");
  const uint64_t room = program.bytes[WORKSPACE];
  if (instruction.workspace_offset > room || instruction.workspace_bytes > room - instruction.workspace_offset)
    refuse("has a workspace that ends beyond its arena");
  if (instruction.workspace_offset % 64 != 0) refuse("has a workspace that is not aligned to 64 bytes");

  instruction.inputs = op.inputs;
  instruction.outputs = op.outputs;
  instruction.first_operand = static_cast<uint32_t>(program.operands.size());
  program.operands.resize(program.operands.size() + op.inputs + op.outputs, ABSENT);
  for (int i = 0; i < inputs + outputs; i++) {
    const uint32_t number = reader.next<uint32_t>();
    if (number != ABSENT && number >= program.buffers.size()) refuse("names a buffer that does not exist");
    program.operands[instruction.first_operand + (i < inputs ? i : op.inputs + i - inputs)] = number;
  }
  reader.skip_padding(4u * (inputs + outputs));
  instruction.first_attribute = static_cast<uint32_t>(program.attributes.size());
  program.attributes.resize(program.attributes.size() + (attribute_bytes + 7) / 8);
  reader.copy(program.attributes.data() + instruction.first_attribute, attribute_bytes);
  reader.skip_padding(attribute_bytes);
  program.instructions.push_back(instruction);
}

}  // namespace

Program decode(const uint8_t* bytes, size_t size) {
  Reader reader(bytes, size);
  if (reader.next<uint32_t>() != MAGIC) fail("does not begin with the magic number");
  if (reader.next<uint32_t>() != VERSION) throw Error("CONFIG", "program: was encoded for another version of the addon");
  if (reader.next<uint64_t>() != OPS_HASH)
    throw Error("CONFIG", "program: was encoded for other ops than the addon was built with; run npm run build:native");
  const size_t buffers = reader.next<uint32_t>(), instructions = reader.next<uint32_t>();
  const size_t ranges = reader.next<uint32_t>();
  reader.next<uint32_t>();

  Program program{};
  for (int arena = 0; arena < ARENA_COUNT; arena++) {
    program.bytes[arena] = reader.next<uint64_t>();
    program.layout[arena] = reader.next<uint64_t>();
    if (program.bytes[arena] > uint64_t{1} << 50) fail(std::string("declares an impossible size of ") + ARENA_NAMES[arena]);
  }
  program.input_bytes = reader.next<uint64_t>();
  program.output_offset = reader.next<uint64_t>();
  program.output_bytes = reader.next<uint64_t>();
  const uint64_t io = program.bytes[IO];
  if (program.input_bytes > program.output_offset || program.output_offset > io ||
      program.output_bytes > io - program.output_offset)
    fail("has inputs and outputs that do not fit in the io arena");

  // Counts are held against the bytes that are there before anything is allocated for them.
  if (buffers > reader.left() / BUFFER_BYTES) fail("is cut short");
  program.buffers.reserve(buffers);
  for (size_t i = 0; i < buffers; i++) program.buffers.push_back(read_buffer(reader, program.bytes, i));
  if (ranges > reader.left() / RANGE_BYTES) fail("is cut short");
  for (size_t i = 0; i < ranges; i++) program.ranges.push_back(read_range(reader, program, i));
  if (instructions > reader.left() / INSTRUCTION_BYTES) fail("is cut short");
  program.instructions.reserve(instructions);
  for (size_t i = 0; i < instructions; i++) read_instruction(reader, program);
  if (reader.left() != 0) fail("goes on after its last instruction");
  for (const Instruction& instruction : program.instructions) check_instruction(program, instruction);
  return program;
}

void check_inputs(const Program& program, const uint8_t* inputs) {
  for (const InputRange& range : program.ranges) {
    for (uint64_t i = 0; i < range.count; i++) {
      int32_t value;
      memcpy(&value, inputs + range.offset + 4 * i, sizeof value);
      if (value < range.minimum || value >= range.limit)
        throw Error("DATA", "run: element " + std::to_string(i) + " of the integer input at byte " +
                                std::to_string(range.offset) + " is " + std::to_string(value) +
                                " but must be at least " + std::to_string(range.minimum) + " and below " +
                                std::to_string(range.limit));
    }
  }
}

}  // namespace heddle
