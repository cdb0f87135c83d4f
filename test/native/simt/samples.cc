// Runs the samples that test/ops/writeSamples.ts wrote through the CUDA backend on the emulator, for several settings of it
// and so many seeds; in the first setting also captured and replayed. With a sanitizer, which is slow, in one setting.
// Usage: samples FILE [largest number of flops of a sample] [seeds]
#include <cmath>
#include <fstream>
#include <iterator>

#include "../../../native/cuda/backend.h"
#include "../../../native/numeric.h"
#include "../check.h"
#include "simt.h"

namespace {

using namespace heddle;

constexpr uint8_t SENTINEL = 0xA5;
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool IS_SANITIZED = true;
#else
constexpr bool IS_SANITIZED = false;
#endif

struct Reader {
  std::vector<uint8_t> bytes;
  size_t at = 0;

  template <typename T>
  T get() {
    T value;
    memcpy(&value, bytes.data() + at, sizeof value);
    at += sizeof value;
    return value;
  }
  std::vector<uint8_t> block() {
    const uint32_t size = get<uint32_t>();
    at += size;
    return {bytes.begin() + long(at - size), bytes.begin() + long(at)};
  }
  std::string text() {
    const std::vector<uint8_t> letters = block();
    return {letters.begin(), letters.end()};
  }
  std::vector<double> numbers(size_t count) {
    std::vector<double> values(count);
    for (double& value : values) value = get<double>();
    return values;
  }
};

struct Expected {
  std::string name;
  Arena arena;
  uint32_t offset;
  DType dtype;
  double rtol, atol;
  std::vector<double> values;
};

struct Sample {
  std::string name;
  double flops;
  Program program;
  std::vector<double> scalars;
  std::vector<uint8_t> inputs;
  std::vector<std::pair<Arena, std::vector<uint8_t>>> arenas;
  std::vector<Expected> expected;
};

Sample read_sample(Reader& reader) {
  Sample sample;
  sample.name = reader.text();
  sample.flops = reader.get<double>();
  const std::vector<uint8_t> program = reader.block();
  sample.program = decode(program.data(), program.size());
  sample.scalars = reader.numbers(SCALAR_COUNT);
  sample.inputs = reader.block();
  for (uint32_t i = reader.get<uint32_t>(); i > 0; i--) {
    const Arena arena = Arena(reader.get<uint32_t>());
    sample.arenas.emplace_back(arena, reader.block());
  }
  for (uint32_t i = reader.get<uint32_t>(); i > 0; i--) {
    Expected expected;
    expected.name = reader.text();
    expected.arena = Arena(reader.get<uint32_t>());
    expected.offset = reader.get<uint32_t>();
    expected.dtype = DType(reader.get<uint32_t>());
    expected.rtol = reader.get<double>();
    expected.atol = reader.get<double>();
    const uint32_t count = reader.get<uint32_t>();
    expected.values = reader.numbers(count);
    sample.expected.push_back(std::move(expected));
  }
  return sample;
}

constexpr size_t bytes_of(DType dtype) { return dtype == BF16 ? 2 : 4; }

double number_at(const std::vector<uint8_t>& bytes, size_t offset, DType dtype) {
  if (dtype == BF16) {
    bf16 value;
    memcpy(&value, bytes.data() + offset, 2);
    return to_float(value);
  }
  if (dtype == I32) {
    int32_t value;
    memcpy(&value, bytes.data() + offset, 4);
    return value;
  }
  float value;
  memcpy(&value, bytes.data() + offset, 4);
  return value;
}

// What is wrong, or nothing.
std::string compare(const Expected& expected, const std::vector<uint8_t>& found, size_t offset) {
  double greatest = 0;
  for (double value : expected.values)
    if (std::isfinite(value)) greatest = std::max(greatest, std::abs(value));
  const double bound = expected.atol + expected.rtol * greatest;
  for (size_t i = 0; i < expected.values.size(); i++) {
    const double value = number_at(found, offset + bytes_of(expected.dtype) * i, expected.dtype), wanted = expected.values[i];
    if (value == wanted || (std::isnan(value) && std::isnan(wanted))) continue;
    if (!(std::abs(value - wanted) <= bound))
      return expected.name + "[" + std::to_string(i) + "] is " + std::to_string(value) + " instead of " +
             std::to_string(wanted);
  }
  return "";
}

// One run of a program that is loaded already; what is wrong with it, or nothing.
std::string run_once(Backend& backend, const Sample& sample) {
  const Program& program = sample.program;
  for (const auto& [arena, bytes] : sample.arenas) backend.upload(arena, 0, bytes.data(), bytes.size());
  backend.run(program, sample.inputs.data(), sample.scalars.data(), nullptr);
  std::array<std::vector<uint8_t>, ARENA_COUNT> found;
  for (const auto& [arena, bytes] : sample.arenas) {
    found[arena].resize(bytes.size());
    backend.download(arena, 0, found[arena].data(), bytes.size());
  }
  found[IO].resize(program.output_bytes);
  backend.collect(found[IO].data());
  backend.wait();
  std::vector<std::vector<bool>> belongs(ARENA_COUNT);
  for (int arena : {GRADIENTS, KV_CACHE}) belongs[arena].resize(found[arena].size());
  for (const Expected& expected : sample.expected) {
    const std::string problem = compare(expected, found[expected.arena], expected.offset);
    if (!problem.empty()) return problem;
    if (expected.arena != IO)
      std::fill_n(belongs[expected.arena].begin() + expected.offset, bytes_of(expected.dtype) * expected.values.size(), true);
  }
  for (int arena : {GRADIENTS, KV_CACHE})
    for (size_t i = 0; i < found[arena].size(); i++)
      if (!belongs[arena][i] && found[arena][i] != SENTINEL)
        return std::string(ARENA_NAMES[arena]) + ": byte " + std::to_string(i) + ", which belongs to nobody, was written";
  return "";
}

// Fresh memory for each setting. A replay takes the same turns as the eager run before it: one setting shows that it works.
std::string run_sample(const Sample& sample, bool is_replayed) {
  const std::unique_ptr<Backend> backend = cuda::open(0, false);
  backend->allocate(sample.program.bytes, {&sample.program});
  for (const char* how : {"eager", "captured", "replayed"}) {
    if (!is_replayed && *how != 'e') break;
    const std::string problem = run_once(*backend, sample);
    if (!problem.empty()) return std::string(how) + ": " + problem;
  }
  return "";
}

struct Setting {
  const char* name;
  simt::Settings::Order order;
  simt::Settings::Copies copies;
  int poison;
};
constexpr Setting SETTINGS[] = {
    {"in order, copies late, poison 0xFF", simt::Settings::FORWARD, simt::Settings::LATE, 0xFF},
    {"shuffled, copies now late now early, poison 0x7B", simt::Settings::SHUFFLED, simt::Settings::MIXED, 0x7B},
    {"shuffled, copies early, no poison", simt::Settings::SHUFFLED, simt::Settings::EARLY, -1},
};

}  // namespace

