// SPDX-License-Identifier: Apache-2.0
//
// Host side of bulk tensor copies: what a kernel's copies may read, and in which boxes.
#pragma once

#include "../launch.h"
#include "instructions.cuh"

namespace ophclip::cuda::hopper {

// Describes the array [rows, columns] of 16-bit elements whose rows lie `stride` elements apart, read in
// boxes of `box_rows` x 64 with 128-byte swizzle. The driver's encoder is looked up at run time, so the
// library does not need libcuda to be loaded; a driver without it is an error.
Status describe_array(TensorMap* map, Dtype dtype, const void* data, int64_t rows, int64_t columns,
                      int64_t stride, int box_rows);

}  // namespace ophclip::cuda::hopper
