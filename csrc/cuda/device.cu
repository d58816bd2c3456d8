// SPDX-License-Identifier: Apache-2.0
//
// What the library was built for and what the machine offers.
#include "launch.h"

namespace ophclip::cuda {

#define OPHCLIP_TEXT(...) #__VA_ARGS__
#define OPHCLIP_EXPANDED_TEXT(...) OPHCLIP_TEXT(__VA_ARGS__)
#ifndef __CUDA_ARCH_LIST__
#define __CUDA_ARCH_LIST__ emulated
#endif

const char* compiled_architectures() { return OPHCLIP_EXPANDED_TEXT(__CUDA_ARCH_LIST__); }

Status device_count(int* count) {
  const cudaError_t error = cudaGetDeviceCount(count);
  if (error != cudaErrorNoDevice && error != cudaErrorInsufficientDriver) return check(error, "device count");
  cudaGetLastError();  // an absent device is an answer, not an error for the next call to find
  *count = 0;
  return {};
}

Status runtime_version(int* version) { return check(cudaRuntimeGetVersion(version), "runtime version"); }

}  // namespace ophclip::cuda
