// SPDX-License-Identifier: Apache-2.0
//
// Encodes tensor maps, through the driver or for the emulation.
#include "tensor_map.h"

#ifndef OPHCLIP_EMULATE
#include <cudaTypedefs.h>
#endif

namespace ophclip::cuda::hopper {

#ifdef OPHCLIP_EMULATE

Status describe_array(TensorMap* map, Dtype dtype, const void* data, int64_t rows, int64_t columns,
                      int64_t stride, int box_rows) {
  if (dtype == Dtype::kFloat32 || reinterpret_cast<uintptr_t>(data) % 16 || stride % 8 || rows < 1 ||
      columns < 1 || box_rows < 1 || box_rows > 256) {
    return invalid("a tensor map of %lld x %lld breaks the rules of bulk copies",
                   static_cast<long long>(rows), static_cast<long long>(columns));
  }
  *map = {static_cast<const unsigned char*>(data),
          static_cast<uint64_t>(columns),
          static_cast<uint64_t>(rows),
          static_cast<uint64_t>(stride) * 2,
          64,
          static_cast<uint32_t>(box_rows)};
  return {};
}

#else

namespace {

struct Encoder {
  PFN_cuTensorMapEncodeTiled_v12000 encode = nullptr;
  Status status;
};

Encoder find_encoder() {
  Encoder encoder;
  void* found = nullptr;
  cudaDriverEntryPointQueryResult result = cudaDriverEntryPointSymbolNotFound;
  encoder.status = check(
      cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &found, 12000, cudaEnableDefault, &result),
      "cuTensorMapEncodeTiled");
  if (!encoder.status.ok()) return encoder;
  encoder.encode = reinterpret_cast<PFN_cuTensorMapEncodeTiled_v12000>(found);
  if (result != cudaDriverEntryPointSuccess || !found) {
    encoder.status =
        invalid("the driver has no cuTensorMapEncodeTiled (answer %d); set OPHCLIP_CUDA_PATH=portable",
                static_cast<int>(result));
    encoder.status.code = static_cast<int>(cudaErrorNotSupported);
  }
  return encoder;
}

}  // namespace

Status describe_array(TensorMap* map, Dtype dtype, const void* data, int64_t rows, int64_t columns,
                      int64_t stride, int box_rows) {
  static const Encoder encoder = find_encoder();
  OPHCLIP_RETURN_IF_ERROR(encoder.status);
  const cuuint64_t sizes[] = {static_cast<cuuint64_t>(columns), static_cast<cuuint64_t>(rows)};
  const cuuint64_t pitches[] = {static_cast<cuuint64_t>(stride) * 2};
  const cuuint32_t box[] = {64, static_cast<cuuint32_t>(box_rows)}, steps[] = {1, 1};
  const auto type =
      dtype == Dtype::kFloat16 ? CU_TENSOR_MAP_DATA_TYPE_FLOAT16 : CU_TENSOR_MAP_DATA_TYPE_BFLOAT16;
  const CUresult result = encoder.encode(
      map, type, 2, const_cast<void*>(data), sizes, pitches, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
      CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (result == CUDA_SUCCESS) return {};
  Status status = invalid("cuTensorMapEncodeTiled refuses %lld x %lld elements, stride %lld: error %d",
                          static_cast<long long>(rows), static_cast<long long>(columns),
                          static_cast<long long>(stride), static_cast<int>(result));
  status.code = static_cast<int>(cudaErrorInvalidValue);
  return status;
}

#endif

}  // namespace ophclip::cuda::hopper
