// Attention in bf16, on tensor cores where its kernels take the operands, against the float32 kernels on the same numbers: at the
// borders of tiles, for every mask and width of heads. The emulator's settings must not change a bit.
// Usage: attention [largest number of multiplications of a case]
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "../../../native/cuda/kernels.h"
#include "../check.h"

namespace {

using namespace heddle;

struct Case {
  const char* name;
  int B, T, S, H, G, D;
  bool is_causal;
  int window;
  bool has_lengths, has_starts, has_slopes, has_slots;
  float dropout, scale;
};
constexpr bool YES = true, NO = false;
constexpr Case CASES[] = {
    {"one key", 1, 5, 1, 1, 1, 32, NO, 0, NO, NO, NO, NO, 0, 0},
    {"one query", 1, 1, 70, 1, 1, 32, NO, 0, NO, NO, NO, NO, 0, 0},
    {"63", 1, 63, 63, 1, 1, 32, YES, 0, NO, NO, NO, NO, 0, 0},
    {"64", 1, 64, 64, 1, 1, 64, YES, 0, NO, NO, NO, NO, 0, 0},
    {"65, two key heads of four", 1, 65, 65, 4, 2, 32, YES, 0, NO, NO, NO, NO, 0, 0},
    {"129", 1, 129, 129, 1, 1, 64, YES, 0, NO, NO, NO, NO, 0, 0},
    {"129, not causal", 1, 129, 129, 1, 1, 96, NO, 0, NO, NO, NO, NO, 0, 0},
    {"129, wide heads", 1, 129, 129, 1, 1, 128, YES, 0, NO, NO, NO, NO, 0, 0},
    {"heads of 40", 1, 65, 70, 1, 1, 40, NO, 0, NO, NO, NO, NO, 0, 0},
    {"heads of 6, by no tensor core", 1, 66, 66, 2, 1, 6, YES, 0, NO, NO, NO, NO, 0.2f, 0},
    {"heads of 136, by no tensor core", 1, 9, 11, 1, 1, 136, NO, 0, NO, NO, NO, NO, 0, 0},
    {"more queries than keys", 1, 130, 65, 1, 1, 32, YES, 0, NO, NO, NO, NO, 0, 0},
    {"more keys than queries", 1, 65, 130, 1, 1, 32, YES, 0, NO, NO, NO, NO, 0, 0},
    {"window", 1, 200, 200, 1, 1, 32, YES, 70, NO, NO, NO, NO, 0, 0},
    {"window, not causal", 1, 140, 200, 1, 1, 32, NO, 9, NO, NO, NO, NO, 0, 0},
    {"lengths", 3, 66, 97, 2, 1, 32, YES, 0, YES, NO, NO, NO, 0, 0},
    {"lengths, not causal", 3, 66, 97, 2, 1, 32, NO, 0, YES, NO, NO, NO, 0, 0},
    {"starts of documents", 2, 140, 140, 1, 1, 32, YES, 0, NO, YES, NO, NO, 0, 0},
    {"slopes", 1, 70, 70, 2, 2, 32, YES, 0, NO, NO, YES, NO, 0, 0},
    {"a negative scale", 1, 20, 20, 1, 1, 32, YES, 0, NO, NO, NO, NO, 0, -0.3f},
    {"dropout", 2, 70, 70, 2, 1, 32, YES, 0, NO, NO, NO, NO, 0.3f, 0},
    {"dropout, wide heads", 1, 66, 33, 2, 1, 128, NO, 0, NO, NO, NO, NO, 0.3f, 0},
    {"slots", 2, 20, 90, 2, 1, 64, YES, 0, YES, NO, NO, YES, 0, 0},
    {"slots, few queries", 2, 2, 200, 4, 2, 64, YES, 0, YES, NO, NO, YES, 0, 0},
    {"few queries, heads of 20", 2, 1, 200, 4, 2, 20, YES, 0, YES, NO, NO, NO, 0, 0},
    {"all at once", 3, 70, 97, 4, 2, 64, YES, 50, YES, YES, YES, NO, 0.2f, 0},
    {"all at once, not causal", 3, 70, 97, 4, 2, 96, NO, 50, YES, YES, YES, NO, 0.2f, 0.05f},
};

uint32_t random_state = 1;
float uniform() {
  random_state = random_state * 1664525u + 1013904223u;
  return float(random_state >> 8) * 0x1p-24f;
}
float normal() {
  const float radius = std::sqrt(-2 * std::log(uniform() + 1e-7f));
  return radius * std::cos(6.2831853f * uniform());
}

// An operand of either dtype with its numbers.
struct Array {
  std::vector<float> floats;
  std::vector<bf16> halves;
  Operand operand(int dtype, std::vector<int64_t> shape) {
    Operand operand = {};
    operand.data = dtype == BF16 ? static_cast<void*>(halves.data()) : static_cast<void*>(floats.data());
    operand.dtype = dtype, operand.rank = int(shape.size());
    int64_t stride = 1;
    for (int axis = operand.rank - 1; axis >= 0; axis--) {
      operand.shape[axis] = shape[size_t(axis)], operand.stride[axis] = stride;
      stride *= shape[size_t(axis)];
    }
    return operand;
  }
};
Array empty(int64_t size) {
  return {std::vector<float>(size_t(size), -7.0f), std::vector<bf16>(size_t(size), bf16{0x7FC0})};
}
Array random_array(int64_t size) {
  Array array = empty(size);
  for (size_t i = 0; i < array.floats.size(); i++) {
    array.halves[i] = to_bf16(normal());
    array.floats[i] = to_float(array.halves[i]);
  }
  return array;
}
Operand integers_of(std::vector<int32_t>& values, std::vector<int64_t> shape) {
  Operand operand = Array().operand(F32, shape);
  operand.data = values.data(), operand.dtype = I32;
  return operand;
}

struct Inputs {
  Array q, k, v, dy;
  std::vector<int32_t> query_lengths, key_lengths, starts, slots;
  std::vector<float> slopes;
};
struct Results {
  Array y, log_sum_exp, dq, dk, dv;
};

Inputs inputs_of(const Case& c) {
  Inputs inputs;
  const int64_t queries = int64_t(c.B) * c.T * c.H * c.D, keys = int64_t(c.B) * c.S * c.G * c.D;
  inputs.q = random_array(queries), inputs.k = random_array(keys), inputs.v = random_array(keys);
  inputs.dy = random_array(queries);
  for (int b = 0; b < c.B; b++) {
    // The last row is short, one before it without keys.
    inputs.query_lengths.push_back(b == c.B - 1 ? c.T - c.T / 3 : c.T);
    inputs.key_lengths.push_back(b == c.B - 1 ? c.S - c.S / 4 : b == 1 ? 0 : c.S);
    for (int t = 0; t < c.T; t++) inputs.starts.push_back(t / 30 * 30);
    for (int s = 0; s < c.S; s++) inputs.slots.push_back(int(uniform() * float(c.B)));
  }
  for (int h = 0; h < c.H; h++) inputs.slopes.push_back(0.25f / float(h + 1));
  return inputs;
}

Results run(const Case& c, Inputs& x, int dtype) {
  const std::vector<int64_t> queries = {c.B, c.T, c.H, c.D}, keys = {c.B, c.S, c.G, c.D}, statistics = {c.B, c.H, c.T};
  Results r;
  const int64_t query_size = int64_t(x.q.floats.size()), key_size = int64_t(x.k.floats.size());
  r.y = empty(query_size), r.dq = empty(query_size), r.dk = empty(key_size), r.dv = empty(key_size);
  r.log_sum_exp = empty(int64_t(c.B) * c.H * c.T);
  const float scale = c.scale != 0 ? c.scale : 1 / std::sqrt(float(c.D));
  Array slopes;
  slopes.floats = x.slopes;
  const Operand none = {};
  const Operand masks[] = {c.has_lengths ? integers_of(x.query_lengths, {c.B}) : none,
                           c.has_lengths ? integers_of(x.key_lengths, {c.B}) : none,
                           c.has_starts ? integers_of(x.starts, {c.B, c.T}) : none,
                           c.has_slopes ? slopes.operand(F32, {c.H}) : none,
                           c.has_slots ? integers_of(x.slots, {c.B, c.S}) : none};
  double scalars[SCALAR_COUNT] = {};
  scalars[SCALAR_SEED] = 12345678901.0, scalars[SCALAR_STEP] = 3, scalars[SCALAR_ROW_OFFSET] = 5;
  Context context = {};
  context.scalars = scalars;

  AttentionAttributes attributes = {};
  attributes.causal = c.is_causal, attributes.window = c.window, attributes.scale = scale;
  attributes.dropout = c.dropout, attributes.site = 2;
  const Operand in[] = {x.q.operand(dtype, queries), x.k.operand(dtype, keys), x.v.operand(dtype, keys),
                        masks[0], masks[1], masks[2], masks[3], masks[4]};
  const Operand out[] = {r.y.operand(dtype, queries), r.log_sum_exp.operand(F32, statistics)};
  const Call call = {in, out, &attributes, &context};
  std::vector<char> workspace(size_t(cuda::attention_workspace(call)) + 1);
  context.workspace = workspace.data();
  CHECK(cuda::attention(call, nullptr) == cudaSuccess);
  if (c.has_slots) return r;

  AttentionBackwardAttributes backward = {};
  backward.causal = c.is_causal, backward.window = c.window, backward.scale = scale;
  backward.dropout = c.dropout, backward.site = 2;
  const Operand backward_in[] = {in[0], in[1], in[2], out[0], out[1], x.dy.operand(dtype, queries),
                                 masks[0], masks[1], masks[2], masks[3]};
  const Operand backward_out[] = {r.dq.operand(dtype, queries), r.dk.operand(dtype, keys), r.dv.operand(dtype, keys)};
  const Call backward_call = {backward_in, backward_out, &backward, &context};
  std::vector<char> more(size_t(cuda::attention_backward_workspace(backward_call)) + 1);
  context.workspace = more.data();
  CHECK(cuda::attention_backward(backward_call, nullptr) == cudaSuccess);
  return r;
}

// |found - expected| <= atol + rtol max|expected|, as for bf16 results in test/ops/sample.ts.
void compare(const Case& c, const char* what, const std::vector<float>& expected, const std::vector<float>& found) {
  float greatest = 0;
  for (float value : expected)
    if (std::isfinite(value)) greatest = std::max(greatest, std::abs(value));
  for (size_t i = 0; i < expected.size(); i++) {
    if (found[i] == expected[i] || std::abs(found[i] - expected[i]) <= 1e-3f + 1.6e-2f * greatest) continue;
    failures()++;
    fprintf(stderr, "%s: %s[%zu] is %g instead of %g\n", c.name, what, i, double(found[i]), double(expected[i]));
    return;
  }
}
std::vector<float> floats_of(const std::vector<bf16>& halves) {
  std::vector<float> floats;
  for (bf16 half : halves) floats.push_back(to_float(half));
  return floats;
}
template <typename T>
bool is_same(const std::vector<T>& a, const std::vector<T>& b) {
  return memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

}  // namespace

int main(int count, char** arguments) {
  const double most = count > 1 ? atof(arguments[1]) : 1e12;
  using Settings = simt::Settings;
  const struct {
    Settings::Order order;
    Settings::Copies copies;
    int poison;
  } settings[] = {{Settings::SHUFFLED, Settings::MIXED, 0x7B}, {Settings::SHUFFLED, Settings::EARLY, -1},
                  {Settings::FORWARD, Settings::LATE, 0xFF}};
  int cases = 0;
  for (const Case& c : CASES) {
    if (double(c.B) * c.T * c.S * c.H * c.D > most) continue;
    cases++;
    Inputs inputs = inputs_of(c);
    const Results expected = run(c, inputs, F32);
    Results first;
    for (const auto& setting : settings) {
      simt::settings.order = setting.order, simt::settings.copies = setting.copies, simt::settings.poison = setting.poison;
      const bool is_first = &setting == settings;
      const Results found = run(c, inputs, BF16);
      if (is_first) {
        compare(c, "y", expected.y.floats, floats_of(found.y.halves));
        compare(c, "log_sum_exp", expected.log_sum_exp.floats, found.log_sum_exp.floats);
        if (!c.has_slots) {
          compare(c, "dq", expected.dq.floats, floats_of(found.dq.halves));
          compare(c, "dk", expected.dk.floats, floats_of(found.dk.halves));
          compare(c, "dv", expected.dv.floats, floats_of(found.dv.halves));
        }
        first = found;
      } else {
        CHECK(is_same(first.y.halves, found.y.halves) && is_same(first.log_sum_exp.floats, found.log_sum_exp.floats));
        CHECK(is_same(first.dq.halves, found.dq.halves) && is_same(first.dk.halves, found.dk.halves) &&
              is_same(first.dv.halves, found.dv.halves));
      }
    }
  }
  printf("%d cases: ", cases);
  return report("attention");
}
