// Brings jobs from a session's thread to the thread that runs JavaScript. A thread-safe function of Node-API would wake that
// thread while holding the lock which it takes first: both then sleep and wake once more, 15 us a job on a virtual machine.
#pragma once
#include <node_api.h>
#include <uv.h>

#include <memory>
#include <mutex>
#include <vector>

#include "session.h"

namespace heddle {

class Deliveries {
 public:
  // Called on JavaScript's thread for each job, in the order of sending; promises it settles continue when it returns.
  typedef void (*Take)(void* taker, std::unique_ptr<Job> job);

  // On JavaScript's thread. Does not keep the process alive at first. Throws Error.
  static Deliveries* open(napi_env env, Take take, void* taker);
  // On any thread.
  void send(std::unique_ptr<Job> job);
  // Whether the process goes on while nothing but this is left. On JavaScript's thread, as `close`.
  void keep_alive(bool alive);
  // No job is taken afterwards, and none may be sent. Frees itself.
  void close();

 private:
  Deliveries(napi_env env, Take take, void* taker) : env_(env), take_(take), taker_(taker) {}
  ~Deliveries() = default;
  static void receive(uv_async_t* handle);
  void take(std::unique_ptr<Job> job);

  const napi_env env_;
  Take take_;  // null once closed
  void* const taker_;
  napi_async_context context_ = nullptr;
  napi_async_cleanup_hook_handle hook_ = nullptr;
  uv_async_t handle_;
  std::mutex mutex_;
  std::vector<std::unique_ptr<Job>> sent_;  // under the mutex
};

}  // namespace heddle
