// SPDX-License-Identifier: Apache-2.0
//
// Sorted lists of the best candidates, one warp a list. A candidate is one 64-bit key, larger is better: the
// score in an order-preserving integer form above the complement of its id. All keys differ, so every order
// of merging gives the same list, and equal scores put the lower id first. Key 0 stands for no candidate.
#pragma once

#include "tiles.cuh"

namespace ophclip::cuda {

OPHCLIP_DEVICE uint64_t key_of(float score, uint32_t id) {
  const uint32_t bits = bits_of(score + 0.0f);  // -0 becomes +0: they tie
  const uint32_t ordered = bits & 0x80000000u ? ~bits : bits | 0x80000000u;
  return static_cast<uint64_t>(ordered) << 32 | (0xffffffffu - id);
}

OPHCLIP_DEVICE float score_of(uint64_t key) {
  const uint32_t ordered = static_cast<uint32_t>(key >> 32);
  return float_of(ordered & 0x80000000u ? ordered & 0x7fffffffu : ~ordered);
}

OPHCLIP_DEVICE int64_t id_of(uint64_t key) { return 0xffffffffu - static_cast<uint32_t>(key); }

OPHCLIP_DEVICE uint64_t exchange(uint64_t key, int stride, bool keep_larger) {
  const uint64_t other = __shfl_xor_sync(kAllLanes, key, stride);
  return (key < other) == keep_larger ? other : key;
}

// Sorts one key a lane, largest in lane 0 (bitonic network, 15 exchanges).
OPHCLIP_DEVICE uint64_t sort_descending(uint64_t key) {
  const int lane = lane_id();
#pragma unroll
  for (int size = 2; size <= 32; size *= 2) {
#pragma unroll
    for (int stride = size / 2; stride > 0; stride /= 2) {
      key = exchange(key, stride, ((lane & stride) == 0) == ((lane & size) == 0));
    }
  }
  return key;
}

// The best 32 * kKeys candidates in descending order; entry e in lane e % 32, register e / 32.
template <int kKeys>
struct BestList {
  uint64_t keys[kKeys];

  OPHCLIP_DEVICE void load(const uint64_t* stored) {
#pragma unroll
    for (int r = 0; r < kKeys; ++r) keys[r] = stored[r * 32 + lane_id()];
  }

  OPHCLIP_DEVICE void store(uint64_t* stored) const {
#pragma unroll
    for (int r = 0; r < kKeys; ++r) stored[r * 32 + lane_id()] = keys[r];
  }

  OPHCLIP_DEVICE uint64_t worst() const { return __shfl_sync(kAllLanes, keys[kKeys - 1], 31); }

  // Takes in 32 keys sorted in descending order. The elementwise maximum of the list and the reversed keys is
  // a bitonic sequence of the best entries; half-cleaners then sort it.
  OPHCLIP_DEVICE void merge(uint64_t sorted) {
    const uint64_t reversed = __shfl_sync(kAllLanes, sorted, 31 - lane_id());
    keys[kKeys - 1] = keys[kKeys - 1] < reversed ? reversed : keys[kKeys - 1];
#pragma unroll
    for (int stride = kKeys / 2; stride > 0; stride /= 2) {
#pragma unroll
      for (int r = 0; r < kKeys; ++r) {
        if (r & stride) continue;
        const uint64_t upper = keys[r], lower = keys[r + stride];
        keys[r] = upper < lower ? lower : upper;
        keys[r + stride] = upper < lower ? upper : lower;
      }
    }
#pragma unroll
    for (int stride = 16; stride > 0; stride /= 2) {
#pragma unroll
      for (int r = 0; r < kKeys; ++r) keys[r] = exchange(keys[r], stride, (lane_id() & stride) == 0);
    }
  }
};

}  // namespace ophclip::cuda
