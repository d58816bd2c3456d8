// SPDX-License-Identifier: Apache-2.0
//
// Merges the sorted lists of a top-k scan, one warp a query: the heads of 32 lists at a time are compared
// with the worst entry so far, so only lists that have something to give are read.
#include "launch.h"
#include "selection.cuh"
#include "topk_lists.h"

namespace ophclip::cuda {

template <int kKeys>
__global__ void __launch_bounds__(kThreads)
    topk_merge_kernel(const uint64_t* lists, int64_t runs, int64_t queries, uint64_t* bounds, float* scores,
                      int64_t* ids, int64_t k, int64_t places) {
  const int64_t query = int64_t{blockIdx.x} * (kThreads / 32) + threadIdx.x / 32;
  if (query >= queries) return;
  BestList<kKeys> best;
  best.load(lists + query * kKeys * 32);
  uint64_t worst = best.worst();
  for (int64_t first = 1; first < runs; first += 32) {
    const int64_t run = first + lane_id();
    const uint64_t head = run < runs ? lists[(run * queries + query) * kKeys * 32] : 0;
    for (unsigned left = __ballot_sync(kAllLanes, head > worst); left; left &= left - 1) {
      const int chosen = __ffs(static_cast<int>(left)) - 1;
      const uint64_t* const other = lists + ((first + chosen) * queries + query) * kKeys * 32;
      for (int r = 0; r < kKeys && other[r * 32] > worst; ++r) {
        best.merge(other[r * 32 + lane_id()]);
        worst = best.worst();
      }
    }
  }
#pragma unroll
  for (int r = 0; r < kKeys; ++r) {
    const int64_t place = r * 32 + lane_id();
    if (place >= places) continue;
    const uint64_t key = best.keys[r];
    scores[query * k + place] = key ? score_of(key) : -kInfinity;
    ids[query * k + place] = key ? id_of(key) : -1;
  }
  if (lane_id() == 0) bounds[query] = worst;
}

Pieces carve_lists(const TopkProblem& p, int64_t runs, void* workspace) {
  Carver carver(workspace);
  Pieces pieces;
  pieces.lists = carver.take<uint64_t>(runs * queries_at_once(p) * capacity_of(p));
  pieces.bounds = carver.take<uint64_t>(queries_at_once(p));
  pieces.bytes = carver.bytes();
  return pieces;
}

Status merge_lists(const TopkProblem& p, const Pieces& pieces, int64_t runs, int64_t queries, float* scores,
                   int64_t* ids, int64_t places, void* stream) {
  const auto kernel = capacity_of(p) == 32 ? topk_merge_kernel<1> : topk_merge_kernel<4>;
  return launch("topk_merge", kernel, ceil_div(queries, kThreads / 32), kThreads, 0, stream, pieces.lists,
                runs, queries, pieces.bounds, scores, ids, p.k, places);
}

}  // namespace ophclip::cuda
