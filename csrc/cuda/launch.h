// SPDX-License-Identifier: Apache-2.0
//
// Host side of a launch: every CUDA call and every kernel launch goes through here, so that none goes
// unchecked.
#pragma once

#include <cstdio>

#include "cuda_ops.h"
#include "device.cuh"

namespace ophclip::cuda {

#define OPHCLIP_RETURN_IF_ERROR(expression) \
  do {                                      \
    const Status status_ = (expression);    \
    if (!status_.ok()) return status_;      \
  } while (false)

inline Status check(cudaError_t error, const char* what) {
  Status status;
  if (error == cudaSuccess) return status;
  status.code = static_cast<int>(error);
  std::snprintf(status.message, sizeof(status.message), "%s: CUDA error %d: %s", what, status.code,
                cudaGetErrorString(error));
  return status;
}

template <typename... Values>
Status invalid(const char* format, Values... values) {
  Status status;
  status.code = -1;
  std::snprintf(status.message, sizeof(status.message), format, values...);
  return status;
}

template <typename T>
struct Exactly {
  using Type = T;
};

// Queues `kernel` on a one-dimensional grid; arguments convert to its parameters. An empty grid is a success.
template <typename... Parameters>
Status launch(const char* name, void (*kernel)(Parameters...), int64_t blocks, int threads,
              size_t shared_bytes, void* stream, typename Exactly<Parameters>::Type... arguments) {
  if (blocks <= 0) return {};
  if (blocks > 0x7fffffff) {
    return invalid("%s: %lld blocks exceed the grid limit", name, static_cast<long long>(blocks));
  }
#ifdef OPHCLIP_EMULATE
  (void)stream;
  emulation::launch(dim3(static_cast<unsigned>(blocks)), threads, shared_bytes,
                    [=] { kernel(arguments...); });
  return {};
#else
  const void* const function = reinterpret_cast<const void*>(kernel);
  if (shared_bytes > (48 << 10)) {
    OPHCLIP_RETURN_IF_ERROR(check(cudaFuncSetAttribute(function, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                                       static_cast<int>(shared_bytes)),
                                  name));
  }
  void* addresses[] = {const_cast<void*>(static_cast<const void*>(&arguments))...};
  return check(cudaLaunchKernel(function, dim3(static_cast<unsigned>(blocks)), dim3(threads), addresses,
                                shared_bytes, static_cast<cudaStream_t>(stream)),
               name);
#endif
}

// Hands out aligned pieces of the workspace; with a null workspace it only counts.
class Carver {
 public:
  explicit Carver(void* data) : data_(static_cast<unsigned char*>(data)) {}

  template <typename T>
  T* take(int64_t count) {
    unsigned char* const piece = data_ ? data_ + bytes_ : nullptr;
    bytes_ += (static_cast<size_t>(count) * sizeof(T) + 255) / 256 * 256;
    return reinterpret_cast<T*>(piece);
  }

  size_t bytes() const { return bytes_; }

 private:
  unsigned char* data_;
  size_t bytes_ = 0;
};

inline int64_t ceil_div(int64_t value, int64_t unit) { return (value + unit - 1) / unit; }

}  // namespace ophclip::cuda
