// GENERATED from src/ops by `npm run ops`. Do not edit.
#pragma once
#include "kernel.h"

namespace heddle {

constexpr uint64_t OPS_HASH = 0xeebf267b7af10981ull;

enum ActivationKind : int32_t { ACTIVATION_NONE, ACTIVATION_GELU, ACTIVATION_GELU_TANH, ACTIVATION_RELU, ACTIVATION_SIGMOID, ACTIVATION_SILU, ACTIVATION_TANH };
enum UnaryKind : int32_t { UNARY_EXP, UNARY_LOG, UNARY_SQRT, UNARY_RECIPROCAL, UNARY_SQUARE };
enum Epilogue : int32_t { EPILOGUE_NONE, EPILOGUE_ACTIVATION, EPILOGUE_ACTIVATION_BACKWARD };
enum ClipMode : int32_t { CLIP_NONE, CLIP_NORM, CLIP_RESCALE, CLIP_VALUE };
enum Scalar : int32_t { SCALAR_LEARNING_RATE, SCALAR_SEED, SCALAR_STEP, SCALAR_MICRO_STEP, SCALAR_ROW_OFFSET, SCALAR_TEMPERATURE, SCALAR_TOP_K, SCALAR_TOP_P, SCALAR_MIN_P, SCALAR_TYPICAL_P, SCALAR_REPETITION_PENALTY, SCALAR_NO_REPEAT_NGRAM_SIZE };
constexpr int SCALAR_COUNT = 12;

// Attributes of each op, as they stand in a program.
struct AttentionAttributes { int32_t causal; int32_t window; float scale; float dropout; int32_t site; };
struct AttentionBackwardAttributes { int32_t causal; int32_t window; float scale; float dropout; int32_t site; };
struct BeamCandidatesAttributes { int32_t candidates; };
struct FillAttributes { float value; };
struct ScaleAttributes { float factor; float shift; };
struct UnaryAttributes { UnaryKind kind; };
struct ActivationAttributes { ActivationKind kind; };
struct ActivationBackwardAttributes { ActivationKind kind; };
struct GatedActivationAttributes { ActivationKind kind; };
struct GatedActivationBackwardAttributes { ActivationKind kind; };
struct DropoutAttributes { float probability; int32_t site; };
struct MatmulAttributes { Epilogue epilogue; ActivationKind kind; };
struct EmbeddingBackwardAttributes { int32_t rows; };
struct OneHotAttributes { int32_t size; };
struct PositionsAttributes { int32_t length; };
struct ArangeAttributes { int32_t length; };
struct SinusoidalAttributes { int32_t size; };
struct RotaryTableAttributes { int32_t half; float theta; };
struct RotaryAttributes { int32_t inverse; };
struct SoftmaxCrossEntropyAttributes { float label_smoothing; };
struct SoftmaxCrossEntropyBackwardAttributes { float label_smoothing; };
struct CountTargetsAttributes { int32_t limit; };
struct LayerNormAttributes { float epsilon; };
struct RmsNormAttributes { float epsilon; };
struct GradientNormAttributes { ClipMode clip; float maximum; };
struct AdamwAttributes { float beta1; float beta2; float epsilon; float weight_decay; int32_t decoupled; ClipMode clip; float maximum; };
struct SgdAttributes { float momentum; float weight_decay; int32_t nesterov; ClipMode clip; float maximum; };
struct SkipGramAttributes { int32_t window; int32_t negatives; };

// name, operands (see src/graph/signature.ts), bytes of attributes, bit mask of the inputs written in place
#define HEDDLE_OPS(X) \
  X(attention, "B T H D real rows;P S G D real rows;P S G D real rows;B i32 ?;B i32 ?;B T i32 ?;H ?;B S i32 ?", "B T H D real rows;B H T", 20, 0) \
  X(attention_backward, "B T H D real rows;P S G D real rows;P S G D real rows;B T H D real rows;B H T;B T H D real rows;B i32 ?;B i32 ?;B T i32 ?;H ?", "B T H D real rows;P S G D real rows;P S G D real rows", 20, 0) \
  X(cache_write, "P S G D real;B T G D real rows;B i32;B i32 ?", "", 0, 1) \
  X(beam_candidates, "K B V;K B", "B M;B M i32;B M i32", 4, 0) \
  X(sum, "A R B real", "A B result", 0, 0) \
  X(softmax, "* C", "* C", 0, 0) \
  X(softmax_backward, "* C;* C", "* C", 0, 0) \
  X(fill, "", "* result strided", 4, 0) \
  X(copy, "* any strided", "* any strided", 0, 0) \
  X(cast, "* real", "* result", 0, 0) \
  X(add, "* real strided;* real strided", "* real", 0, 0) \
  X(subtract, "* real strided;* real strided", "* real", 0, 0) \
  X(multiply, "* real strided;* real strided", "* real", 0, 0) \
  X(divide, "* real strided;* real strided", "* real", 0, 0) \
  X(scale, "* real", "* real", 8, 0) \
  X(unary, "* real", "* real", 4, 0) \
  X(activation, "* real", "* real", 4, 0) \
  X(activation_backward, "* real;* real", "* real", 4, 0) \
  X(gated_activation, "* C real rows;* C real rows", "* C real", 4, 0) \
  X(gated_activation_backward, "* C real rows;* C real rows;* C real", "* C real rows;* C real rows", 4, 0) \
  X(dropout, "* C real", "* C real", 8, 0) \
  X(matmul, "* M K real strided;* K N real strided;N ?;* M N result rows ?;* M N result rows ?", "* M N result rows;* M N result rows;* N", 8, 0) \
  X(embedding, "* i32;V C real", "* C real", 0, 0) \
  X(embedding_backward, "N i32;N C real;V C ?", "V C", 4, 0) \
  X(one_hot, "* i32", "* C result", 4, 0) \
  X(positions, "B i32", "B T i32", 4, 0) \
  X(arange, "", "N i32", 4, 0) \
  X(sinusoidal, "* i32", "* C", 4, 0) \
  X(rotary_table, "* i32", "* E;* E", 8, 0) \
  X(rotary, "B T H D real rows;B T E strided;B T E strided", "B T H D real rows", 4, 0) \
  X(softmax_cross_entropy, "N V real rows;N i32", "N;N;N V real rows", 4, 0) \
  X(softmax_cross_entropy_backward, "N V real rows;N i32;N;N", "N V real rows", 4, 0) \
  X(count_targets, "N i32", "1", 4, 0) \
  X(layer_norm, "* C real;C;C ?;* C real ?", "* C real;*;*;* C real", 4, 0) \
  X(layer_norm_backward, "* C real;C;*;*;* C real;* C real ?", "* C real;C;C", 0, 0) \
  X(rms_norm, "* C real;C;* C real ?", "* C real;*;* C real", 4, 0) \
  X(rms_norm_backward, "* C real;C;*;* C real;* C real ?", "* C real;C", 0, 0) \
  X(gradient_norm, "N;1", "1;1;1 i32", 8, 0) \
  X(adamw, "N;N;N;N;K 2;4 i32;1;1 i32;N bf16 ?", "", 28, 301) \
  X(sgd, "N;N;N;K 2;4 i32;1;1 i32;N bf16 ?", "", 20, 149) \
  X(sample, "B V", "B i32;B", 0, 0) \
  X(penalize_repetition, "B V;B S i32;B i32", "B V", 0, 0) \
  X(skip_gram, "V C;V C;N i32;V;V;V i32", "1;1", 8, 3) \

// name, types of the attributes (a number: so many names), and for each output the inputs whose memory it may take
#define HEDDLE_OP_CHECKS(X) \
  X(attention, "bool i32 f32 f32 i32", "0 0") \
  X(attention_backward, "bool i32 f32 f32 i32", "0 0 0") \
  X(cache_write, "", "") \
  X(beam_candidates, "i32", "0 0 0") \
  X(sum, "", "0") \
  X(softmax, "", "1") \
  X(softmax_backward, "", "3") \
  X(fill, "f32", "0") \
  X(copy, "", "0") \
  X(cast, "", "0") \
  X(add, "", "3") \
  X(subtract, "", "3") \
  X(multiply, "", "3") \
  X(divide, "", "3") \
  X(scale, "f32 f32", "1") \
  X(unary, "5", "1") \
  X(activation, "7", "1") \
  X(activation_backward, "7", "3") \
  X(gated_activation, "7", "0") \
  X(gated_activation_backward, "7", "0 0") \
  X(dropout, "f32 i32", "1") \
  X(matmul, "3 7", "24 0 0") \
  X(embedding, "", "0") \
  X(embedding_backward, "i32", "4") \
  X(one_hot, "i32", "0") \
  X(positions, "i32", "0") \
  X(arange, "i32", "0") \
  X(sinusoidal, "i32", "0") \
  X(rotary_table, "i32 f32", "0 0") \
  X(rotary, "bool", "1") \
  X(softmax_cross_entropy, "f32", "0 0 1") \
  X(softmax_cross_entropy_backward, "f32", "1") \
  X(count_targets, "i32", "0") \
  X(layer_norm, "f32", "9 0 0 9") \
  X(layer_norm_backward, "", "48 0 0") \
  X(rms_norm, "f32", "5 0 5") \
  X(rms_norm_backward, "", "24 0") \
  X(gradient_norm, "4 f32", "0 0 0") \
  X(adamw, "f32 f32 f32 f32 bool 4 f32", "") \
  X(sgd, "f32 f32 bool 4 f32", "") \
  X(sample, "", "0 0") \
  X(penalize_repetition, "", "0") \
  X(skip_gram, "i32 i32", "0 0") \

constexpr int OP_COUNT = 43;

}  // namespace heddle
