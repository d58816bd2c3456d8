// SPDX-License-Identifier: Apache-2.0
//
// Forward of the contrastive loss on Hopper: log-sum-exp pairs of every row and column of a block of logits.
//
// A warp holds 16 x 256 logits. One exponential each serves rows and columns: exp(s - shift), shift the
// largest logit of the warp. Row sums add along a thread's registers and four lanes; column sums add over two
// rows, then over eight lanes by halving (each exchange sends half of what is left: 14 shuffles for 32
// columns). Where a row or column lies so far below the shift that its sum loses digits (below e^-60), or at
// the ragged edge, the warp takes each row's and column's own largest logit instead.
// Output: a (max, sum) pair a row and tile of 256 columns, and a column and 64 rows; merge_stats folds them.
#pragma once

#include "../stats.cuh"
#include "positives.cuh"

namespace ophclip::cuda::hopper {

constexpr float kSmallestSum = 8.7e-27f;  // e^-60
constexpr size_t kStatsSharedBytes = kSharedBytes + kGroups * 4 * kColumns * sizeof(float2);

OPHCLIP_DEVICE float max_over(float value, int first_mask, int last_mask) {
  for (int mask = first_mask; mask <= last_mask; mask *= 2)
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, mask));
  return value;
}

OPHCLIP_DEVICE float sum_over(float value, int first_mask, int last_mask) {
  for (int mask = first_mask; mask <= last_mask; mask *= 2) value += __shfl_xor_sync(kAllLanes, value, mask);
  return value;
}

// Adds the partial sums of the lane `mask` away and keeps the half that this lane goes on with.
template <int kCount>
OPHCLIP_DEVICE void add_half(float (&sums)[16], int mask) {
  const bool upper = (lane_id() & mask) != 0;
#pragma unroll
  for (int i = 0; i < kCount / 2; ++i) {
    const float sent = upper ? sums[i] : sums[i + kCount / 2];
    const float kept = upper ? sums[i + kCount / 2] : sums[i];
    sums[i] = kept + __shfl_xor_sync(kAllLanes, sent, mask);
  }
}

// One shift for the whole warp. Returns false if the digits do not suffice; columns: [256] of this warp.
OPHCLIP_DEVICE bool shared_shift_stats(const float (&logits)[128], float2 (&rows)[2], float2* columns) {
  float largest[4] = {logits[0], logits[1], logits[2], logits[3]};  // four chains of comparisons
#pragma unroll
  for (int i = 4; i < 128; ++i) largest[i % 4] = fmaxf(largest[i % 4], logits[i]);
  const float max = max_over(fmaxf(fmaxf(largest[0], largest[1]), fmaxf(largest[2], largest[3])), 1, 16);
  const float shift = finite_or_zero(max);
  float row_sums[2] = {0.0f, 0.0f};
  bool enough = true;
#pragma unroll
  for (int part = 0; part < 4; ++part) {
    float sums[16];
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const int at = part * 32 + i / 2 * 4 + i % 2;
      const float upper = exp_fast(logits[at] - shift), lower = exp_fast(logits[at + 2] - shift);
      row_sums[0] += upper;
      row_sums[1] += lower;
      sums[i] = upper + lower;
    }
    add_half<16>(sums, 16);
    add_half<8>(sums, 8);
    add_half<4>(sums, 4);
    enough = enough && sums[0] >= kSmallestSum && sums[1] >= kSmallestSum;
    float2* const pair = columns + part * 64 + lane_id() / 4 * 8 + lane_id() % 4 * 2;
    pair[0] = make_float2(max, sums[0]);
    pair[1] = make_float2(max, sums[1]);
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    rows[h] = make_float2(max, sum_over(row_sums[h], 1, 2));
    enough = enough && rows[h].y >= kSmallestSum;
  }
  return __ballot_sync(kAllLanes, !enough) == 0;
}

// Every row and column with its own shift; -inf stands for logits that do not exist.
OPHCLIP_DEVICE void separate_shift_stats(const float (&logits)[128], float2 (&rows)[2], float2* columns) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    float max = -kInfinity, sum = 0.0f;
#pragma unroll
    for (int i = 0; i < 64; ++i) max = fmaxf(max, logits[i / 2 * 4 + h * 2 + i % 2]);
    max = max_over(max, 1, 2);
    const float shift = finite_or_zero(max);
