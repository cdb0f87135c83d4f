#include "rules.h"

#include <algorithm>

#include "signature.h"
#include "skip_gram.h"

namespace heddle {
namespace {

std::string shape_text(const Operand& view) {
  std::string text = "[";
  for (int axis = 0; axis < view.rank; axis++) text += (axis ? ", " : "") + std::to_string(view.shape[axis]);
  return text + "]";
}

bool is_regular(const Operand& view, Regularity regularity) {
  if (regularity == STRIDED || view.rank == 0) return true;
  const int last = view.rank - 1;
  if (regularity == ROWS) return view.shape[last] == 1 || view.stride[last] == 1;
  int64_t expected = 1;
  for (int axis = last; axis >= 0; axis--) {
    if (view.shape[axis] != 1 && view.stride[axis] != expected) return false;
    expected *= view.shape[axis];
  }
  return true;
}

// Where a view's elements lie in periods counted from `origin`: true if all lie within [low, high) of each, without wrapping.
bool lies_within(const Buffer& buffer, uint64_t origin, uint64_t period, uint64_t& low, uint64_t& high) {
  const int64_t element = ELEMENT_BYTES[buffer.view.dtype];
  uint64_t span = static_cast<uint64_t>(element);
  for (int axis = 0; axis < buffer.view.rank; axis++) {
    const uint64_t stride = static_cast<uint64_t>(buffer.view.stride[axis] * element);
    if (buffer.view.shape[axis] > 1 && stride % period != 0) span += (buffer.view.shape[axis] - 1) * stride;
  }
  low = (buffer.offset - origin) % period;
  high = low + span;
  return high <= period;
}

// Whether no byte can belong to both. Views that interleave (columns of one matrix, heads of one row) are told apart by a
// period that is a stride of one of them; anything subtler counts as shared.
bool are_disjoint(const Buffer& a, const Buffer& b) {
  if (a.arena != b.arena) return true;
  const uint64_t a_end = a.offset + static_cast<uint64_t>(span_bytes(a.view));
  const uint64_t b_end = b.offset + static_cast<uint64_t>(span_bytes(b.view));
  if (a_end <= b.offset || b_end <= a.offset) return true;
  const uint64_t origin = std::min(a.offset, b.offset);
  for (const Buffer* buffer : {&a, &b}) {
    for (int axis = 0; axis < buffer->view.rank; axis++) {
      const uint64_t period =
          static_cast<uint64_t>(buffer->view.stride[axis] * ELEMENT_BYTES[buffer->view.dtype]);
      uint64_t a_low, a_high, b_low, b_high;
      if (buffer->view.shape[axis] == 1 || period == 0) continue;
      if (!lies_within(a, origin, period, a_low, a_high) || !lies_within(b, origin, period, b_low, b_high)) continue;
      if (a_high <= b_low || b_high <= a_low) return true;
    }
  }
  return false;
}

bool is_same_place(const Buffer& a, const Buffer& b) {
  if (a.arena != b.arena || a.offset != b.offset) return false;
  if (a.view.dtype != b.view.dtype || a.view.rank != b.view.rank) return false;
  for (int axis = 0; axis < a.view.rank; axis++) {
    if (a.view.shape[axis] != b.view.shape[axis]) return false;
    if (a.view.shape[axis] != 1 && a.view.stride[axis] != b.view.stride[axis]) return false;
  }
  return true;
}

// Checks one instruction; a class only to share what is known of it.
class Check {
 public:
  Check(const Program& program, const Instruction& instruction)
      : program_(program), instruction_(instruction), op_(SIGNATURES.op[instruction.op]) {}

  void run() {
    for (int i = 0; i < op_.inputs; i++)
      if (buffer(i)) bind(op_.in[i], *buffer(i), "input", i);
      else if (!op_.in[i].optional) fail("DATA", "input " + std::to_string(i) + " is missing");
    int present = 0;
    for (int i = 0; i < op_.outputs; i++)
      if (output(i)) bind(op_.out[i], *output(i), "output", i), present++;
    if (op_.outputs > 0 && present == 0) fail("DATA", "no output is written");
    if (needs_first_output() && !output(0)) fail("DATA", "its first output is missing");
    check_attributes();
    check_relations();
    check_writes();
    check_workspace();
  }

 private:
  [[noreturn]] void fail(const char* code, const std::string& what) const {
    const long index = &instruction_ - program_.instructions.data();
    throw Error(code, "program: instruction " + std::to_string(index) + " (" + op_.name + "): " + what);
  }

  // Operand `index` of the inputs and outputs together, or null where it is absent.
  const Buffer* buffer(int index) const {
    const uint32_t number = program_.operands[instruction_.first_operand + index];
    return number == ABSENT ? nullptr : &program_.buffers[number];
  }
  const Buffer* output(int index) const { return buffer(op_.inputs + index); }
  int64_t extent(char letter) const { return extents_[letter - 'A']; }

