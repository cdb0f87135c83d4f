#include "session_object.h"

#include <algorithm>
#include <cstring>

#include "arguments.h"
#include "cpu/backend.h"
#include "cpu/threads.h"
#include "cuda/availability.h"

namespace heddle {
namespace {

constexpr int MAX_RUNS_QUEUED = 2, MAX_TRANSFERS_QUEUED = 8;
constexpr uint32_t MAX_PROGRAMS = 4096;
constexpr uint64_t MAX_INTEGER = (uint64_t{1} << 53) - 1;
constexpr uint64_t MAX_TRANSFER = uint64_t{1} << 30;

int workers_of(const Napi::Value& threads) {
  if (threads.IsUndefined()) return cpu::available_cores();
  const uint64_t workers = whole_number(threads, "threads", 1024);
  if (workers == 0) throw Error("CONFIG", "threads: expected at least 1");
  return static_cast<int>(workers);
}

// Where a session runs and why.
struct Place {
  int cuda_index = -1;  // -1: on the CPU
  std::string reason, architecture;
};

Place place_for(const Napi::Value& device) {
  if (!device.IsUndefined() && !device.IsString()) refuse("device", "'auto', 'cpu', 'cuda' or 'cuda:N'", device);
  const std::string name = device.IsUndefined() ? "auto" : device.As<Napi::String>().Utf8Value();
  if (name == "cpu") return {-1, "asked for", ""};
  int wanted = -1;  // any
  if (name.rfind("cuda:", 0) == 0 && name.size() > 5 && name.size() < 9 &&
      std::all_of(name.begin() + 5, name.end(), [](char c) { return c >= '0' && c <= '9'; }))
    wanted = std::stoi(name.substr(5));
  else if (name != "auto" && name != "cuda")
    throw Error("CONFIG", "device: expected 'auto', 'cpu', 'cuda' or 'cuda:N' but got '" + name.substr(0, 64) + "'");
  const CudaAvailability found = cuda_availability();
  const int count = static_cast<int>(found.devices.size());
  for (int index = std::max(0, wanted); index < (wanted < 0 ? count : std::min(count, wanted + 1)); index++)
    if (found.devices[index].problem.empty()) return {index, found.devices[index].name, found.devices[index].architecture};
  if (name == "auto") return {-1, "CUDA is not in use: " + found.reason, ""};
  if (wanted >= 0 && wanted < count) throw Error("DEVICE", "device '" + name + "': " + found.devices[wanted].problem);
  if (wanted >= 0 && count > 0)
    throw Error("DEVICE", "device '" + name + "': the last one here is 'cuda:" + std::to_string(count - 1) + "'");
  throw Error("DEVICE", "device '" + name + "': " + found.reason);
}

}  // namespace

Napi::Error to_javascript(Napi::Env env, const Error& error) {
  Napi::Error created = Napi::Error::New(env, error.what());
  Napi::Object object = created.Value();
  object.Set("code", error.code);
  if (strcmp(error.code, "OUT_OF_MEMORY") == 0) {
    object.Set("needed", static_cast<double>(error.needed));
    object.Set("free", static_cast<double>(error.free));
  }
  return created;
}

Napi::Function SessionObject::define(Napi::Env env) {
  return DefineClass(env, "Session",
                     {InstanceMethod<&SessionObject::load>("load"), InstanceMethod<&SessionObject::run>("run"),
                      InstanceMethod<&SessionObject::profile>("profile"), InstanceMethod<&SessionObject::read>("read"),
                      InstanceMethod<&SessionObject::write>("write"), InstanceMethod<&SessionObject::close>("close"),
                      InstanceMethod<&SessionObject::stats>("stats")});
}

// new Session({ device, threads, tf32 })
SessionObject::SessionObject(const Napi::CallbackInfo& info)
    : Napi::ObjectWrap<SessionObject>(info), environment_(info.Env()) {
  try {
    if (!info[0].IsObject()) refuse("options", "an object", info[0]);
    const Napi::Object options = info[0].As<Napi::Object>();
    const Place place = place_for(options.Get("device"));
    const cpu::Variant variant = cpu::choose_variant();
    const bool is_cpu = place.cuda_index < 0;
    const Napi::Value tf32 = options.Get("tf32");
    if (!tf32.IsUndefined() && !tf32.IsBoolean()) refuse("tf32", "true or false", tf32);
    const bool allows_tf32 = tf32.IsBoolean() && tf32.As<Napi::Boolean>().Value();
    reason_ = place.reason;
    workers_ = is_cpu ? workers_of(options.Get("threads")) : 1;
    device_ = is_cpu ? "cpu" : "cuda";
    isa_ = is_cpu ? variant.name : place.architecture;

    const auto take = [](void* self, std::unique_ptr<Job> job) {
      job->taker.reset();
      const auto session = static_cast<SessionObject*>(self);
      try {
        session->finish(session->environment_, std::move(job));
      } catch (const Napi::Error&) {
        // The environment is ending and runs no more JavaScript.
      }
    };
    deliveries_ = Deliveries::open(environment_, take, this);
    const auto finish = [to = deliveries_](std::unique_ptr<Job> job) {
      job->taker.emplace();
      to->send(std::move(job));
    };
    const auto open = [variant, workers = workers_, index = place.cuda_index, allows_tf32] {
      return index < 0 ? cpu::open(variant, workers) : open_cuda(index, allows_tf32);
    };
    try {
      session_ = std::make_unique<Session>(open, finish);
    } catch (const std::system_error&) {
      deliveries_->close();
      throw Error("DEVICE", "session: the system gives no thread");
    }
    // Hooks run last in, first out: the thread has ended before what it sends jobs through goes away.
    napi_add_env_cleanup_hook(environment_, clean_up, this);
  } catch (const Error& error) {
    throw to_javascript(info.Env(), error);
  }
}

void SessionObject::clean_up(void* self) { static_cast<SessionObject*>(self)->end(true); }

SessionObject::~SessionObject() { end(false); }

// Ends the thread. Afterwards no job comes back; promises that wait stay as they are.
void SessionObject::end(bool in_cleanup) {
  is_closed_ = true;
  if (!session_) return;
  session_->stop();
  session_.reset();
  requests_.clear();
  if (!in_cleanup) napi_remove_env_cleanup_hook(environment_, clean_up, this);
  deliveries_->close();
}

// Runs the body of a method; whatever goes wrong rejects a promise.
template <typename Body>
Napi::Value SessionObject::attempt(const Napi::CallbackInfo& info, const Body& body) {
  Napi::Env env = info.Env();
  const auto reject = [&](const Napi::Error& error) {
    const auto deferred = Napi::Promise::Deferred::New(env);
    deferred.Reject(error.Value());
    return deferred.Promise();
  };
  try {
    require_open();
    return body();
  } catch (const Error& error) {
    return reject(to_javascript(env, error));
  } catch (const std::bad_alloc&) {
    return reject(to_javascript(env, Error("OUT_OF_MEMORY", "the host has no memory left to copy the data")));
  } catch (const Napi::Error& error) {
    return reject(error);
  } catch (const std::exception& error) {
    return reject(to_javascript(env, Error("DEVICE", std::string("session: ") + error.what())));
  }
}

void SessionObject::require_open() const {
  if (is_closed_) throw Error("CLOSED", "session: is closed; open another");
}

Napi::Value SessionObject::post(Napi::Env env, std::unique_ptr<Job> job, Napi::Reference<Napi::Value> view) {
  Request request{next_ticket_++, job->kind, Napi::Promise::Deferred::New(env), std::move(view), job->is_profiled};
  const Napi::Promise promise = request.deferred.Promise();
  job->ticket = request.ticket;
  if (requests_.empty()) {
    deliveries_->keep_alive(true);
    Ref();  // this object must outlive its promises
  }
  if (job->kind == Job::RUN) runs_queued_++;
  if (job->kind == Job::READ || job->kind == Job::WRITE) transfers_queued_++;
  requests_.push_back(std::move(request));
  session_->post(std::move(job));
  return promise;
}

// load(programs: Uint8Array[], matmulChoices?: string): Promise<number[]>
Napi::Value SessionObject::load(const Napi::CallbackInfo& info) {
  return attempt(info, [&] {
    if (!info[0].IsArray()) refuse("programs", "an array", info[0]);
    const Napi::Array given = info[0].As<Napi::Array>();
    const uint32_t count = given.Length();
    if (count > MAX_PROGRAMS) throw Error("CONFIG", "programs: expected at most " + std::to_string(MAX_PROGRAMS));
    auto job = std::make_unique<Job>();
    job->kind = Job::LOAD;
    if (info[1].IsString()) job->matmul_choices = info[1].As<Napi::String>().Utf8Value();
    else if (!info[1].IsUndefined()) refuse("matmulChoices", "a string", info[1]);
    std::vector<uint8_t> copy;  // of bytes that another thread may share
    for (uint32_t index = 0; index < count; index++) {
      const Napi::Value element = given.Get(index);
      const Bytes bytes = bytes_of(element, "program");
      copy.assign(bytes.data, bytes.data + bytes.size);
      job->programs.push_back(std::make_shared<const Program>(decode(copy.data(), copy.size())));
    }
    require_open();  // reading an element may have run a getter
    return post(info.Env(), std::move(job), {});
  });
}

// run(program: number, inputs: ArrayBufferView, scalars: Float64Array, outputs: ArrayBufferView): Promise<typeof outputs>
Napi::Value SessionObject::run(const Napi::CallbackInfo& info) {
  return attempt(info, [&] { return queue_run(info, false); });
}

// profile(...as run): Promise<Float64Array>, the seconds of each instruction
Napi::Value SessionObject::profile(const Napi::CallbackInfo& info) {
  return attempt(info, [&] { return queue_run(info, true); });
}

Napi::Value SessionObject::queue_run(const Napi::CallbackInfo& info, bool is_profiled) {
  if (programs_.empty()) throw Error("CONFIG", "run: no program is loaded yet; await load first");
  const std::shared_ptr<const Program>& program = programs_[whole_number(info[0], "program", programs_.size() - 1)];
  if (runs_queued_ >= MAX_RUNS_QUEUED)
    throw Error("CONFIG", "run: two runs are queued already; await the first before queueing a third");
  const auto require_size = [](const char* what, uint64_t expected, size_t found) {
    if (expected != found)
      throw Error("DATA", std::string("run: ") + what + " must have " + std::to_string(expected) + " bytes but have " +
                              std::to_string(found));
  };
  const Bytes outputs = bytes_of(info[3], "outputs");
  require_size("outputs", program->output_bytes, outputs.size);
  const Bytes scalars = bytes_of(info[2], "scalars");
  require_size("scalars (a Float64Array)", SCALAR_COUNT * sizeof(double), scalars.size);
  const Bytes inputs = bytes_of(info[1], "inputs");
  require_size("inputs", program->input_bytes, inputs.size);

  auto job = spare_ ? std::move(spare_) : std::make_unique<Job>();
  job->kind = Job::RUN;
  job->is_profiled = is_profiled;
  job->error.reset();
  job->programs.assign(1, program);
  job->bytes.assign(inputs.data, inputs.data + inputs.size);
  memcpy(job->scalars, scalars.data, sizeof job->scalars);
  check_inputs(*program, job->bytes.data());
  return post(info.Env(), std::move(job), Napi::Reference<Napi::Value>::New(info[3], 1));
}

// read(arena: string, byteOffset: number, view: ArrayBufferView): Promise<typeof view>
Napi::Value SessionObject::read(const Napi::CallbackInfo& info) {
  return attempt(info, [&] {
    auto job = std::make_unique<Job>();
    job->kind = Job::READ;
    job->arena = arena_of(info[0]);
    job->offset = whole_number(info[1], "byteOffset", MAX_INTEGER);
    job->length = bytes_of(info[2], "view").size;
    if (job->length > MAX_TRANSFER) throw Error("CONFIG", "read: at most 1 GiB at a time");
    if (transfers_queued_ >= MAX_TRANSFERS_QUEUED) throw Error("CONFIG", "read: too many are queued; await one");
    return post(info.Env(), std::move(job), Napi::Reference<Napi::Value>::New(info[2], 1));
  });
}

// write(arena: string, byteOffset: number, view: ArrayBufferView): Promise<void>; the bytes are copied before it returns
Napi::Value SessionObject::write(const Napi::CallbackInfo& info) {
  return attempt(info, [&] {
    auto job = std::make_unique<Job>();
    job->kind = Job::WRITE;
    job->arena = arena_of(info[0]);
    job->offset = whole_number(info[1], "byteOffset", MAX_INTEGER);
    const Bytes bytes = bytes_of(info[2], "view");
    if (bytes.size > MAX_TRANSFER) throw Error("CONFIG", "write: at most 1 GiB at a time");
    if (transfers_queued_ >= MAX_TRANSFERS_QUEUED) throw Error("CONFIG", "write: too many are queued; await one");
    job->bytes.assign(bytes.data, bytes.data + bytes.size);
    return post(info.Env(), std::move(job), {});
  });
}

// close(): Promise<void>, once all that is queued is done and the memory is free. Closing again is no error.
Napi::Value SessionObject::close(const Napi::CallbackInfo& info) {
  if (is_closed_) {
    const auto deferred = Napi::Promise::Deferred::New(info.Env());
    deferred.Resolve(info.Env().Undefined());
    return deferred.Promise();
  }
  return attempt(info, [&] {
    is_closed_ = true;
    return post(info.Env(), std::make_unique<Job>(), {});
  });
}

Napi::Value SessionObject::stats(const Napi::CallbackInfo& info) {
  Napi::Env env = info.Env();
  if (is_closed_) throw to_javascript(env, Error("CLOSED", "session: is closed; open another"));
  Napi::Object arenas = Napi::Object::New(env), stats = Napi::Object::New(env);
  for (int arena = 0; arena < ARENA_COUNT; arena++)
    arenas.Set(ARENA_NAMES[arena], static_cast<double>(session_->arena_bytes(arena)));
  stats.Set("device", device_);
  stats.Set("reason", reason_);
  stats.Set("isa", isa_);
  stats.Set("workers", workers_);
  stats.Set("runs", static_cast<double>(session_->runs()));
  stats.Set("kernelSeconds", session_->kernel_seconds());
  stats.Set("arenas", arenas);
  stats.Set("matmulChoices", session_->matmul_choices());
  return stats;
}

// Settles the promise of a job that came back. Nothing of this object is touched after that, since settling may run
// JavaScript.
void SessionObject::finish(Napi::Env env, std::unique_ptr<Job> job) {
  Napi::HandleScope scope(env);
  [[maybe_unused]] const Napi::Object self = Value();  // keeps this object alive to the end of the scope
  const auto found = std::find_if(requests_.begin(), requests_.end(),
                                  [&](const Request& request) { return request.ticket == job->ticket; });
  if (found == requests_.end()) return;
  const Request request = std::move(*found);
  requests_.erase(found);
  if (request.kind == Job::RUN) runs_queued_--;
  if (request.kind == Job::READ || request.kind == Job::WRITE) transfers_queued_--;
  if (requests_.empty()) {
    deliveries_->keep_alive(false);
    Unref();
  }
  Napi::Value result;
  bool is_kept = false;
  try {
    if (job->error) throw *job->error;
    result = result_of(env, request, *job);
    is_kept = true;
  } catch (const Error& error) {
    result = to_javascript(env, error).Value();
  }
  if (request.kind == Job::RUN) spare_ = std::move(job);
  if (request.kind == Job::CLOSE) end(false);
  if (is_kept) request.deferred.Resolve(result);
  else request.deferred.Reject(result);
}

Napi::Value SessionObject::result_of(Napi::Env env, const Request& request, Job& job) {
  if (request.kind == Job::LOAD) {
    Napi::Array ids = Napi::Array::New(env, job.programs.size());
    for (uint32_t i = 0; i < job.programs.size(); i++) {
      ids.Set(i, static_cast<double>(programs_.size()));
      programs_.push_back(job.programs[i]);
    }
    return ids;
  }
  if (request.kind != Job::RUN && request.kind != Job::READ) return env.Undefined();
  // JavaScript may have detached or resized what it passed.
  const Napi::Value view = request.view.Value();
  const Bytes bytes = bytes_of(view, "view");
  if (bytes.size != job.result.size())
    throw Error("DATA", "the view to be filled has another size than when it was passed; was its buffer transferred?");
  if (bytes.size > 0) memcpy(bytes.data, job.result.data(), bytes.size);
  if (!request.is_profiled) return view;
  Napi::Float64Array seconds = Napi::Float64Array::New(env, job.seconds.size());
  std::copy(job.seconds.begin(), job.seconds.end(), seconds.Data());
  return seconds;
}

}  // namespace heddle
