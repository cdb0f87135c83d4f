// Small kernels with a fault each. The emulator must report every one, and none in the kernels without; and products on tensor
// cores, where a mistake in a layout would show in every kernel that uses them, but not where it is.
// `faults` checks what the emulator finds by itself; `faults NAME` runs one fault that a sanitizer must end the process for.
#include <vector>

#include "../../../native/cuda/device.h"
#include "../../../native/cuda/fragments.h"
#include "../check.h"

namespace {

using namespace heddle;
using namespace heddle::cuda;

constexpr int COUNT = 64;

enum Fault {
  NO_FAULT,
  MISSING_BARRIER,           // a read may come before the write
  MISSING_TRAILING_BARRIER,  // a write may come before the read
  MISSING_COPY_WAIT,
  MISSING_BARRIER_AFTER_WAIT,
  UNWRITTEN_SHARED_MEMORY,
  DIVERGENT_SHUFFLE,
  MISSING_LANES,
  SKIPPED_BARRIER,
  MISALIGNED_COPY,
  UNWAITED_COPY,
  SHARED_OUT_OF_BOUNDS,
  GLOBAL_OUT_OF_BOUNDS,
};

// Reverses numbers through shared memory, twice in the same place.
template <Fault FAULT>
__global__ void reverse_twice(const float* x, float* y) {
  SHARED_ARRAY(float, values, [COUNT]);
  const int i = threadIdx.x;
  if (FAULT != UNWRITTEN_SHARED_MEMORY || i != 0) values[i] = x[i];
  if (FAULT != MISSING_BARRIER) __syncthreads();
  const float reversed = values[COUNT - 1 - i];
  if (FAULT != MISSING_TRAILING_BARRIER) __syncthreads();
  values[i] = reversed;
  __syncthreads();
  y[i] = values[COUNT - 1 - i];
}

// Copies 16 bytes a thread asynchronously and reads what the neighbour copied.
template <Fault FAULT>
__global__ void copy_neighbours(const float* x, float* y) {
  SHARED_ARRAY(float4, values, [COUNT]);
  const int i = threadIdx.x;
  copy_async(reinterpret_cast<char*>(values + i) + (FAULT == MISALIGNED_COPY ? 4 : 0), x + 4 * i, true);
  commit_copies();
  if (FAULT != MISSING_COPY_WAIT && FAULT != UNWAITED_COPY) wait_for_copies<0>();
  if (FAULT != MISSING_BARRIER_AFTER_WAIT) __syncthreads();
  y[i] = FAULT == UNWAITED_COPY ? 0.0f : values[(i + 1) % COUNT].x;
  if (FAULT == MISSING_COPY_WAIT) wait_for_copies<0>();
}

template <Fault FAULT>
__global__ void collective(const float* x, float* y) {
  const int i = threadIdx.x;
  float sum = x[i];
  if (FAULT == DIVERGENT_SHUFFLE && i % 2) sum += __shfl_xor_sync(ALL_LANES, sum, 1);
  else if (FAULT == MISSING_LANES && i % LANES == 7) return;
  else sum += __shfl_xor_sync(ALL_LANES, sum, 1);
  if (FAULT == SKIPPED_BARRIER && i < LANES) {
    __syncthreads();
    __syncwarp();
  }
  if (FAULT == SKIPPED_BARRIER && i >= LANES) __syncwarp();
  y[i] = sum;
}

template <Fault FAULT>
__global__ void out_of_bounds(const float* x, float* y) {
  SHARED_ARRAY(float, values, [COUNT]);
  const int i = threadIdx.x;
  values[FAULT == SHARED_OUT_OF_BOUNDS ? i + 1 : i] = x[i];
  __syncthreads();
  y[FAULT == GLOBAL_OUT_OF_BOUNDS ? i + 1 : i] = values[i];
}

// Products of tiles as the kernels make them, rows of x being 16 wide: s = a b^T with 16 rows of a and 16 of b, which goes
// from its registers into y[16][16] = s c with the 16 rows of c. The layouts of ldmatrix and mma must fit each other.
__global__ void tensor_core_products(const float* x, float* y) {
  constexpr int ROWS = 3 * 16, WIDTH = 16;
  SHARED_ARRAY(uint4, memory, [ROWS * ROW_STEP<WIDTH> / 8]);
  bf16* const tile = reinterpret_cast<bf16*>(memory);
  const int lane = threadIdx.x;
  for (int i = lane; i < ROWS * WIDTH; i += LANES) tile[i / WIDTH * ROW_STEP<WIDTH> + i % WIDTH] = to_bf16(x[i]);
  __syncwarp();
  float s[1][2][4] = {}, d[1][2][4] = {};
  multiply_rows<1, 2, WIDTH>(s, tile, tile + 16 * ROW_STEP<WIDTH>);
  multiply_weights<1, 2, 2, WIDTH>(d, s, tile + 32 * ROW_STEP<WIDTH>);
  for (int n = 0; n < 2; n++)
    for (int i = 0; i < 4; i++) y[(fragment_row() + 8 * (i / 2)) * WIDTH + 8 * n + fragment_column() + i % 2] = d[0][n][i];
}

typedef void (*Example)(const float*, float*);

// Whether a run reports a fault or gives something else than `expected`.
bool is_caught(Example kernel, const std::vector<float>& x, const std::vector<float>& expected) {
  std::vector<float> y(expected.size(), -1.0f);
  const int before = simt::faults();
  const Status status = launch(kernel, dim3(1), dim3(COUNT), 0, nullptr, x.data(), y.data());
  return status != cudaSuccess || simt::faults() > before || y != expected;
}

struct Case {
  const char* name;
  Example good, faulty;
  std::vector<float> expected;
};

}  // namespace

