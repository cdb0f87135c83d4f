// The words of HEDDLE_OPS (src/graph/signature.ts) parsed by the compiler: one constant table, no work at start.
#pragma once
#include "ops.h"

namespace heddle {

// Operands with a shared dtype have the same one: float32 or bf16 for REAL and for RESULT, two or four bytes for ANY.
enum SharedDType : uint8_t { NOT_SHARED, REAL, RESULT, ANY };
constexpr int SHARED_DTYPES = 4;

enum Regularity : uint8_t { CONTIGUOUS, ROWS, STRIDED };

struct OperandSpec {
  bool star = false;          // any leading extents, equal for all such operands of an instruction
  uint8_t rank = 0;           // extents after the star
  int32_t dims[MAX_RANK]{};   // a letter, or an extent negated
  DType dtype = F32;
  SharedDType shared = NOT_SHARED;  // instead of dtype
  Regularity regularity = CONTIGUOUS;
  bool optional = false;
};

constexpr int MAX_INPUTS = 12, MAX_OUTPUTS = 4, MAX_ATTRIBUTES = 8;

struct OpSignature {
  const char* name = nullptr;
  uint8_t inputs = 0, outputs = 0, attributes = 0;
  OperandSpec in[MAX_INPUTS]{}, out[MAX_OUTPUTS]{};
  uint32_t writes = 0;                // inputs changed in place
  uint32_t reuse[MAX_OUTPUTS]{};      // inputs whose memory an output may take
  int32_t choices[MAX_ATTRIBUTES]{};  // values 0 .. choices - 1; 0: any 32 bits
};

namespace signature {

constexpr bool equal(const char* word, int length, const char* other) {
  for (int i = 0; i < length; i++)
    if (word[i] != other[i] || other[i] == 0) return false;
  return other[length] == 0;
}

constexpr int number(const char* word, int length) {
  int value = 0;
  for (int i = 0; i < length; i++) {
    if (word[i] < '0' || word[i] > '9') throw "a word that this parser does not know";
    value = value * 10 + (word[i] - '0');
  }
  return value;
}

constexpr int word_length(const char* text) {
  int length = 0;
  while (text[length] != 0 && text[length] != ' ' && text[length] != ';') length++;
  return length;
}

constexpr void read_word(OperandSpec& spec, const char* word, int length) {
  if (equal(word, length, "?")) spec.optional = true;
  else if (equal(word, length, "*")) spec.star = true;
  else if (equal(word, length, "rows")) spec.regularity = ROWS;
  else if (equal(word, length, "strided")) spec.regularity = STRIDED;
  else if (equal(word, length, "any")) spec.shared = ANY;
  else if (equal(word, length, "real")) spec.shared = REAL;
  else if (equal(word, length, "result")) spec.shared = RESULT;
  else if (equal(word, length, "f32")) spec.dtype = F32;
  else if (equal(word, length, "bf16")) spec.dtype = BF16;
  else if (equal(word, length, "i32")) spec.dtype = I32;
  else if (equal(word, length, "u8")) spec.dtype = U8;
  else if (length == 1 && word[0] >= 'A' && word[0] <= 'Z') spec.dims[spec.rank++] = word[0];
  else spec.dims[spec.rank++] = -number(word, length);
}

constexpr uint8_t read_operands(OperandSpec* specs, int limit, const char* text) {
  if (*text == 0) return 0;
  int count = 1;
  for (; *text != 0; text++) {
    if (*text == ' ') continue;
    if (*text == ';') {
      if (++count > limit) throw "more operands than OpSignature holds";
      continue;
    }
    const int length = word_length(text);
    read_word(specs[count - 1], text, length);
    text += length - 1;
  }
  return static_cast<uint8_t>(count);
}

constexpr int32_t choices_of(const char* word, int length) {
  if (equal(word, length, "i32") || equal(word, length, "f32")) return 0;
  return equal(word, length, "bool") ? 2 : number(word, length);
}

constexpr OpSignature parse(const char* inputs, const char* outputs, uint32_t writes) {
  OpSignature parsed;
  parsed.inputs = read_operands(parsed.in, MAX_INPUTS, inputs);
  parsed.outputs = read_operands(parsed.out, MAX_OUTPUTS, outputs);
  parsed.writes = writes;
  return parsed;
}

constexpr void read_checks(OpSignature& parsed, const char* name, const char* attributes, const char* reuse) {
  parsed.name = name;
  for (; *attributes != 0; attributes++) {
    if (*attributes == ' ') continue;
    if (parsed.attributes == MAX_ATTRIBUTES) throw "more attributes than OpSignature holds";
    const int length = word_length(attributes);
    parsed.choices[parsed.attributes++] = choices_of(attributes, length);
    attributes += length - 1;
  }
  for (int output = 0; *reuse != 0; reuse++) {
    if (*reuse == ' ') continue;
    const int length = word_length(reuse);
    parsed.reuse[output++] = static_cast<uint32_t>(number(reuse, length));
    reuse += length - 1;
  }
}

struct Table {
  OpSignature op[OP_COUNT];
};

constexpr Table build() {
  Table table{};
  int index = 0;
#define HEDDLE_PARSE(name, inputs, outputs, bytes, writes) table.op[index++] = parse(inputs, outputs, writes);
  HEDDLE_OPS(HEDDLE_PARSE)
#undef HEDDLE_PARSE
  index = 0;
#define HEDDLE_PARSE(name, attributes, reuse) read_checks(table.op[index++], #name, attributes, reuse);
  HEDDLE_OP_CHECKS(HEDDLE_PARSE)
#undef HEDDLE_PARSE
  return table;
}

}  // namespace signature

constexpr signature::Table SIGNATURES = signature::build();

// OP_add and so on: the number of each op.
enum OpId : uint16_t {
#define HEDDLE_ID(name, attributes, reuse) OP_##name,
  HEDDLE_OP_CHECKS(HEDDLE_ID)
#undef HEDDLE_ID
};

}  // namespace heddle
