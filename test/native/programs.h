// Programs by hand and at random, as bytes.
#pragma once
#include <algorithm>
#include <random>

#include "signature.h"
#include "program.h"

namespace heddle { namespace test {

struct BufferText {
  Arena arena;
  DType dtype;
  uint64_t offset;
  std::vector<int64_t> shape, stride;
};

struct InstructionText {
  uint16_t op;
  std::vector<uint32_t> inputs, outputs;  // buffer numbers
  std::vector<uint32_t> attributes;       // as bits
  uint64_t workspace_offset = 0, workspace_bytes = 0;
};

struct RangeText {
  uint32_t buffer;
  int64_t minimum, limit;
};

struct ProgramText {
  uint64_t bytes[ARENA_COUNT] = {}, layout[ARENA_COUNT] = {};
  uint64_t input_bytes = 0, output_offset = 0, output_bytes = 0;
  std::vector<BufferText> buffers;
  std::vector<RangeText> ranges;
  std::vector<InstructionText> instructions;
};

inline std::vector<int64_t> contiguous(const std::vector<int64_t>& shape) {
  std::vector<int64_t> stride(shape.size(), 1);
  for (int axis = static_cast<int>(shape.size()) - 2; axis >= 0; axis--)
    stride[axis] = stride[axis + 1] * shape[axis + 1];
  return stride;
}

inline uint32_t bits(float value) {
  uint32_t result;
  memcpy(&result, &value, 4);
  return result;
}

class Writer {
 public:
  template <typename T>
  void put(T value) {
    const auto* from = reinterpret_cast<const uint8_t*>(&value);
    bytes.insert(bytes.end(), from, from + sizeof value);
  }
  void pad() { bytes.resize((bytes.size() + 7) / 8 * 8); }
  std::vector<uint8_t> bytes;
};

inline std::vector<uint8_t> encode(const ProgramText& text) {
  Writer to;
  to.put<uint32_t>(0x4c444448);
  to.put<uint32_t>(1);
  to.put<uint64_t>(OPS_HASH);
  to.put<uint32_t>(text.buffers.size());
  to.put<uint32_t>(text.instructions.size());
  to.put<uint32_t>(text.ranges.size());
  to.put<uint32_t>(0);
  for (int arena = 0; arena < ARENA_COUNT; arena++) to.put(text.bytes[arena]), to.put(text.layout[arena]);
  to.put(text.input_bytes);
  to.put(text.output_offset);
  to.put(text.output_bytes);
  for (const BufferText& buffer : text.buffers) {
    to.put<uint8_t>(buffer.arena);
    to.put<uint8_t>(buffer.dtype);
    to.put<uint8_t>(buffer.shape.size());
    for (int i = 0; i < 5; i++) to.put<uint8_t>(0);
    to.put(buffer.offset);
    for (size_t axis = 0; axis < MAX_RANK; axis++) to.put<int64_t>(axis < buffer.shape.size() ? buffer.shape[axis] : 1);
    for (size_t axis = 0; axis < MAX_RANK; axis++) to.put<int64_t>(axis < buffer.shape.size() ? buffer.stride[axis] : 0);
  }
  for (const RangeText& range : text.ranges) {
    to.put(range.buffer);
    to.put<uint32_t>(0);
    to.put(range.minimum);
    to.put(range.limit);
  }
  for (const InstructionText& instruction : text.instructions) {
    to.put(instruction.op);
    to.put<uint8_t>(instruction.inputs.size());
    to.put<uint8_t>(instruction.outputs.size());
    to.put<uint32_t>(4 * instruction.attributes.size());
    to.put(instruction.workspace_offset);
    to.put(instruction.workspace_bytes);
    for (uint32_t number : instruction.inputs) to.put(number);
    for (uint32_t number : instruction.outputs) to.put(number);
    to.pad();
    for (uint32_t value : instruction.attributes) to.put(value);
    to.pad();
  }
  return to.bytes;
}

// y = 2 (x + w); w += x. w: 64 parameters; inputs: x, then four ids in [0, 10).
inline ProgramText add_and_scale() {
  ProgramText text;
  text.bytes[PARAMETERS] = text.bytes[ACTIVATIONS] = 256;
  text.layout[PARAMETERS] = 7;
  text.bytes[IO] = 528;
  text.input_bytes = text.output_offset = 272;
  text.output_bytes = 256;
  text.buffers = {{PARAMETERS, F32, 0, {64}, {1}},
                  {IO, F32, 0, {64}, {1}},
                  {ACTIVATIONS, F32, 0, {64}, {1}},
                  {IO, F32, 272, {64}, {1}},
                  {IO, I32, 256, {4}, {1}}};
  text.ranges = {{4, 0, 10}};
  text.instructions = {{OP_add, {1, 0}, {2}, {}},
                       {OP_scale, {2}, {3}, {bits(2.0f), bits(0.0f)}},
                       {OP_add, {0, 1}, {0}, {}}};
  return text;
}

// One instruction of `op` that is valid: random extents, optional operands and strides, every operand in memory of its own.
class RandomProgram {
 public:
  RandomProgram(uint16_t op, std::mt19937_64& random) : op_(SIGNATURES.op[op]), random_(random) {
    for (int64_t& extent : extents_) extent = 1 + below(random() % 4 == 0 ? 40 : 6);
    relate(op);
    for (int64_t axis = below(3); axis > 0; axis--) star_.push_back(1 + below(4));
    InstructionText instruction{op, {}, {}, {}};
    for (int i = 0; i < op_.inputs; i++) {
      const bool wanted = !op_.in[i].optional || random() % 2 || is_needed(op, i);
      instruction.inputs.push_back(wanted ? add(op_.in[i], op_.writes >> i & 1) : ABSENT);
      if (wanted && op == OP_attention && i == 7) declare_below(extent('P'));
    }
    const bool needs_first = op == OP_attention || op == OP_matmul || op == OP_rotary_table;
    const int sure = needs_first ? 0 : static_cast<int>(below(std::max<int>(op_.outputs, 1)));
    for (int i = 0; i < op_.outputs; i++)
      instruction.outputs.push_back(i == sure || random() % 4 ? add(op_.out[i], true) : ABSENT);
    set_attributes(op, instruction.attributes);
    text.instructions = {instruction};
    find_workspace();
  }

