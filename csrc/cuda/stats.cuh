// SPDX-License-Identifier: Apache-2.0
//
// Log-sum-exp as a pair (max, sum of exp(x - max)): partial pairs combine exactly in any fixed order, and
// lse - s = (max - s) + log(sum) keeps its digits where the difference is small. A NaN anywhere ends in the
// sum.
#pragma once

#include "tiles.cuh"

namespace ophclip::cuda {

// exp for arguments up to 0: full float accuracy for float inputs, hardware exp2 for 16-bit inputs.
template <typename T>
OPHCLIP_DEVICE float softmax_exp(float value) {
  if constexpr (sizeof(T) == 4) return expf(value);
  return exp_fast(value);
}

OPHCLIP_DEVICE float finite_or_zero(float max) { return max == -kInfinity ? 0.0f : max; }

OPHCLIP_DEVICE float2 combine_stats(float2 left, float2 right) {
  const float max = fmaxf(left.x, right.x), shift = finite_or_zero(max);
  return make_float2(max, left.y * expf(left.x - shift) + right.y * expf(right.x - shift));
}

// Per-row pairs of one tile of values: a pair per row and warp column, to parts[kWarpColumns][kTile].
template <typename T>
OPHCLIP_DEVICE void row_stats(float2* parts, const float (&value)[8][8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    float max = value[i][0];
#pragma unroll
    for (int j = 1; j < 8; ++j) max = fmaxf(max, value[i][j]);
#pragma unroll
    for (int mask = 1; mask <= 2; mask *= 2) max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, mask));
    const float shift = finite_or_zero(max);
    float sum = 0.0f;
#pragma unroll
    for (int j = 0; j < 8; ++j) sum += softmax_exp<T>(value[i][j] - shift);
#pragma unroll
    for (int mask = 1; mask <= 2; mask *= 2) sum += __shfl_xor_sync(kAllLanes, sum, mask);
    if (lane_id() % 4 == 0) parts[warp_column() * kTile + tile_row<T>(i)] = make_float2(max, sum);
  }
}

// Per-column pairs of one tile of values: a pair per column and warp row, to parts[kWarpRows][kTile].
template <typename T>
OPHCLIP_DEVICE void column_stats(float2* parts, const float (&value)[8][8]) {
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    float max = value[0][j];
#pragma unroll
    for (int i = 1; i < 8; ++i) max = fmaxf(max, value[i][j]);
#pragma unroll
    for (int mask = 4; mask <= 16; mask *= 2) max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, mask));
    const float shift = finite_or_zero(max);
    float sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 8; ++i) sum += softmax_exp<T>(value[i][j] - shift);
#pragma unroll
    for (int mask = 4; mask <= 16; mask *= 2) sum += __shfl_xor_sync(kAllLanes, sum, mask);
    if (lane_id() < 4) parts[warp_row() * kTile + tile_column<T>(j)] = make_float2(max, sum);
  }
}

template <int kParts>
OPHCLIP_DEVICE float2 combine_parts(const float2* parts, int index) {
  float2 total = parts[index];
#pragma unroll
  for (int part = 1; part < kParts; ++part) total = combine_stats(total, parts[part * kTile + index]);
  return total;
}

// Sum over a block of kBlock threads, the same for every thread order; valid in thread 0.
template <int kBlock, typename Value>
OPHCLIP_DEVICE Value block_sum(Value value, Value* scratch) {
  scratch[threadIdx.x] = value;
#pragma unroll 1
  for (int width = kBlock / 2; width > 0; width /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < width) scratch[threadIdx.x] += scratch[threadIdx.x + width];
  }
  return scratch[0];
}

}  // namespace ophclip::cuda
