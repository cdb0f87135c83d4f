// The surface of the addon: class Session and info(). src/runtime/addon.ts describes it to TypeScript.
#include <napi.h>

#include "cpu/backend.h"
#include "cpu/memory.h"
#include "cpu/threads.h"
#include "cuda/availability.h"
#include "session_object.h"

namespace heddle {
namespace {

#if defined(__clang__)
constexpr const char* COMPILER = "clang " __clang_version__;
#elif defined(__GNUC__)
constexpr const char* COMPILER = "g++ " __VERSION__;
#else
constexpr const char* COMPILER = "unknown";
#endif

// What was built, and what of it this machine can use.
Napi::Value info(const Napi::CallbackInfo& call) {
  Napi::Env env = call.Env();
  Napi::Array isas = Napi::Array::New(env);
  for (const cpu::Variant& variant : cpu::variants())
    if (variant.is_supported()) isas.Set(isas.Length(), variant.name);
  CudaAvailability found = cuda_availability();
  look_for_cublas(found);
  Napi::Object cuda = Napi::Object::New(env), result = Napi::Object::New(env);
  cuda.Set("built", found.is_built);
  cuda.Set("available", found.is_available);
  cuda.Set("reason", found.reason);
  Napi::Array devices = Napi::Array::New(env);
  for (const CudaDevice& device : found.devices) {
    Napi::Object each = Napi::Object::New(env);
    each.Set("name", device.name);
    each.Set("architecture", device.architecture);
    each.Set("memory", static_cast<double>(device.memory_bytes));
    each.Set("problem", device.problem);
    devices.Set(devices.Length(), each);
  }
  cuda.Set("devices", devices);
  Napi::Object cublas = Napi::Object::New(env);
  Napi::Array tried = Napi::Array::New(env);
  for (const std::string& file : found.cublas_tried) tried.Set(tried.Length(), file);
  cublas.Set("file", found.cublas_file);
  cublas.Set("version", found.cublas_version);
  cublas.Set("reason", found.cublas_reason);
  cublas.Set("tried", tried);
  cuda.Set("cublas", cublas);
  result.Set("isas", isas);
  try {
    result.Set("isa", cpu::choose_variant().name);
  } catch (const Error& error) {
    throw to_javascript(env, error);
  }
  result.Set("cores", cpu::available_cores());
  result.Set("freeMemory", static_cast<double>(cpu::available_memory()));
  result.Set("cuda", cuda);
  result.Set("compiler", COMPILER);
  result.Set("opsHash", Napi::BigInt::New(env, OPS_HASH));
  return result;
}

Napi::Object start(Napi::Env env, Napi::Object exports) {
  exports.Set("Session", SessionObject::define(env));
  exports.Set("info", Napi::Function::New(env, info, "info"));
  return exports;
}

}  // namespace
}  // namespace heddle

static Napi::Object start_heddle(Napi::Env env, Napi::Object exports) { return heddle::start(env, exports); }
NODE_API_MODULE(heddle, start_heddle)