  ProgramText text;

 private:
  int64_t below(int64_t limit) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(limit)); }
  int64_t& extent(char letter) { return extents_[letter - 'A']; }

  // What src/ops says in words and rules.cc checks.
  void relate(uint16_t op) {
    if (op == OP_attention || op == OP_attention_backward) {
      extent('H') = extent('G') * (1 + below(3));
      extent('P') = extent('B');
    }
    if (op == OP_cache_write) extent('B') = 1 + below(extent('P')), extent('T') = 1 + below(extent('S'));
    if (op == OP_rotary) extent('D') = 2 * extent('E');
  }

  bool is_needed(uint16_t op, int input) const { return op == OP_matmul && input == 4; }

  uint32_t add(const OperandSpec& spec, bool is_written) {
    std::vector<int64_t> shape;
    if (spec.star) shape = star_;
    for (int axis = 0; axis < spec.rank; axis++)
      shape.push_back(spec.dims[axis] > 0 ? extent(static_cast<char>(spec.dims[axis])) : -spec.dims[axis]);
    std::vector<int64_t> stride = contiguous(shape);
    if (spec.regularity != CONTIGUOUS && shape.size() > 1 && random_() % 2) {
      const int64_t gap = 1 + below(3);  // rows that stand apart
      for (size_t axis = 0; axis + 1 < shape.size(); axis++) stride[axis] *= gap;
    }
    if (spec.regularity == STRIDED && !is_written && !shape.empty() && random_() % 3 == 0)
      stride[below(static_cast<int64_t>(shape.size()))] = 0;
    int64_t last = 0;
    for (size_t axis = 0; axis < shape.size(); axis++) last += (shape[axis] - 1) * stride[axis];
    const Arena arena = is_written ? (random_() % 2 ? PARAMETERS : ACTIVATIONS) : GRADIENTS;
    text.buffers.push_back({arena, spec.dtype, text.bytes[arena], shape, stride});
    text.bytes[arena] += static_cast<uint64_t>(last + 1) * 4;
    return static_cast<uint32_t>(text.buffers.size() - 1);
  }

  // Makes the operand added last an input of the run in [0, limit).
  void declare_below(int64_t limit) {
    BufferText& buffer = text.buffers.back();
    text.bytes[buffer.arena] = buffer.offset;
    buffer.arena = IO;
    buffer.offset = 0;
    int64_t count = 1;
    for (int64_t extent : buffer.shape) count *= extent;
    text.bytes[IO] = text.input_bytes = text.output_offset = 4 * static_cast<uint64_t>(count);
    text.ranges.push_back({static_cast<uint32_t>(text.buffers.size() - 1), 0, limit});
  }

  void set_attributes(uint16_t op, std::vector<uint32_t>& attributes) {
    for (int i = 0; i < op_.attributes; i++)
      attributes.push_back(static_cast<uint32_t>(op_.choices[i] ? below(op_.choices[i]) : bits(0.25f)));
    const auto set = [&](char letter) { attributes[0] = static_cast<uint32_t>(extent(letter)); };
    if (op == OP_embedding_backward) set('V');
    if (op == OP_beam_candidates) set('M');
    if (op == OP_positions) set('T');
    if (op == OP_arange) set('N');
    if (op == OP_sinusoidal) set('C');
    if (op == OP_rotary_table) set('E');
    if (op == OP_attention || op == OP_attention_backward) attributes[1] = static_cast<uint32_t>(below(5));
    if (op == OP_skip_gram) attributes[0] = static_cast<uint32_t>(1 + below(5)), attributes[1] = static_cast<uint32_t>(below(6));
  }

  // The least that is accepted, so that a kernel that takes more runs over the end of the arena.
  void find_workspace() {
    const auto fits = [&](uint64_t bytes) {
      text.bytes[WORKSPACE] = text.instructions[0].workspace_bytes = bytes;
      const std::vector<uint8_t> encoded = encode(text);
      try {
        decode(encoded.data(), encoded.size());
      } catch (const Error& error) {
        if (strstr(error.what(), "of workspace but needs")) return false;
        throw;
      }
      return true;
    };
    uint64_t low = 0, high = 16 << 20;
    while (low < high) {
      const uint64_t middle = (low + high) / 2;
      if (fits(middle)) high = middle;
      else low = middle + 1;
    }
    fits(low);
  }

  const OpSignature& op_;
  std::mt19937_64& random_;
  int64_t extents_[26];
  std::vector<int64_t> star_;
};

}}  // namespace heddle::test
