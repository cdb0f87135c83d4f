#include "machine.h"

#include <pthread.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <mutex>
#include <vector>

#if SIMT_ADDRESS_SANITIZER
#include <sanitizer/asan_interface.h>
#endif

namespace simt {

Settings settings;
Machine machine;

namespace {

constexpr size_t STACK_BYTES = (SIMT_ADDRESS_SANITIZER || SIMT_THREAD_SANITIZER ? 256 : 64) << 10;
constexpr size_t PAGE = 4096;
constexpr size_t MOST_SHARED_BYTES = 227 << 10;  // of a block on sm_90

int fault_count = 0;

}  // namespace

uint64_t next_random() {
  uint64_t& state = machine.random;
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state * 0x2545F4914F6CDD1Dull >> 16;
}

namespace {

void read_settings() {
  static bool is_read = false;
  if (is_read) return;
  is_read = true;
  const auto text = [](const char* name) {
    const char* value = getenv(name);
    return value && *value ? value : nullptr;
  };
  if (const char* order = text("HEDDLE_SIMT_ORDER"))
    settings.order = strcmp(order, "shuffled") == 0 ? Settings::SHUFFLED : Settings::FORWARD;
  if (const char* copies = text("HEDDLE_SIMT_COPIES"))
    settings.copies = strcmp(copies, "early") == 0   ? Settings::EARLY
                      : strcmp(copies, "mixed") == 0 ? Settings::MIXED
                                                     : Settings::LATE;
  if (const char* poison = text("HEDDLE_SIMT_POISON"))
    settings.poison = strcmp(poison, "none") == 0 ? -1 : int(strtol(poison, nullptr, 0) & 0xFF);
  if (const char* seed = text("HEDDLE_SIMT_SEED")) settings.seed = strtoull(seed, nullptr, 0);
}

// ---- whose turn it is

void make_ready(Thread* thread) {
  thread->state = State::READY;
  if (machine.first == machine.ready.size()) {
    machine.ready.clear();
    machine.first = 0;
  }
  machine.ready.push_back(thread);
}

void report_deadlock() {
  struct Group {
    Place place;
    State state;
    int count;
  };
  std::vector<Group> groups;
  for (uint32_t i = 0; i < machine.count; i++) {
    const Thread& thread = machine.threads[i];
    if (thread.state == State::EXITED) continue;
    const auto same = [&](const Group& g) { return g.place.line == thread.place.line && g.state == thread.state; };
    const auto found = std::find_if(groups.begin(), groups.end(), same);
    if (found == groups.end()) groups.push_back({thread.place, thread.state, 1});
    else found->count++;
  }
  if (!settings.is_quiet)
    for (const Group& group : groups)
      fprintf(stderr, "simt: %d threads wait in a %s at %s:%d\n", group.count,
              group.state == State::AT_BARRIER ? "__syncthreads" : "warp collective", group.place.file, group.place.line);
}

// The next thread to run, taken from those that are ready; null where the block has ended.
Thread* pick() {
  std::vector<Thread*>& ready = machine.ready;
  if (machine.first == ready.size()) {
    if (machine.live == 0) return nullptr;
    report_deadlock();
    fail("the threads of a block wait for each other", machine.current->place);
  }
  if (settings.order == Settings::SHUFFLED) {
    if ((next_random() & 255) >= machine.eager)
      std::swap(ready[machine.first + uint32_t(next_random()) * uint64_t(ready.size() - machine.first) / (1ull << 32)], ready.back());
    Thread* const thread = ready.back();
    ready.pop_back();
    return thread;
  }
  return ready[machine.first++];
}

void go_on_with(Thread* thread) {
  Thread* const from = machine.current;
  if (thread == from) return;
  machine.current = thread;
  Fiber& origin = from ? static_cast<Fiber&>(*from) : machine.host;
  change(origin, thread ? static_cast<Fiber&>(*thread) : machine.host);
}

}  // namespace

void fail(const char* what, Place place) {
  fault_count++;
  machine.has_failed = true;
  if (!settings.is_quiet)
    fprintf(stderr, "simt: %s:%d: %s (block %u, %u, %u; thread %u)\n", place.file, place.line, what, machine.block.x,
            machine.block.y, machine.block.z, machine.current->number);
  go_on_with(nullptr);
  abort();
}

namespace {

// ---- collectives of a warp

Warp& own_warp() { return machine.warps[machine.current->warp]; }

void complete(Warp& warp, uint32_t lanes) {
  const Part& first = *warp.parts[__builtin_ctz(lanes)];
  for (uint32_t rest = lanes; rest; rest &= rest - 1) {
    const Part& part = *warp.parts[__builtin_ctz(rest)];
    if (part.mask != first.mask || part.compute != first.compute || part.place.line != first.place.line)
      fail("lanes of one warp meet in different collectives", part.place);
  }
  if (first.compute) first.compute(lanes, warp.parts);
  warp.arrived &= ~lanes;
}

void meet(uint32_t mask, void (*compute)(uint32_t, Part* const*), void* operands, Place place) {
  Thread* const self = machine.current;
  Warp& warp = own_warp();
  const uint32_t bit = 1u << self->lane;
  self->place = place;
  if (!(mask & bit)) fail("a lane is not in the mask it gives", place);
  if (mask & warp.exited) fail("the mask names lanes that have exited or do not exist", place);
  Part part = {mask, place, compute, operands};
  warp.parts[self->lane] = &part;
  warp.arrived |= bit;
  self->state = State::IN_COLLECTIVE;
  if ((warp.arrived & mask) == mask) {
    complete(warp, mask);
    Thread* const lane0 = &machine.threads[self->warp * LANES];
    for (uint32_t rest = mask; rest; rest &= rest - 1) make_ready(lane0 + __builtin_ctz(rest));
  }
  go_on_with(pick());
}

}  // namespace

void full_warp(void (*compute)(uint32_t, Part* const*), void* operands, Place place) {
  if (own_warp().exited) fail("needs all 32 lanes", place);
  meet(~0u, compute, operands, place);
}

namespace {

// ---- blocks

void release_barrier() {
  machine.at_barrier = 0;
  machine.barrier.phase++;
  for (uint32_t i = 0; i < machine.count; i++)
    if (machine.threads[i].state == State::AT_BARRIER) make_ready(&machine.threads[i]);
}

void leave() {
  Thread* const self = machine.current;
  Warp& warp = own_warp();
  self->state = State::EXITED;
  if (!self->copies.empty()) fail("a thread exits before its asynchronous copies are waited for", self->place);
  machine.live--;
  warp.exited |= 1u << self->lane;
  for (uint32_t rest = warp.arrived; rest; rest &= rest - 1) {
    const Part& part = *warp.parts[__builtin_ctz(rest)];
    if (part.mask & warp.exited) fail("a lane exits while others wait for it", part.place);
  }
  if (machine.at_barrier > 0) fail("a thread exits while others wait at a barrier", self->place);
}

void thread_main() {
  arrived();
  for (;;) {
    ANNOUNCE(__tsan_acquire(&machine.start);)
    (*machine.grid->body)();
    ANNOUNCE(__tsan_release(&machine.end);)
    leave();
    go_on_with(pick());
  }
}

// Exact to the byte for the address sanitizer, and its own for every block for the thread sanitizer.
char* shared_memory(size_t bytes) {
  if (bytes == 0) return nullptr;
  constexpr size_t ALIGNMENT = 1024;
  const size_t size = (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
  char* const memory = static_cast<char*>(aligned_alloc(ALIGNMENT, size));
#if SIMT_ADDRESS_SANITIZER
  __asan_poison_memory_region(memory + bytes, size - bytes);
#endif
  if (settings.poison >= 0) memset(memory, settings.poison, bytes);
  return memory;
}

void make_threads(uint32_t count) {
  Machine& m = machine;
  if (count > m.threads.size()) {
    ANNOUNCE(for (Thread& thread : m.threads) __tsan_destroy_fiber(thread.thread_state);)
    if (m.stacks) munmap(m.stacks, m.threads.size() * STACK_BYTES);
    m.threads = std::vector<Thread>(count);
    m.stacks = static_cast<char*>(mmap(nullptr, count * STACK_BYTES, PROT_READ | PROT_WRITE,
                                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (m.stacks == MAP_FAILED) abort();
    for (uint32_t i = 0; i < count; i++) {
      Thread& thread = m.threads[i];
      char* const base = m.stacks + i * STACK_BYTES;
      mprotect(base, PAGE, PROT_NONE);
      // Tops of stacks lie on different cache lines of a set.
      thread.stack = base + PAGE;
      thread.stack_bytes = STACK_BYTES - PAGE - (i % 61) * 64;
      ANNOUNCE(thread.thread_state = __tsan_create_fiber(1);)
      prepare(thread, thread_main);
    }
  } else if (m.has_failed) {
    for (Thread& thread : m.threads) prepare(thread, thread_main);
  }
  m.has_failed = false;
}

bool run_block(uint64_t number) {
  Machine& m = machine;
  const dim3 blocks = m.grid->blocks, threads = m.grid->threads;
  m.block = {unsigned(number % blocks.x), unsigned(number / blocks.x % blocks.y), unsigned(number / blocks.x / blocks.y)};
  m.random = (settings.seed * 1000003 + number) * 0x9E3779B97F4A7C15ull | 1;
  constexpr uint32_t EAGER[] = {0, 128, 230, 253};
  m.eager = EAGER[next_random() & 3];
  m.live = m.count;
  m.at_barrier = 0;
  m.barrier.phase = 0;
  m.ready.clear();
  m.first = 0;
  m.warps.assign((m.count + LANES - 1) / LANES, Warp{});
  if (m.count % LANES) m.warps.back().exited = ~0u << m.count % LANES;
  m.dynamic = shared_memory(m.grid->shared_bytes);
  for (uint32_t i = 0; i < m.count; i++) {
    Thread& thread = m.threads[i];
    thread.number = i, thread.lane = i % LANES, thread.warp = i / LANES;
    thread.index = {i % threads.x, i / threads.x % threads.y, i / threads.x / threads.y};
    thread.copies.clear(), thread.groups.clear();
    make_ready(&thread);
  }
  m.current = nullptr;
  ANNOUNCE(__tsan_release(&machine.start);)
  go_on_with(pick());
  ANNOUNCE(__tsan_acquire(&machine.end);)
  for (SharedArray& array : m.arrays) free(array.data);
  m.arrays.clear();
  free(m.dynamic);
  return !m.has_failed;
}

}  // namespace

int faults() { return fault_count; }
uint3 thread_index() { return machine.current->index; }
uint3 block_index() { return machine.block; }
dim3 block_dimensions() { return machine.grid->threads; }
dim3 grid_dimensions() { return machine.grid->blocks; }
int lane() { return int(machine.current->lane); }
unsigned char* shared_dynamic() { return reinterpret_cast<unsigned char*>(machine.dynamic); }

void* shared_array(void* key, size_t bytes) {
  for (const SharedArray& array : machine.arrays) {
    if (array.key != key) continue;
    ANNOUNCE(__tsan_acquire(array.data);)
    return array.data;
  }
  char* const data = shared_memory(bytes);
  machine.arrays.push_back({key, data});
  ANNOUNCE(__tsan_release(data);)  // making it comes before every use
  return data;
}

namespace {

#if SIMT_ADDRESS_SANITIZER
// The stack of the calling thread. Once a thread: the C library reads /proc/self/maps for it.
void own_stack(Fiber& host) {
  static thread_local void* stack = nullptr;
  static thread_local size_t bytes = 0;
  pthread_attr_t attributes;
  if (!stack && pthread_getattr_np(pthread_self(), &attributes) == 0) {
    pthread_attr_getstack(&attributes, &stack, &bytes);
    pthread_attr_destroy(&attributes);
  }
  host.stack = static_cast<char*>(stack), host.stack_bytes = bytes;
}
#endif

}  // namespace

cudaError_t run_grid(dim3 blocks, dim3 threads, size_t shared_bytes, const std::function<void()>& body) {
  static std::mutex one_at_a_time;
  std::lock_guard<std::mutex> lock(one_at_a_time);
  read_settings();
  const uint64_t count = uint64_t(threads.x) * threads.y * threads.z;
  if (count == 0 || count > 1024 || threads.z > 64 || blocks.x == 0 || blocks.y - 1 > 65534 || blocks.z - 1 > 65534 ||
      blocks.x > 0x7FFFFFFF || shared_bytes > MOST_SHARED_BYTES)
    return cudaErrorInvalidValue;
  static Grid grid;
  grid = {blocks, threads, shared_bytes, &body};
  machine.grid = &grid;
  machine.count = uint32_t(count);
  make_threads(machine.count);
#if SIMT_ADDRESS_SANITIZER
  own_stack(machine.host);
#endif
  ANNOUNCE(machine.host.thread_state = __tsan_get_current_fiber();)
  const uint64_t total = uint64_t(blocks.x) * blocks.y * blocks.z;
  bool succeeded = true;
  for (uint64_t i = 0; i < total && succeeded; i++)
    succeeded = run_block(settings.order == Settings::SHUFFLED ? total - 1 - i : i);
  return succeeded ? cudaSuccess : cudaErrorLaunchFailure;
}

void block_barrier(Place place) {
  Thread* const self = machine.current;
  ANNOUNCE(char* const side = machine.barrier.side(); __tsan_release(side);)
  self->place = place;
  if (machine.live < machine.count) fail("a barrier that exited threads will not reach", place);
  self->state = State::AT_BARRIER;
  if (++machine.at_barrier == machine.live) release_barrier();
  go_on_with(pick());
  ANNOUNCE(__tsan_acquire(side);)
}

void warp_barrier(uint32_t mask, Place place) {
#if SIMT_THREAD_SANITIZER
  std::vector<Warp::Synced>& synced = own_warp().synced;
  synced.reserve(LANES);
  auto found = std::find_if(synced.begin(), synced.end(), [&](const Warp::Synced& s) { return s.mask == mask; });
  if (found == synced.end()) found = synced.insert(synced.end(), {mask, {}});
  Order& order = found->order;
  char* const side = order.side();
  __tsan_release(side);
  meet(mask, [](uint32_t, Part* const* parts) { static_cast<Order*>(parts[__builtin_ctz(parts[machine.current->lane]->mask)]->operands)->phase++; }, &order, place);
  __tsan_acquire(side);
#else
  meet(mask, nullptr, nullptr, place);
#endif
}

uint64_t exchange(uint32_t mask, uint64_t value, int source, Place place) {
  struct Shuffle {
    uint64_t value, result;
    int source;
  } shuffle = {value, 0, source};
  meet(
      mask,
      [](uint32_t lanes, Part* const* parts) {
        for (uint32_t rest = lanes; rest; rest &= rest - 1) {
          Shuffle& own = *static_cast<Shuffle*>(parts[__builtin_ctz(rest)]->operands);
          own.result = lanes >> own.source & 1 ? static_cast<Shuffle*>(parts[own.source]->operands)->value : ~0ull;
        }
      },
      &shuffle, place);
  return shuffle.result;
}

uint32_t ballot(uint32_t mask, bool vote, Place place) {
  struct Ballot {
    bool vote;
    uint32_t result;
  } own = {vote, 0};
  meet(
      mask,
      [](uint32_t lanes, Part* const* parts) {
        uint32_t votes = 0;
        for (uint32_t rest = lanes; rest; rest &= rest - 1) {
          const int lane = __builtin_ctz(rest);
          votes |= uint32_t(static_cast<Ballot*>(parts[lane]->operands)->vote) << lane;
        }
        for (uint32_t rest = lanes; rest; rest &= rest - 1)
          static_cast<Ballot*>(parts[__builtin_ctz(rest)]->operands)->result = votes;
      },
      &own, place);
  return own.result;
}

}  // namespace simt
