// The JavaScript class Session: checks arguments, posts jobs, settles promises. Methods never throw but reject.
#pragma once
#include <napi.h>

#include "deliveries.h"
#include "session.h"

namespace heddle {

// An Error as JavaScript sees it: an Error with `code`, and `needed` and `free` where memory was short.
Napi::Error to_javascript(Napi::Env env, const Error& error);

class SessionObject : public Napi::ObjectWrap<SessionObject> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit SessionObject(const Napi::CallbackInfo& info);
  ~SessionObject() override;

 private:
  // A promise that a job will settle.
  struct Request {
    uint64_t ticket;
    Job::Kind kind;
    Napi::Promise::Deferred deferred;
    Napi::Reference<Napi::Value> view;  // what the promise resolves to once the job has filled it
    bool is_profiled = false;
  };

  Napi::Value load(const Napi::CallbackInfo& info);
  Napi::Value run(const Napi::CallbackInfo& info);
  Napi::Value profile(const Napi::CallbackInfo& info);
  Napi::Value read(const Napi::CallbackInfo& info);
  Napi::Value write(const Napi::CallbackInfo& info);
  Napi::Value close(const Napi::CallbackInfo& info);
  Napi::Value stats(const Napi::CallbackInfo& info);

  template <typename Body>
  Napi::Value attempt(const Napi::CallbackInfo& info, const Body& body);
  void require_open() const;
  Napi::Value queue_run(const Napi::CallbackInfo& info, bool is_profiled);
  Napi::Value post(Napi::Env env, std::unique_ptr<Job> job, Napi::Reference<Napi::Value> view);
  void finish(Napi::Env env, std::unique_ptr<Job> job);
  Napi::Value result_of(Napi::Env env, const Request& request, Job& job);
  void end(bool in_cleanup);
  static void clean_up(void* self);

  const napi_env environment_;
  std::string device_, reason_, isa_;
  int workers_ = 0;
  std::unique_ptr<Session> session_;
  Deliveries* deliveries_ = nullptr;
  std::vector<Request> requests_;
  std::vector<std::shared_ptr<const Program>> programs_, loading_;
  std::unique_ptr<Job> spare_;  // a run's job to be used again, with its buffers
  uint64_t next_ticket_ = 1;
  int runs_queued_ = 0, transfers_queued_ = 0;
  bool is_closed_ = false;
};

}  // namespace heddle
