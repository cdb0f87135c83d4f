// Reads what JavaScript passes. Whatever it passes, the outcome is a value or an Error.
#pragma once
#include <napi.h>

#include "program.h"

namespace heddle {

struct Bytes {
  uint8_t* data;
  size_t size;
};

inline std::string type_name(const Napi::Value& value) {
  switch (value.Type()) {
    case napi_undefined: return "undefined";
    case napi_null: return "null";
    case napi_boolean: return "a boolean";
    case napi_number: return "a number";
    case napi_string: return "a string";
    case napi_symbol: return "a symbol";
    case napi_function: return "a function";
    case napi_bigint: return "a bigint";
    default: return "an object of another type";
  }
}

[[noreturn]] inline void refuse(const char* what, const char* expected, const Napi::Value& value) {
  throw Error("CONFIG", std::string(what) + ": expected " + expected + " but got " + type_name(value));
}

inline size_t element_bytes(napi_typedarray_type type) {
  switch (type) {
    case napi_int8_array:
    case napi_uint8_array:
    case napi_uint8_clamped_array: return 1;
    case napi_int16_array:
    case napi_uint16_array: return 2;
    case napi_int32_array:
    case napi_uint32_array:
    case napi_float32_array: return 4;
    case napi_float64_array:
    case napi_bigint64_array:
    case napi_biguint64_array: return 8;
    default: return 0;
  }
}

// The bytes under a typed array or a DataView, to be used before JavaScript runs again. A detached one has none.
inline Bytes bytes_of(const Napi::Value& value, const char* what) {
  size_t length = 0;
  void* data = nullptr;
  if (value.IsTypedArray()) {
    napi_typedarray_type type;
    if (napi_get_typedarray_info(value.Env(), value, &type, &length, &data, nullptr, nullptr) == napi_ok &&
        element_bytes(type) > 0)
      return {static_cast<uint8_t*>(data), length * element_bytes(type)};
  } else if (value.IsDataView() &&
             napi_get_dataview_info(value.Env(), value, &length, &data, nullptr, nullptr) == napi_ok) {
    return {static_cast<uint8_t*>(data), length};
  }
  refuse(what, "a typed array or a DataView", value);
}

// A whole number in [0, limit].
inline uint64_t whole_number(const Napi::Value& value, const char* what, uint64_t limit) {
  if (!value.IsNumber()) refuse(what, "a whole number", value);
  const double number = value.As<Napi::Number>().DoubleValue();
  if (!(number >= 0 && number <= static_cast<double>(limit)) || number != static_cast<double>(static_cast<uint64_t>(number)))
    throw Error("CONFIG", std::string(what) + ": expected a whole number from 0 to " + std::to_string(limit) +
                              " but got " + std::to_string(number));
  return static_cast<uint64_t>(number);
}

inline Arena arena_of(const Napi::Value& value) {
  if (!value.IsString()) refuse("arena", "its name", value);
  const std::string name = value.As<Napi::String>().Utf8Value();
  for (int arena = 0; arena < ARENA_COUNT; arena++)
    if (name == ARENA_NAMES[arena]) return static_cast<Arena>(arena);
  throw Error("CONFIG", "arena: there is none named " + name.substr(0, 64));
}

}  // namespace heddle