int main(int count, char** arguments) {
  if (count < 2) return fprintf(stderr, "usage: samples FILE [flops] [seeds]\n"), 2;
  std::ifstream file(arguments[1], std::ios::binary);
  Reader reader{{std::istreambuf_iterator<char>(file), {}}};
  if (reader.bytes.size() < 4) return fprintf(stderr, "%s: no samples\n", arguments[1]), 2;
  const double most = count > 2 ? atof(arguments[2]) : 1e12;
  const int seeds = count > 3 ? atoi(arguments[3]) : 1;
  int run = 0;
  for (uint32_t left = reader.get<uint32_t>(); left > 0; left--) {
    const Sample sample = read_sample(reader);
    if (sample.flops > most) continue;
    run++;
    for (int seed = 1; seed <= seeds; seed++)
      for (const Setting& setting : SETTINGS) {
        if (IS_SANITIZED ? &setting != &SETTINGS[1] : setting.order == simt::Settings::FORWARD && seed > 1) continue;
        simt::settings.order = setting.order, simt::settings.copies = setting.copies;
        simt::settings.poison = setting.poison, simt::settings.seed = uint64_t(seed);
        std::string problem;
        try {
          problem = run_sample(sample, !IS_SANITIZED && &setting == SETTINGS);
        } catch (const Error& error) {
          problem = error.what();
        }
        if (problem.empty()) continue;
        failures()++;
        fprintf(stderr, "%s: %s, seed %d: %s\n", sample.name.c_str(), setting.name, seed, problem.c_str());
      }
  }
  printf("%d samples: ", run);
  return report("samples");
}
