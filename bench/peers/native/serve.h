// What the programs beside our matrix product share: operands, the clock, and one line of JSON for every line asked.
#pragma once
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <iostream>
#include <random>
#include <sstream>
#include <string>
#include <vector>

// y [m, n] = a b, where a lies as [k, m] and b as [n, k] if they are transposed.
struct Shape {
  int64_t m, n, k;
  bool transpose_a, transpose_b;
  std::string precision;  // float32 or bf16
  bool packs_b;           // b is a weight, which may be laid out beforehand
  bool wide_result;       // y is float32 whatever a and b are
};

inline double seconds_now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

inline std::vector<float> random_values(int64_t count) {
  std::mt19937 generator(1);
  std::uniform_real_distribution<float> uniform(-1, 1);
  std::vector<float> values(static_cast<size_t>(count));
  for (float& value : values) value = uniform(generator);
  return values;
}

// Answers lines `m n k transpose_a transpose_b precision packs_b wide_result count` with the seconds of `count` products.
// `prepare(shape)` gives a function that computes one, or throws a text.
template <typename Prepare>
int serve(const std::string& version, const Prepare& prepare) {
  std::cout << "{\"version\": \"" << version << "\"}" << std::endl;
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    Shape shape;
    int64_t count = 0;
    words >> shape.m >> shape.n >> shape.k >> shape.transpose_a >> shape.transpose_b >> shape.precision >>
        shape.packs_b >> shape.wide_result >> count;
    if (!words || count < 1) {
      std::cout << "{\"error\": \"expected a shape and a count\"}" << std::endl;
      continue;
    }
    try {
      auto product = prepare(shape);
      product();  // caches, and code that is generated
      std::cout << "{\"seconds\": [";
      for (int64_t i = 0; i < count; i++) {
        const double started = seconds_now();
        product();
        char text[32];
        snprintf(text, sizeof text, "%s%.9f", i ? ", " : "", seconds_now() - started);
        std::cout << text;
      }
      std::cout << "]}" << std::endl;
    } catch (const std::exception& error) {
      std::cout << "{\"error\": \"" << error.what() << "\"}" << std::endl;
    }
  }
  return 0;
}
