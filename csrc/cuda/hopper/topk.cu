// SPDX-License-Identifier: Apache-2.0
//
// Host side of top-k on Hopper: shares the work out to the multiprocessors and queues the kernels.
#include "../path.h"
#include "tensor_map.h"
#include "topk.h"
#include "topk_scan.cuh"

namespace ophclip::cuda::hopper {
namespace {

constexpr int64_t kNarrowQueries = 64;

struct ScanPlan {
  bool narrow;
  int query_rows;  // of a copied box
  int64_t blocks, runs;
  ScanTask task;
};

// Splits of the base: the number that needs the fewest tiles in a row of any block, a little more counted for
// each split, whose lists must fill and merge.
int64_t best_splits(int64_t query_tiles, int64_t tiles, int64_t blocks) {
  int64_t best = 1, least = INT64_MAX;
  const int64_t most = blocks / query_tiles + 8;
  for (int64_t splits = 1; splits <= most && splits <= tiles; ++splits) {
    const int64_t cost = ceil_div(query_tiles * splits, blocks) * (ceil_div(tiles, splits) + 2);
    if (cost < least) {
      least = cost;
      best = splits;
    }
  }
  return best;
}

Status plan_scan(const TopkProblem& p, ScanPlan* plan) {
  int count = 0;
  OPHCLIP_RETURN_IF_ERROR(multiprocessors(&count));
  const int64_t tiles = ceil_div(p.n, kColumns), queries = queries_at_once(p);
  plan->narrow = p.q <= kNarrowQueries;
  plan->query_rows = kBox;
  while (plan->narrow && plan->query_rows > 8 && plan->query_rows / 2 >= p.q) plan->query_rows /= 2;
  plan->blocks = count;
  ScanTask& task = plan->task;
  task.query_tiles = ceil_div(queries, kRows);
  const int64_t splits = best_splits(task.query_tiles, tiles, count);
  task.tiles_per_split = ceil_div(tiles, splits);
  task.splits = ceil_div(tiles, task.tiles_per_split);
  task.capacity = capacity_of(p);
  plan->runs = task.splits * (plan->narrow ? kGroups : 1);
  return {};
}

template <typename T, bool kNarrow>
Status launch_scan(const ScanPlan& plan, const ScanTask& task, const ScanSizes& sizes,
                   const TensorMap& queries, const TensorMap& base, const SparseRows& exclude,
                   int32_t* nonfinite, void* stream) {
  const int64_t items = task.query_tiles * task.splits;
  const auto kernel =
      task.capacity == 32 ? hopper_topk_scan_kernel<T, kNarrow, 1> : hopper_topk_scan_kernel<T, kNarrow, 4>;
  return launch("hopper_topk_scan", kernel, items < plan.blocks ? items : plan.blocks, kBlockThreads,
                kScanSharedBytes, stream, queries, base, exclude, task, sizes, nonfinite);
}

template <typename T>
Status scan(const TopkProblem& p, const ScanPlan& plan, const Pieces& pieces, float* scores, int64_t* ids,
            int32_t* nonfinite, void* stream) {
  TensorMap base;
  OPHCLIP_RETURN_IF_ERROR(describe_array(&base, p.dtype, p.base, p.n, p.d, p.base_stride, kBox));
  return for_each_scan(
      p, pieces, plan.runs, scores, ids, stream,
      [&](int64_t first, int64_t count, const uint64_t* bounds) -> Status {
        TensorMap queries;
        OPHCLIP_RETURN_IF_ERROR(describe_array(&queries, p.dtype,
                                               static_cast<const T*>(p.queries) + first * p.query_stride,
                                               count, p.d, p.query_stride, plan.query_rows));
        SparseRows exclude = p.exclude;
        if (exclude.indptr) exclude.indptr += first;
        ScanTask task = plan.task;
        task.query_tiles = ceil_div(count, kRows);
        task.lists = pieces.lists;
        task.bounds = bounds;
        const ScanSizes sizes{count, p.n, static_cast<int>(ceil_div(p.d, kDepth)), plan.query_rows};
        return plan.narrow
                   ? launch_scan<T, true>(plan, task, sizes, queries, base, exclude, nonfinite, stream)
                   : launch_scan<T, false>(plan, task, sizes, queries, base, exclude, nonfinite, stream);
      });
}

}  // namespace

size_t topk_workspace_bytes(const TopkProblem& p) {
  ScanPlan plan;
  return plan_scan(p, &plan).ok() ? carve_lists(p, plan.runs, nullptr).bytes : 0;
}

Status topk(const TopkProblem& p, float* scores, int64_t* ids, int32_t* nonfinite, void* workspace,
            void* stream) {
  ScanPlan plan;
  OPHCLIP_RETURN_IF_ERROR(plan_scan(p, &plan));
  const Pieces pieces = carve_lists(p, plan.runs, workspace);
  return p.dtype == Dtype::kFloat16 ? scan<__half>(p, plan, pieces, scores, ids, nonfinite, stream)
                                    : scan<__nv_bfloat16>(p, plan, pieces, scores, ids, nonfinite, stream);
}

}  // namespace ophclip::cuda::hopper
