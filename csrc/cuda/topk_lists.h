// SPDX-License-Identifier: Apache-2.0
//
// What both scans of top-k share: the lists that they fill and the merge that follows.
#pragma once

#include "cuda_ops.h"

namespace ophclip::cuda {

constexpr uint32_t kExcludedBits = 0x7fffffff;  // NaN is never a candidate
constexpr int64_t kMostPlaces = 128;            // of one scan
constexpr int64_t kQueryBlock = 16384;          // queries of one scan; bounds the workspace

struct ScanTask {
  int64_t query_tiles, splits, tiles_per_split;
  uint64_t* lists;         // [runs, Q, capacity], a run a split or, narrow on Hopper, a warpgroup of a split
  const uint64_t* bounds;  // [Q] only keys below; null: all
  int capacity;            // 32 or 128
};

inline int capacity_of(const TopkProblem& p) { return p.k <= 32 ? 32 : 128; }
inline int64_t queries_at_once(const TopkProblem& p) { return p.q < kQueryBlock ? p.q : kQueryBlock; }

struct Pieces {
  uint64_t *lists, *bounds;
  size_t bytes;
};

Pieces carve_lists(const TopkProblem& p, int64_t runs, void* workspace);

// Merges the lists of all runs into `places` places of each query's K, and leaves the worst key in `bounds`.
Status merge_lists(const TopkProblem& p, const Pieces& pieces, int64_t runs, int64_t queries, float* scores,
                   int64_t* ids, int64_t places, void* stream);

// Calls scan(first, count, done, bounds) and the merge for every run of queries and every 128 places.
template <typename Scan>
Status for_each_scan(const TopkProblem& p, const Pieces& pieces, int64_t runs, float* scores, int64_t* ids,
                     void* stream, Scan scan) {
  for (int64_t first = 0; first < p.q; first += kQueryBlock) {
    const int64_t count = p.q - first < kQueryBlock ? p.q - first : kQueryBlock;
    for (int64_t done = 0; done < p.k; done += kMostPlaces) {
      const int64_t places = p.k - done < kMostPlaces ? p.k - done : kMostPlaces, at = first * p.k + done;
      const Status scanned = scan(first, count, done ? pieces.bounds : nullptr);
      if (!scanned.ok()) return scanned;
      const Status merged = merge_lists(p, pieces, runs, count, scores + at, ids + at, places, stream);
      if (!merged.ok()) return merged;
    }
  }
  return {};
}

}  // namespace ophclip::cuda
