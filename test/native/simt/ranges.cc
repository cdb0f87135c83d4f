// Ranges for a profiler: each instruction of the first, eager run of a program, then the program as a whole.
#include "../../../native/cuda/ranges.h"

#include <dlfcn.h>

#include <cstdlib>

#include "../../../native/cuda/backend.h"
#include "../check.h"
#include "../programs.h"

int main() {
  using namespace heddle;
  setenv("NVTX_INJECTION64_PATH", FAKE_PROFILER, 1);
  const std::unique_ptr<Backend> backend = cuda::open(0, false);
  // Two arrays of four numbers to fill, the second as output.
  test::ProgramText text;
  text.bytes[ACTIVATIONS] = text.bytes[IO] = 256;
  text.output_bytes = 16;
  text.buffers = {{ACTIVATIONS, F32, 0, {4}, {1}}, {IO, F32, 0, {4}, {1}}};
  for (uint32_t buffer : {0u, 1u}) text.instructions.push_back({OP_fill, {}, {buffer}, {test::bits(2.5f)}});
  const std::vector<uint8_t> bytes = test::encode(text);
  const Program program = decode(bytes.data(), bytes.size());
  backend->allocate(program.bytes, {&program});
  const std::vector<uint8_t> inputs(program.input_bytes);
  std::vector<uint8_t> outputs(program.output_bytes);
  const double scalars[SCALAR_COUNT] = {};
  for (int run = 0; run < 3; run++) {
    backend->run(program, inputs.data(), scalars, nullptr);
    backend->collect(outputs.data());
  }
  void* const library = dlopen(FAKE_PROFILER, RTLD_LAZY);
  const auto told = reinterpret_cast<const char* (*)()>(dlsym(library, "toldRanges"));
  CHECK(told != nullptr);
  const std::string ranges = told ? told() : "";
  // Eager, captured and replayed, replayed.
  if (ranges != "(fill)(fill)(fill)(fill)(program of 2 instructions)(program of 2 instructions)") {
    failures()++;
    fprintf(stderr, "ranges: %s\n", ranges.c_str());
  }
  return report("ranges");
}
