// Times oneDNN's matmul; a weight is laid out as oneDNN wants it before the clock starts. Threads: OMP_NUM_THREADS.
#include <oneapi/dnnl/dnnl.hpp>

#include <cstring>
#include <memory>

#include "serve.h"

using dnnl::memory;

namespace {

memory::desc plain(int64_t rows, int64_t columns, bool transposed, memory::data_type type) {
  const memory::dims strides = transposed ? memory::dims{1, rows} : memory::dims{columns, 1};
  return memory::desc({rows, columns}, type, strides);
}

// Random values in a matrix that lies as described.
memory filled(const memory::desc& description, const dnnl::engine& engine, dnnl::stream& stream) {
  memory target(description, engine);
  const memory::dims extents = description.dims();
  const memory::desc rows(extents, memory::data_type::f32, memory::dims{extents[1], 1});
  std::vector<float> values = random_values(extents[0] * extents[1]);
  memory source(rows, engine, values.data());
  dnnl::reorder(source, target).execute(stream, source, target);
  stream.wait();
  return target;
}

}  // namespace

int main() {
  dnnl::engine engine(dnnl::engine::kind::cpu, 0);
  dnnl::stream stream(engine);
  const dnnl_version_t* found = dnnl_version();
  const std::string version = std::to_string(found->major) + "." + std::to_string(found->minor) + "." +
                              std::to_string(found->patch) +
                              (found->cpu_runtime == DNNL_RUNTIME_OMP ? ", OpenMP" : "");
  return serve(version, [&](const Shape& shape) {
    const auto type = shape.precision == "bf16" ? memory::data_type::bf16 : memory::data_type::f32;
    const memory::desc a_plain = plain(shape.m, shape.k, shape.transpose_a, type);
    const memory::desc b_plain = plain(shape.k, shape.n, shape.transpose_b, type);
    const memory::desc y_plain =
        plain(shape.m, shape.n, false, shape.wide_result ? memory::data_type::f32 : type);
    const memory::desc b_any({shape.k, shape.n}, type, memory::format_tag::any);
    const dnnl::matmul::primitive_desc description(
        dnnl::matmul::desc(a_plain, shape.packs_b ? b_any : b_plain, y_plain), engine);
    const dnnl::matmul product(description);
    const memory a = filled(a_plain, engine, stream), y(y_plain, engine);
    const memory b = filled(description.weights_desc(), engine, stream);
    return [=]() mutable {
      product.execute(stream, {{DNNL_ARG_SRC, a}, {DNNL_ARG_WEIGHTS, b}, {DNNL_ARG_DST, y}});
      stream.wait();
    };
  });
}
