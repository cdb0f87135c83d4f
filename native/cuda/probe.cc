#include "probe.h"

#include "gpu.h"

namespace heddle { namespace cuda {

Status fill(const Call& call, Stream stream);

namespace {

// 13000 is CUDA 13.0
std::string version(int number) { return std::to_string(number / 1000) + "." + std::to_string(number % 1000 / 10); }

// Fills 7 of the 9 columns of a matrix on the current device and looks at every element of it.
std::string self_test() {
  constexpr int rows = 300, columns = 7, pitch = 9;
  constexpr float untouched = -1.0f, value = 2.5f;
  std::vector<float> host(rows * pitch, untouched);
  const size_t bytes = host.size() * sizeof(float);
  void* device = nullptr;
  Status status = cudaMalloc(&device, bytes);
  if (status == cudaSuccess) {
    status = cudaMemcpy(device, host.data(), bytes, cudaMemcpyHostToDevice);
    const Operand out = {device, F32, 2, {rows, columns}, {pitch, 1}};
    const FillAttributes attributes = {value};
    if (status == cudaSuccess) status = fill({nullptr, &out, &attributes, nullptr}, nullptr);
    if (status == cudaSuccess) status = cudaMemcpy(host.data(), device, bytes, cudaMemcpyDeviceToHost);
    cudaFree(device);
  }
  if (status == cudaErrorNoKernelImageForDevice)
    return "the addon was built for " HEDDLE_CUDA " only; run npm run build:native on this machine";
  if (status != cudaSuccess) return std::string("a first kernel failed: ") + cudaGetErrorString(status);
  for (int i = 0; i < rows * pitch; i++)
    if (host[i] != (i % pitch < columns ? value : untouched)) return "a first kernel gave a wrong result";
  return "";
}

std::string reason_for(Status status, int driver, int runtime) {
  if (driver == 0) return "no NVIDIA driver on this machine";
  if (status == cudaErrorInsufficientDriver)
    return "the NVIDIA driver supports CUDA " + version(driver) + ", this build needs " + version(runtime) +
           ": update the driver";
  if (status == cudaErrorNoDevice) return "the NVIDIA driver shows no GPU (CUDA_VISIBLE_DEVICES may hide it)";
  return std::string("CUDA does not start: ") + cudaGetErrorString(status);
}

}  // namespace

Probe probe() {
  Probe result = {};
  cudaRuntimeGetVersion(&result.runtime_version);
  cudaDriverGetVersion(&result.driver_version);
  int count = 0;
  const Status status = cudaGetDeviceCount(&count);
  if (status != cudaSuccess) {
    cudaGetLastError();  // or the next call of anyone reports it
    result.reason = reason_for(status, result.driver_version, result.runtime_version);
    return result;
  }
  for (int index = 0; index < count; index++) {
    cudaDeviceProp properties;
    if (cudaGetDeviceProperties(&properties, index) != cudaSuccess || cudaSetDevice(index) != cudaSuccess) {
      result.devices.push_back({"device " + std::to_string(index), 0, 0, 0, cudaGetErrorString(cudaGetLastError())});
      continue;
    }
    result.devices.push_back(
        {properties.name, properties.major, properties.minor, properties.totalGlobalMem, self_test()});
    cudaGetLastError();
    if (result.devices.back().problem.empty()) result.available = true;
  }
  cudaSetDevice(0);
  if (!result.available && count > 0) result.reason = result.devices[0].name + ": " + result.devices[0].problem;
  return result;
}

}}  // namespace heddle::cuda
