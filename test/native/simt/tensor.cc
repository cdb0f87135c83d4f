// Asynchronous copies, and what tensor cores do: fragments, matrices in shared memory and products of them.
#include "machine.h"

namespace simt {
namespace {

void make(const Copy& copy) {
  ANNOUNCE(__tsan_read_range(const_cast<void*>(copy.from), copy.read_bytes); __tsan_write_range(copy.to, copy.bytes);)
  memcpy(copy.to, copy.from, copy.read_bytes);
  memset(static_cast<char*>(copy.to) + copy.read_bytes, 0, copy.bytes - copy.read_bytes);
}

uint64_t copy_count = 0;

}  // namespace

uint64_t copies() { return copy_count; }

void copy_async(void* to, const void* from, uint32_t bytes, uint32_t read_bytes, Place place) {
  machine.current->place = place;
  copy_count++;
  if (reinterpret_cast<uintptr_t>(to) % bytes || (read_bytes && reinterpret_cast<uintptr_t>(from) % bytes))
    fail("cp.async needs addresses that are multiples of its size", place);
  const Copy copy = {to, from, bytes, read_bytes};
  if (settings.copies == Settings::EARLY || (settings.copies == Settings::MIXED && (next_random() & 1))) make(copy);
  else machine.current->copies.push_back(copy);
}

void commit_copies() { machine.current->groups.push_back(machine.current->copies.size()); }

void wait_for_copies(uint32_t groups_left) {
  Thread& self = *machine.current;
  if (self.groups.size() <= groups_left) return;
  const size_t done = self.groups.size() - groups_left, end = self.groups[done - 1];
  for (size_t i = 0; i < end; i++) make(self.copies[i]);
  self.copies.erase(self.copies.begin(), self.copies.begin() + long(end));
  self.groups.erase(self.groups.begin(), self.groups.begin() + long(done));
  for (size_t& group : self.groups) group -= end;
}

// ---- tensor cores

namespace {

struct Multiply {
  float* d;
  const uint32_t *a, *b;
};

float from_bf16(uint32_t bits) { return __uint_as_float(bits << 16); }

// d[16][8] += a[16][K] b[K][8], from fragments that `put_a` and `put_b` spread out.
template <int K, typename Spread>
void multiply(Part* const* parts, const Spread& spread) {
  float a[16][K], b[K][8], d[16][8];
  for (int lane = 0; lane < LANES; lane++) {
    const Multiply& own = *static_cast<Multiply*>(parts[lane]->operands);
    spread(lane, own, a, b);
    for (int r = 0; r < 4; r++) d[lane / 4 + 8 * (r / 2)][lane % 4 * 2 + r % 2] = own.d[r];
  }
  for (int i = 0; i < 16; i++)
    for (int k = 0; k < K; k++)
      for (int j = 0; j < 8; j++) d[i][j] += a[i][k] * b[k][j];
  for (int lane = 0; lane < LANES; lane++)
    for (int r = 0; r < 4; r++)
      static_cast<Multiply*>(parts[lane]->operands)->d[r] = d[lane / 4 + 8 * (r / 2)][lane % 4 * 2 + r % 2];
}

}  // namespace

void mma_bf16_16816(float* d, const uint32_t* a, const uint32_t* b, Place place) {
  Multiply own = {d, a, b};
  full_warp(
      [](uint32_t, Part* const* parts) {
        multiply<16>(parts, [](int lane, const Multiply& own, float (*a)[16], float (*b)[8]) {
          const int row = lane / 4, column = lane % 4 * 2;
          for (int half = 0; half < 2; half++) {
            for (int r = 0; r < 4; r++)
              a[row + 8 * (r % 2)][column + half + 8 * (r / 2)] = from_bf16(own.a[r] >> 16 * half & 0xFFFF);
            for (int r = 0; r < 2; r++) b[column + half + 8 * r][row] = from_bf16(own.b[r] >> 16 * half & 0xFFFF);
          }
        });
      },
      &own, place);
}

void mma_tf32_1688(float* d, const uint32_t* a, const uint32_t* b, Place place) {
  Multiply own = {d, a, b};
  full_warp(
      [](uint32_t, Part* const* parts) {
        multiply<8>(parts, [](int lane, const Multiply& own, float (*a)[8], float (*b)[8]) {
          const auto tf32 = [](uint32_t bits) { return __uint_as_float(bits & 0xFFFFE000u); };
          for (int r = 0; r < 4; r++) a[lane / 4 + 8 * (r % 2)][lane % 4 + 4 * (r / 2)] = tf32(own.a[r]);
          for (int r = 0; r < 2; r++) b[lane % 4 + 4 * r][lane / 4] = tf32(own.b[r]);
        });
      },
      &own, place);
}

void load_matrices(uint32_t* registers, int count, bool transposed, const void* row, Place place) {
  struct Load {
    uint32_t* registers;
    const char* row;
    int count;
    bool transposed;
  } own = {registers, static_cast<const char*>(row), count, transposed};
  if (machine.current->lane < uint32_t(8 * count)) {
    machine.current->place = place;
    if (reinterpret_cast<uintptr_t>(row) % 16) fail("ldmatrix needs rows that begin at multiples of 16 bytes", place);
    ANNOUNCE(__tsan_read_range(const_cast<void*>(row), 16);)
  }
  full_warp(
      [](uint32_t, Part* const* parts) {
        const Load& first = *static_cast<Load*>(parts[0]->operands);
        for (int matrix = 0; matrix < first.count; matrix++) {
          uint16_t m[8][8];
          for (int i = 0; i < 8; i++) memcpy(m[i], static_cast<Load*>(parts[8 * matrix + i]->operands)->row, 16);
          for (int lane = 0; lane < LANES; lane++) {
            const int i = lane / 4, j = lane % 4 * 2;
            static_cast<Load*>(parts[lane]->operands)->registers[matrix] =
                first.transposed ? m[j][i] | uint32_t(m[j + 1][i]) << 16 : m[i][j] | uint32_t(m[i][j + 1]) << 16;
          }
        }
      },
      &own, place);
}

}  // namespace simt
