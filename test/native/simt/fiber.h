// Cooperative fibers: a stack, and the place where it goes on. The sanitizers are told of every switch.
#pragma once
#include <cstddef>
#include <cstdint>

#if defined(__SANITIZE_ADDRESS__)
#define SIMT_ADDRESS_SANITIZER 1
#else
#define SIMT_ADDRESS_SANITIZER 0
#endif
// The scheduler itself is compiled without the thread sanitizer, so the build says whether it is there.
#ifndef SIMT_THREAD_SANITIZER
#define SIMT_THREAD_SANITIZER 0
#endif

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace simt {

struct Fiber {
  char* stack = nullptr;  // lowest address
  size_t stack_bytes = 0;
#if defined(__x86_64__)
  void* stack_pointer = nullptr;
#else
  ucontext_t context;
#endif
  void* fake_stack = nullptr;    // of the address sanitizer
  void* thread_state = nullptr;  // of the thread sanitizer
};

// Makes `fiber` begin with `entry` on its stack when it is next switched to. `entry` must not return.
void prepare(Fiber& fiber, void (*entry)());
// To be called by `entry` before anything else.
void arrived();
// Leaves `from`, whose thread this is, and goes on with `to`.
void change(Fiber& from, Fiber& to);

}  // namespace simt
