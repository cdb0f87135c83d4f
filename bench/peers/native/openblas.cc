// Times cblas_sgemm of OpenBLAS. Its kernels are chosen by OPENBLAS_CORETYPE, its threads by OPENBLAS_NUM_THREADS.
#include <cblas.h>

#include <memory>
#include <stdexcept>

#include "serve.h"

int main() {
  const char* flavours[] = {"sequential", "pthread", "OpenMP"};
  std::istringstream configuration(openblas_get_config());
  std::string name, number;
  configuration >> name >> number;
  const std::string version = number + ", " + flavours[openblas_get_parallel()] + ", " + openblas_get_corename();
  return serve(version, [](const Shape& shape) {
    if (shape.precision != "float32") throw std::runtime_error("OpenBLAS is asked for float32 only");
    const auto a = std::make_shared<std::vector<float>>(random_values(shape.m * shape.k));
    const auto b = std::make_shared<std::vector<float>>(random_values(shape.k * shape.n));
    const auto y = std::make_shared<std::vector<float>>(static_cast<size_t>(shape.m * shape.n));
    return [=] {
      const auto side = [](bool transposed) { return transposed ? CblasTrans : CblasNoTrans; };
      const auto integer = [](int64_t extent) { return static_cast<blasint>(extent); };
      cblas_sgemm(CblasRowMajor, side(shape.transpose_a), side(shape.transpose_b), integer(shape.m), integer(shape.n),
                  integer(shape.k), 1.0f, a->data(), integer(shape.transpose_a ? shape.m : shape.k), b->data(),
                  integer(shape.transpose_b ? shape.k : shape.n), 0.0f, y->data(), integer(shape.n));
    };
  });
}
