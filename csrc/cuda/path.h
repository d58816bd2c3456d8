// SPDX-License-Identifier: Apache-2.0
//
// Which kernels serve a call: the portable ones (mma.sync and FFMA, sm_80 and newer) or Hopper's (wgmma and
// bulk tensor copies, sm_90a).
#pragma once

#include "launch.h"

namespace ophclip::cuda {

// Whether auto may choose Hopper's kernels. They have passed every test under emulation but have not run on
// a device; true once a passed `make gpu-check` of both paths is on record.
constexpr bool kHopperProven = false;

enum class Path { kPortable, kHopper };

// By OPHCLIP_CUDA_PATH (auto, portable or hopper) and the current device. An unknown value, or hopper on a
// device that is not of compute capability 9.0, is an error.
Status device_path(Path* path);

// Rows that a bulk tensor copy can read: 16-bit elements, addresses and strides that are multiples of 16
// bytes, sizes that fit its coordinates.
bool copies_in_bulk(Dtype dtype, const void* data, int64_t stride, int64_t rows, int64_t depth);

Status multiprocessors(int* count);  // of the current device

}  // namespace ophclip::cuda
