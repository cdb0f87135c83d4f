// The kernels of tensor.h, in a file of their own: they take as long to compile as all others of matmul.cu.
#include "kernels.h"
#include "tensor.h"

namespace heddle { namespace cuda {
namespace {

template <typename T, typename Shape, bool GATHERED = false>
MultiplyKernel kernel_for(bool a_by_depth, bool b_by_depth) {
  return a_by_depth ? b_by_depth ? multiply_tensor_tiles<T, Shape, true, true, GATHERED>
                                 : multiply_tensor_tiles<T, Shape, true, false, GATHERED>
         : b_by_depth ? multiply_tensor_tiles<T, Shape, false, true, GATHERED>
                      : multiply_tensor_tiles<T, Shape, false, false, GATHERED>;
}

}  // namespace

MultiplyKernel tensor_kernel(int dtype, int tile, bool is_gathered, bool a_by_depth, bool b_by_depth) {
  if (is_gathered) return kernel_for<bf16, SmallTensorTile, true>(a_by_depth, b_by_depth);
  if (dtype != BF16)
    return tile == TENSOR_LARGE ? kernel_for<float, LargeTf32Tile>(a_by_depth, b_by_depth)
                                : kernel_for<float, SmallTensorTile>(a_by_depth, b_by_depth);
  if (tile == TENSOR_WIDE) return kernel_for<bf16, WideTensorTile>(a_by_depth, b_by_depth);
  return tile == TENSOR_LARGE ? kernel_for<bf16, LargeTensorTile>(a_by_depth, b_by_depth)
                              : kernel_for<bf16, SmallTensorTile>(a_by_depth, b_by_depth);
}

}}  // namespace heddle::cuda
