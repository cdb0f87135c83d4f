// What the parts of the emulator share: the block in progress, its threads and warps, and whose turn it is.
#pragma once
#include <functional>
#include <vector>

#include "fiber.h"
#include "simt.h"

// The emulator is built without the thread sanitizer: what it reads and writes for itself is not the kernel's. Order between
// threads, and copies made on their behalf, are announced.
#if SIMT_THREAD_SANITIZER
extern "C" {
void* __tsan_create_fiber(unsigned);
void __tsan_destroy_fiber(void*);
void* __tsan_get_current_fiber();
void __tsan_acquire(void*);
void __tsan_release(void*);
void __tsan_read_range(void*, unsigned long);
void __tsan_write_range(void*, unsigned long);
}
#define ANNOUNCE(...) __VA_ARGS__
#else
#define ANNOUNCE(...)
#endif

namespace simt {

constexpr int LANES = 32;

enum class State : uint8_t { READY, AT_BARRIER, IN_COLLECTIVE, EXITED };

struct Copy {
  void* to;
  const void* from;
  uint32_t bytes, read_bytes;
};

struct Thread : Fiber {
  uint3 index;
  uint32_t number, lane, warp;
  State state;
  Place place;               // where it waits
  std::vector<Copy> copies;  // asynchronous, not yet made
  std::vector<size_t> groups;  // ends of the committed groups in it
};

// What a lane brings to a collective. The last lane to arrive computes for all.
struct Part {
  uint32_t mask;
  Place place;
  void (*compute)(uint32_t lanes, Part* const* parts);
  void* operands;
};

struct Order {  // memory order made by a barrier, alternating so that two barriers in a row do not mix
  char sides[2];
  uint32_t phase = 0;
  char* side() { return &sides[phase & 1]; }
};

struct Warp {
  uint32_t arrived, exited;
  Part* parts[LANES];
  struct Synced {
    uint32_t mask;
    Order order;
  };
  std::vector<Synced> synced;  // one for each mask of __syncwarp
};

struct SharedArray {
  void* key;
  char* data;
};

struct Grid {
  dim3 blocks, threads;
  size_t shared_bytes;
  const std::function<void()>* body;
};

// The block in progress. Host threads take turns at `run_grid`.
struct Machine {
  const Grid* grid = nullptr;
  uint3 block{};
  uint32_t count = 0, live = 0, at_barrier = 0;
  std::vector<Thread> threads;
  std::vector<Warp> warps;
  std::vector<Thread*> ready;  // from `first` on
  size_t first = 0;
  Order barrier;
  Fiber host;
  Thread* current = nullptr;
  std::vector<SharedArray> arrays;
  char* dynamic = nullptr;
  char* stacks = nullptr;
  uint64_t random = 1;
  uint32_t eager = 0;  // of 256: how often the thread that became ready last goes first
  bool has_failed = false;
  char start, end;  // order of a block with what comes before and after it
};
extern Machine machine;

uint64_t next_random();
// Abandons the block. The fibers stay where they are until they are prepared again.
[[noreturn]] void fail(const char* what, Place place);
// A collective of all 32 lanes: the last one to arrive computes for all.
void full_warp(void (*compute)(uint32_t lanes, Part* const* parts), void* operands, Place place);

}  // namespace simt
