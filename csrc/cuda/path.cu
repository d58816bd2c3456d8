// SPDX-License-Identifier: Apache-2.0
//
// The choice between portable and Hopper kernels.
#include <cstdlib>
#include <cstring>

#include "path.h"

namespace ophclip::cuda {
namespace {

Status attribute(int* value, decltype(cudaDevAttrMultiProcessorCount) which) {
  int device = 0;
  OPHCLIP_RETURN_IF_ERROR(check(cudaGetDevice(&device), "device"));
  return check(cudaDeviceGetAttribute(value, which, device), "device attribute");
}

}  // namespace

Status multiprocessors(int* count) { return attribute(count, cudaDevAttrMultiProcessorCount); }

Status device_path(Path* path) {
  *path = Path::kPortable;
  const char* const named = std::getenv("OPHCLIP_CUDA_PATH");
  const char* const wish = named && *named ? named : "auto";
  if (std::strcmp(wish, "portable") == 0) return {};
  const bool forced = std::strcmp(wish, "hopper") == 0;
  if (!forced && std::strcmp(wish, "auto") != 0) {
    return invalid("OPHCLIP_CUDA_PATH must be auto, portable or hopper, got %.60s", wish);
  }
  if (!forced && !kHopperProven) return {};
  int major = 0, minor = 0;
  OPHCLIP_RETURN_IF_ERROR(attribute(&major, cudaDevAttrComputeCapabilityMajor));
  OPHCLIP_RETURN_IF_ERROR(attribute(&minor, cudaDevAttrComputeCapabilityMinor));
  if (major == 9 && minor == 0) {
    *path = Path::kHopper;
  } else if (forced) {
    return invalid("OPHCLIP_CUDA_PATH=hopper needs compute capability 9.0, got %d.%d; unset it", major,
                   minor);
  }
  return {};
}

Status kernel_path(const char** name) {
  Path path;
  const Status status = device_path(&path);
  *name = path == Path::kHopper ? "hopper" : "portable";
  return status;
}

bool copies_in_bulk(Dtype dtype, const void* data, int64_t stride, int64_t rows, int64_t depth) {
  constexpr int64_t kMost = int64_t{1} << 30;  // coordinates are 32-bit; a tile may reach past the end
  return dtype != Dtype::kFloat32 && reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride % 8 == 0 &&
         depth % 8 == 0 && rows > 0 && depth > 0 && rows < kMost && stride < kMost;
}

}  // namespace ophclip::cuda
