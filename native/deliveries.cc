#include "deliveries.h"

namespace heddle {

Deliveries* Deliveries::open(napi_env env, Take take, void* taker) {
  std::unique_ptr<Deliveries, void (*)(Deliveries*)> opened(new Deliveries(env, take, taker), [](Deliveries* unopened) {
    if (unopened->context_) napi_async_destroy(unopened->env_, unopened->context_);
    delete unopened;
  });
  const auto require = [](bool succeeded) {
    if (!succeeded) throw Error("CONFIG", "session: the environment is going away");
  };
  napi_value name;
  uv_loop_t* loop;
  require(napi_create_string_utf8(env, "heddle:session", NAPI_AUTO_LENGTH, &name) == napi_ok &&
          napi_async_init(env, nullptr, name, &opened->context_) == napi_ok &&
          napi_get_uv_event_loop(env, &loop) == napi_ok);
  // The environment waits until the handle is closed, which whoever opened it sees to in a hook of their own.
  const auto wait = [](napi_async_cleanup_hook_handle, void*) {};
  require(napi_add_async_cleanup_hook(env, wait, opened.get(), &opened->hook_) == napi_ok);
  if (uv_async_init(loop, &opened->handle_, receive) != 0) {
    napi_remove_async_cleanup_hook(opened->hook_);
    require(false);
  }
  opened->handle_.data = opened.get();
  opened->keep_alive(false);
  return opened.release();
}

void Deliveries::send(std::unique_ptr<Job> job) {
  {
    std::lock_guard<std::mutex> lock(mutex_);
    sent_.push_back(std::move(job));
  }
  uv_async_send(&handle_);
}

void Deliveries::keep_alive(bool alive) {
  const auto handle = reinterpret_cast<uv_handle_t*>(&handle_);
  alive ? uv_ref(handle) : uv_unref(handle);
}

void Deliveries::close() {
  take_ = nullptr;
  uv_close(reinterpret_cast<uv_handle_t*>(&handle_), [](uv_handle_t* handle) {
    const auto self = static_cast<Deliveries*>(handle->data);
    napi_async_destroy(self->env_, self->context_);
    napi_remove_async_cleanup_hook(self->hook_);
    delete self;
  });
}

void Deliveries::receive(uv_async_t* handle) {
  const auto self = static_cast<Deliveries*>(handle->data);
  std::vector<std::unique_ptr<Job>> jobs;
  {
    std::lock_guard<std::mutex> lock(self->mutex_);
    jobs.swap(self->sent_);
  }
  for (std::unique_ptr<Job>& job : jobs) self->take(std::move(job));
}

void Deliveries::take(std::unique_ptr<Job> job) {
  napi_handle_scope handles;
  napi_callback_scope callback;
  if (!take_ || napi_open_handle_scope(env_, &handles) != napi_ok) return;
  if (napi_open_callback_scope(env_, nullptr, context_, &callback) == napi_ok) {
    take_(taker_, std::move(job));
    napi_close_callback_scope(env_, callback);
  }
  napi_close_handle_scope(env_, handles);
}

}  // namespace heddle