  void bind(const OperandSpec& spec, const Buffer& buffer, const char* kind, int index) {
    const Operand& view = buffer.view;
    const auto refuse = [&](const std::string& why) {
      fail("SHAPE", std::string(kind) + " " + std::to_string(index) + " of shape " + shape_text(view) + " " + why);
    };
    if (!fits_dtype(spec, view.dtype))
      fail("DATA", std::string(kind) + " " + std::to_string(index) + " has another dtype");
    const int leading = view.rank - spec.rank;
    if (leading < 0 || (leading > 0 && !spec.star)) refuse("has the wrong rank");
    if (spec.star) {
      if (!star_) star_ = &view, star_rank_ = leading;
      bool same = star_rank_ == leading;
      for (int axis = 0; same && axis < leading; axis++) same = star_->shape[axis] == view.shape[axis];
      if (!same) refuse("has other leading extents than the operands before it");
    }
    for (int axis = 0; axis < spec.rank; axis++) {
      const int32_t dim = spec.dims[axis];
      const int64_t found = view.shape[leading + axis];
      if (dim > 0 && extents_[dim - 'A'] == 0) extents_[dim - 'A'] = found;
      if (found != (dim > 0 ? extents_[dim - 'A'] : -dim))
        refuse(dim > 0 ? std::string("contradicts extent ") + static_cast<char>(dim) : "has an extent that is fixed");
    }
    if (!is_regular(view, spec.regularity)) refuse("has strides that the kernel does not take");
  }

  bool fits_dtype(const OperandSpec& spec, int32_t dtype) {
    if (spec.shared == NOT_SHARED) return dtype == spec.dtype;
    int32_t& bound = shared_dtypes_[spec.shared];
    if (bound < 0) bound = dtype;
    const bool allowed = spec.shared == ANY ? ELEMENT_BYTES[dtype] >= 2 : dtype == F32 || dtype == BF16;
    return allowed && dtype == bound;
  }

  // Other kernels can do without any output that nobody reads, as long as one is left.
  bool needs_first_output() const {
    const uint16_t op = instruction_.op;
    return op == OP_attention || op == OP_matmul || op == OP_rotary_table;
  }

  int32_t attribute(int index) const {
    return reinterpret_cast<const int32_t*>(program_.attributes.data() + instruction_.first_attribute)[index];
  }

  void check_attributes() const {
    for (int i = 0; i < op_.attributes; i++)
      if (op_.choices[i] && (attribute(i) < 0 || attribute(i) >= op_.choices[i]))
        fail("DATA", "attribute " + std::to_string(i) + " is " + std::to_string(attribute(i)) + ", not below " +
                         std::to_string(op_.choices[i]));
  }

  void require(bool holds, const char* rule) const {
    if (!holds) fail("SHAPE", std::string("needs ") + rule);
  }

  // What the letters of a signature cannot say.
  void check_relations() const {
    switch (instruction_.op) {
      case OP_attention:
        require(buffer(7) || extent('P') == extent('B'), "as many rows of keys as of queries, or slots");
        require(extent('H') % extent('G') == 0, "query heads that are a multiple of the key heads");
        require(!buffer(7) || is_declared_below(*buffer(7), extent('P')), "slots that are an input declared in [0, P)");
        break;
      case OP_attention_backward:
        require(extent('P') == extent('B'), "as many rows of keys as of queries");
        require(extent('H') % extent('G') == 0, "query heads that are a multiple of the key heads");
        break;
      case OP_cache_write:
        require(extent('B') <= extent('P') && extent('T') <= extent('S'), "a cache at least as large as the values");
        break;
      case OP_embedding_backward: require(attribute(0) == extent('V'), "as many rows as the table has"); break;
      case OP_beam_candidates:
        require(attribute(0) == extent('M') && extent('K') <= 256, "at most 256 beams, and as many candidates as it is asked for");
        break;
      case OP_positions: require(attribute(0) == extent('T'), "the length of its output"); break;
      case OP_arange: require(attribute(0) == extent('N'), "the length of its output"); break;
      case OP_sinusoidal: require(attribute(0) == extent('C'), "the size of its output"); break;
      case OP_rotary_table: require(attribute(0) == extent('E'), "half the head's size"); break;
      case OP_rotary: require(extent('D') == 2 * extent('E'), "tables of half the head's size"); break;
      case OP_matmul:
        require(attribute(0) != EPILOGUE_ACTIVATION_BACKWARD || buffer(4), "the preactivation for its epilogue");
        break;
      case OP_skip_gram:
        require(attribute(0) >= 1 && attribute(0) <= SKIP_GRAM_WINDOW, "a window of 1 to 256");
        require(attribute(1) >= 0 && extent('V') < (int64_t{1} << 31), "no fewer than 0 negatives and less than 2^31 words");
        require(extent('N') < (int64_t{1} << 31), "less than 2^31 words of text");
        break;
      case OP_adamw:
      case OP_sgd: require((extent('N') + 1023) / 1024 <= extent('K'), "a row of blocks for each 1,024 elements"); break;
      default: break;
    }
  }