int main(int count, char** arguments) {
  std::vector<float> x(4 * COUNT), same(COUNT), neighbours(COUNT), pairs(COUNT);
  for (int i = 0; i < 4 * COUNT; i++) x[i] = float(i + 1);
  for (int i = 0; i < COUNT; i++) {
    same[i] = x[i];
    neighbours[i] = x[4 * ((i + 1) % COUNT)];
    pairs[i] = x[i] + x[i ^ 1];
  }
  if (count > 1) {
    const std::string name = arguments[1];
    const Example kernel = name == "shared out of bounds"    ? out_of_bounds<SHARED_OUT_OF_BOUNDS>
                          : name == "global out of bounds"  ? out_of_bounds<GLOBAL_OUT_OF_BOUNDS>
                          : name == "missing barrier"       ? reverse_twice<MISSING_BARRIER>
                          : name == "missing last barrier"  ? reverse_twice<MISSING_TRAILING_BARRIER>
                          : name == "missing copy barrier"  ? copy_neighbours<MISSING_BARRIER_AFTER_WAIT>
                          : name == "none"                  ? reverse_twice<NO_FAULT>
                                                            : nullptr;
    if (!kernel) return fprintf(stderr, "unknown fault %s\n", arguments[1]), 2;
    float* const y = new float[COUNT];
    const Status status = launch(kernel, dim3(1), dim3(COUNT), 0, nullptr, x.data(), y);
    delete[] y;
    return status == cudaSuccess ? 0 : 1;
  }

  const Case cases[] = {
      {"missing barrier", reverse_twice<NO_FAULT>, reverse_twice<MISSING_BARRIER>, same},
      {"missing trailing barrier", reverse_twice<NO_FAULT>, reverse_twice<MISSING_TRAILING_BARRIER>, same},
      {"unwritten shared memory", reverse_twice<NO_FAULT>, reverse_twice<UNWRITTEN_SHARED_MEMORY>, same},
      {"missing copy wait", copy_neighbours<NO_FAULT>, copy_neighbours<MISSING_COPY_WAIT>, neighbours},
      {"missing barrier after the wait", copy_neighbours<NO_FAULT>, copy_neighbours<MISSING_BARRIER_AFTER_WAIT>, neighbours},
      {"misaligned copy", copy_neighbours<NO_FAULT>, copy_neighbours<MISALIGNED_COPY>, neighbours},
      {"copy without a wait", copy_neighbours<NO_FAULT>, copy_neighbours<UNWAITED_COPY>, std::vector<float>(COUNT)},
      {"divergent shuffle", collective<NO_FAULT>, collective<DIVERGENT_SHUFFLE>, pairs},
      {"missing lanes", collective<NO_FAULT>, collective<MISSING_LANES>, pairs},
      {"skipped barrier", collective<NO_FAULT>, collective<SKIPPED_BARRIER>, pairs},
  };
  simt::settings.is_quiet = true;
  constexpr int SEEDS = 8;
  for (const Case& each : cases) {
    bool caught = false;
    for (int seed = 1; seed <= SEEDS; seed++) {
      simt::settings.order = simt::Settings::SHUFFLED;
      simt::settings.copies = simt::Settings::MIXED;
      simt::settings.poison = 0xFF;
      simt::settings.seed = uint64_t(seed);
      caught = is_caught(each.faulty, x, each.expected) || caught;
      const bool is_copy_case = each.good == copy_neighbours<NO_FAULT>;
      CHECK(!is_caught(each.good, x, is_copy_case ? neighbours : each.expected));
    }
    if (!caught) {
      failures()++;
      fprintf(stderr, "not caught: %s\n", each.name);
    }
  }

  // Exact in bf16, as are all sums.
  std::vector<float> operands(48 * 16), product(16 * 16), expected(16 * 16);
  for (size_t i = 0; i < operands.size(); i++) operands[i] = float(int(i * 37 % 5) - 2);
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < 16; k++) {
      float s = 0.0f;
      for (int n = 0; n < 16; n++) s += operands[i * 16 + n] * operands[(16 + k) * 16 + n];
      for (int j = 0; j < 16; j++) expected[i * 16 + j] += s * operands[(32 + k) * 16 + j];
    }
  CHECK(launch(tensor_core_products, dim3(1), dim3(LANES), 0, nullptr, operands.data(), product.data()) == cudaSuccess);
  CHECK(product == expected);
  return report("faults");
}