#pragma unroll
    for (int i = 0; i < 64; ++i) sum += exp_fast(logits[i / 2 * 4 + h * 2 + i % 2] - shift);
    rows[h] = make_float2(max, sum_over(sum, 1, 2));
  }
#pragma unroll
  for (int i = 0; i < 64; ++i) {
    const int at = i / 2 * 4 + i % 2;
    const float max = max_over(fmaxf(logits[at], logits[at + 2]), 4, 16), shift = finite_or_zero(max);
    const float sum = sum_over(exp_fast(logits[at] - shift) + exp_fast(logits[at + 2] - shift), 4, 16);
    if (lane_id() < 4) columns[i / 2 * 8 + lane_id() * 2 + i % 2] = make_float2(max, sum);
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads, 1)
    hopper_logits_stats_kernel(const __grid_constant__ TensorMap map_a,
                               const __grid_constant__ TensorMap map_b, LogitBlock block, int steps,
                               const float* scale, Positives positives, float2* row_parts,
                               float2* column_parts, float* dots) {
#ifdef OPHCLIP_HOPPER_CODE
  OPHCLIP_HOPPER_SHARED(shared);
  const int tiles = block.row_tiles * block.column_tiles;
  auto produce = [&](Ring& ring) {
    prefetch_map(&map_a);
    prefetch_map(&map_b);
    for (int id = blockIdx.x; id < tiles; id += gridDim.x) {
      const TileIndex tile = tile_at(id, block.row_tiles, block.column_tiles);
      produce_tile<Major::kDepth, Major::kDepth>(ring, &map_a, tile.row * kRows, &map_b,
                                                 tile.column * kColumns, steps);
    }
  };
  auto consume = [&](Ring& ring, int group) {
    const Fragment fragment(group * kGroupRows);
    const float factor = *scale;
    float2* const parts = reinterpret_cast<float2*>(shared + kSharedBytes) + group * 4 * kColumns;
    float2* const warp_parts = parts + threadIdx.x % 128 / 32 * kColumns;
    for (int id = blockIdx.x; id < tiles; id += gridDim.x) {
      const TileIndex tile = tile_at(id, block.row_tiles, block.column_tiles);
      const TilePlace place(block, tile);
      float logits[128];
      consume_tile<T, Major::kDepth, Major::kDepth, true>(logits, ring, steps, group);
      if (warp_has_positive(positives, place, fragment)) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          visit_positives(logits, h, positives, place, fragment,
                          [&](int, float dot, int64_t, int64_t entry) { dots[entry] = dot; });
        }
      }
#pragma unroll
      for (int i = 0; i < 128; ++i) logits[i] *= factor;
      if (!place.whole()) {
#pragma unroll
        for (int i = 0; i < 128; ++i) {
          const bool exists =
              fragment.row(i / 2 % 2) < place.rows && fragment.column(i / 4) + i % 2 < place.columns;
          logits[i] = exists ? logits[i] : -kInfinity;
        }
      }
      float2 rows[2];
      meet_warpgroup(1 + group);  // the parts of the tile before have been read
      if (!shared_shift_stats(logits, rows, warp_parts)) {
        __syncwarp();
        separate_shift_stats(logits, rows, warp_parts);
      }
      if (lane_id() % 4 == 0) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          row_parts[(int64_t{tile.column} * block.row_tiles + tile.row) * kRows + fragment.row(h)] = rows[h];
        }
      }
      meet_warpgroup(1 + group);
      if (!column_parts) continue;
      for (int column = threadIdx.x % 128; column < kColumns; column += 128) {
        float2 total = parts[column];
#pragma unroll
        for (int warp = 1; warp < 4; ++warp) total = combine_stats(total, parts[warp * kColumns + column]);
        const int64_t strip = int64_t{tile.row} * kGroups + group;
        column_parts[(strip * block.column_tiles + tile.column) * kColumns + column] = total;
      }
    }
  };
  run_roles(shared, produce, consume);
#endif
}

}  // namespace ophclip::cuda::hopper