  // Whether `run` checks that these integers lie in [0, limit). Asked of those that kernels use as they are; the others
  // (lengths, positions, token ids) every kernel holds against its extents itself.
  bool is_declared_below(const Buffer& buffer, int64_t limit) const {
    if (buffer.arena != IO) return false;
    const uint64_t end = buffer.offset + static_cast<uint64_t>(span_bytes(buffer.view));
    for (const InputRange& range : program_.ranges)
      if (range.offset <= buffer.offset && end <= range.offset + 4 * range.count && range.minimum >= 0 &&
          range.limit <= limit)
        return true;
    return false;
  }

  // Nothing written may overlap itself (a broadcast axis does), lie among the run's inputs, or share memory with another operand, unless it is
  // exactly the input that the op declares it may overwrite.
  void check_writes() const {
    for (int i = 0; i < op_.inputs + op_.outputs; i++) {
      const bool is_output = i >= op_.inputs;
      const Buffer* written = buffer(i);
      if (!written || !(is_output || (op_.writes >> i & 1))) continue;
      if (!steps_clear_itself(written->view)) fail("DATA", "writes an operand that overlaps itself");
      if (written->arena == IO && written->offset < program_.input_bytes) fail("DATA", "writes over the inputs of the run");
      const uint32_t may_take = is_output ? op_.reuse[i - op_.inputs] : 0;
      for (int j = 0; j < op_.inputs + op_.outputs; j++) {
        const Buffer* other = buffer(j);
        if (j == i || !other || are_disjoint(*written, *other)) continue;
        const bool in_place = j < op_.inputs && (may_take >> j & 1) && is_same_place(*written, *other);
        if (!in_place)
          fail("DATA", "operand " + std::to_string(i) + " is written over operand " + std::to_string(j));
      }
    }
  }

  // With axes by rising stride, each stride must pass what the smaller ones span.
  static bool steps_clear_itself(const Operand& view) {
    int64_t reach = 1;
    for (unsigned taken = 0;;) {
      int next = -1;
      for (int axis = 0; axis < view.rank; axis++)
        if (view.shape[axis] > 1 && !(taken >> axis & 1) && (next < 0 || view.stride[axis] < view.stride[next]))
          next = axis;
      if (next < 0) return true;
      if (view.stride[next] < reach) return false;
      reach += (view.shape[next] - 1) * view.stride[next];
      taken |= 1u << next;
    }
  }

  // The least each kernel works with; the same formulas stand beside the ops in src/ops. matmul does with any.
  uint64_t least_workspace() const {
    switch (instruction_.op) {
      case OP_sum: return std::min<uint64_t>(64, extent('R')) * 4 * extent('A') * extent('B');
      case OP_layer_norm_backward: return 32 * 2 * 4 * extent('C');
      case OP_rms_norm_backward: return 32 * 4 * extent('C');
      case OP_skip_gram: return 4 * skip_gram_places(extent('N'), attribute(0), extent('C')).end;
      case OP_gradient_norm: return 8 * ((extent('N') + 16383) / 16384);
      case OP_sample: return 12 * extent('B') * extent('V');
      case OP_beam_candidates: return 8 * extent('K') * extent('B') * extent('M');
      default: return 0;
    }
  }

  void check_workspace() const {
    if (instruction_.workspace_bytes < least_workspace())
      fail("DATA", "has " + std::to_string(instruction_.workspace_bytes) + " bytes of workspace but needs " +
                       std::to_string(least_workspace()));
    if (instruction_.workspace_bytes == 0) return;
    const Buffer workspace = workspace_buffer();
    for (int i = 0; i < op_.inputs + op_.outputs; i++)
      if (buffer(i) && !are_disjoint(workspace, *buffer(i))) fail("DATA", "has an operand in its own workspace");
  }

  Buffer workspace_buffer() const {
    Buffer workspace{WORKSPACE, instruction_.workspace_offset, Operand{}};
    workspace.view.dtype = U8;
    workspace.view.rank = 1;
    workspace.view.shape[0] = static_cast<int64_t>(instruction_.workspace_bytes);
    workspace.view.stride[0] = 1;
    return workspace;
  }

  const Program& program_;
  const Instruction& instruction_;
  const OpSignature& op_;
  const Operand* star_ = nullptr;
  int star_rank_ = 0;
  int32_t shared_dtypes_[SHARED_DTYPES] = {-1, -1, -1, -1};
  int64_t extents_[26] = {};
};

}  // namespace

int64_t span_bytes(const Operand& view) {
  int64_t last = 0;
  for (int axis = 0; axis < view.rank; axis++) last += (view.shape[axis] - 1) * view.stride[axis];
  return (last + 1) * ELEMENT_BYTES[view.dtype];
}

void check_instruction(const Program& program, const Instruction& instruction) { Check(program, instruction).run(); }

}  // namespace heddle
