// Activations and their derivatives, by the formulas of cpu/math.h.
#pragma once
#include "gpu.h"

namespace heddle { namespace cuda {

HEDDLE_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// sigmoid(x) and 1 - sigmoid(x), the latter without cancellation: derivatives need both tails.
struct Logistic {
  float value, complement;
};
HEDDLE_DEVICE Logistic logistic(float x) {
  const float e = expf(x < -87.0f ? 87.0f : -x);  // or e value would be infinity times 0
  const float value = 1.0f / (1.0f + e);
  return {value, e * value};
}

// The probability that a standard normal variable is less than x. Of erfc, the tail keeps its relative accuracy.
HEDDLE_DEVICE float normal_probability(float x) { return 0.5f * erfcf(-0.7071067811865476f * x); }

// gelu_tanh(x) = x (1 + tanh u) / 2 = x sigmoid(2u) with 2u = x (a + b x^2): Hendrycks & Gimpel 2016, arXiv:1606.08415.
constexpr float GELU_LINEAR = 1.5957691216057308f;  // 2 sqrt(2 / pi)
constexpr float GELU_CUBIC = 0.044715f * GELU_LINEAR;

HEDDLE_DEVICE float activate(ActivationKind kind, float x) {
  switch (kind) {
    case ACTIVATION_GELU:
      return x * normal_probability(x);
    case ACTIVATION_GELU_TANH:
      return x * sigmoid(x * (GELU_LINEAR + GELU_CUBIC * x * x));
    case ACTIVATION_RELU:
      return x < 0.0f ? 0.0f : x;
    case ACTIVATION_SIGMOID:
      return sigmoid(x);
    case ACTIVATION_SILU:
      return x * sigmoid(x);
    case ACTIVATION_TANH:
      return tanhf(x);
    default:
      return x;
  }
}

HEDDLE_DEVICE float activation_derivative(ActivationKind kind, float x) {
  switch (kind) {
    case ACTIVATION_GELU:
      return normal_probability(x) + x * (0.3989422804014327f * expf(-0.5f * x * x));
    case ACTIVATION_GELU_TANH: {
      const Logistic s = logistic(x * (GELU_LINEAR + GELU_CUBIC * x * x));
      return s.value + x * (GELU_LINEAR + 3.0f * GELU_CUBIC * x * x) * (s.value * s.complement);
    }
    case ACTIVATION_RELU:
      return x > 0.0f ? 1.0f : 0.0f;
    case ACTIVATION_SIGMOID: {
      const Logistic s = logistic(x);
      return s.value * s.complement;
    }
    case ACTIVATION_SILU: {
      const Logistic s = logistic(x);
      return s.value + x * (s.value * s.complement);
    }
    case ACTIVATION_TANH: {
      const float t = tanhf(x);
      return 1.0f - t * t;
    }
    default:
      return 1.0f;
  }
}

}}  // namespace heddle::cuda
