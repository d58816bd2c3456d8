// SPDX-License-Identifier: Apache-2.0
//
// The K base rows of largest inner product with each query, without a Q x N array.
//
// Tiling: a block owns 128 queries and a run of base tiles (a split). Each 128 x 128 tile of scores goes
// through shared
//   memory; a warp then compares 16 queries' scores with their current worst entry and merges the rare better
//   ones into a sorted list of 32 or 128 keys. A second kernel merges the splits' lists. K > 128 repeats the
//   scan, 128 places a time, below the last key found.
// Traffic: the base once for each 128 queries (neighbouring blocks share it in L2), the queries once a base
// tile from
//   L2; lists of 256 or 1024 bytes a query and split, touched only when a better candidate comes.
// Numerics: products and sums in float32 in an order that depends on D alone, so neither Q nor the splits
// change a
//   score. Keys are totally ordered: the result is deterministic, ties go to the lower id.
#include "hopper/topk.h"
#include "path.h"
#include "selection.cuh"
#include "topk_lists.h"

namespace ophclip::cuda {
namespace {

constexpr int kRowsPerWarp = kTile / (kThreads / 32);

OPHCLIP_DEVICE void mark_excluded(float* staged, const SparseRows& exclude, int64_t query0, int64_t queries,
                                  int64_t id0) {
  const int64_t query = query0 + threadIdx.x;
  if (threadIdx.x >= kTile || query >= queries) return;
  const int64_t begin = exclude.indptr[query], end = exclude.indptr[query + 1];
  for (int64_t entry = begin < 0 ? 0 : begin; entry < end && entry < exclude.count; ++entry) {
    const int64_t column = exclude.indices[entry] - id0;
    if (column >= 0 && column < kTile) staged[threadIdx.x * kTilePitch + column] = float_of(kExcludedBits);
  }
}

// Merges the candidates of one query, four keys a lane, into its stored list; returns the list's worst key.
template <int kKeys>
OPHCLIP_DEVICE uint64_t merge_candidates(uint64_t* stored, const uint64_t (&candidates)[4], uint64_t worst) {
  BestList<kKeys> list;
  list.load(stored);
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    if (__ballot_sync(kAllLanes, candidates[c] > worst) == 0) continue;
    list.merge(sort_descending(candidates[c]));
    worst = list.worst();
  }
  list.store(stored);
  return worst;
}

// Takes the better entries of one query's row of a staged tile into its list.
OPHCLIP_DEVICE void select_row(const float* scores, int columns, int64_t id0, uint64_t bound,
                               uint64_t* stored, int capacity, uint64_t* worst_of_row) {
  const uint64_t worst = *worst_of_row;
  uint64_t candidates[4];
  bool any = false;
#pragma unroll
  for (int c = 0; c < 4; ++c) {
    const int column = c * 32 + lane_id();
    const float score = scores[column];
    const bool exists = column < columns && score == score;
    const uint64_t key = exists ? key_of(score, static_cast<uint32_t>(id0 + column)) : 0;
    candidates[c] = key < bound ? key : 0;
    any |= candidates[c] > worst;
  }
  if (__ballot_sync(kAllLanes, any) != 0) {
    const uint64_t now = capacity == 32 ? merge_candidates<1>(stored, candidates, worst)
                                        : merge_candidates<4>(stored, candidates, worst);
    if (lane_id() == 0) *worst_of_row = now;
  }
}

// Entries outside the operands are zero, so only real scores can answer true.
OPHCLIP_DEVICE bool any_nonfinite(const float (&scores)[8][8]) {
  bool found = false;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) found |= !(fabsf(scores[i][j]) < kInfinity);
  }
  return found;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<T>)
    topk_scan_kernel(Operand<T> queries, Operand<T> base, SparseRows exclude, ScanTask task,
                     int32_t* nonfinite) {
  OPHCLIP_DYNAMIC_SHARED(shared);
  __shared__ uint64_t worst[kTile];
  float* const staged = reinterpret_cast<float*>(shared);
  const int64_t query0 = blockIdx.x % task.query_tiles * kTile, split = blockIdx.x / task.query_tiles;
  const int first_row = threadIdx.x / 32 * kRowsPerWarp;
  const int num_rows = count_within(query0 + first_row, queries.rows, kRowsPerWarp);
  uint64_t* const lists = task.lists + (split * queries.rows + query0 + first_row) * task.capacity;
  for (int place = lane_id(); place < num_rows * task.capacity; place += 32) lists[place] = 0;
  if (threadIdx.x < kTile) worst[threadIdx.x] = 0;

  const int64_t first_tile = split * task.tiles_per_split;
  for (int64_t tile = first_tile; tile < first_tile + task.tiles_per_split && tile * kTile < base.rows;
       ++tile) {
    const int64_t id0 = tile * kTile;
    float scores[8][8];
    multiply_tiles<T, Major::kDepth, Major::kDepth>(scores, queries, query0, base, id0, shared);
    if (any_nonfinite(scores)) *nonfinite = 1;
    stage_tile<T>(staged, scores);
    __syncthreads();
    if (exclude.indptr) {
      mark_excluded(staged, exclude, query0, queries.rows, id0);
      __syncthreads();
    }
    for (int r = 0; r < num_rows; ++r) {
      const int row = first_row + r;
      const uint64_t bound = task.bounds ? task.bounds[query0 + row] : ~uint64_t{0};
      select_row(staged + row * kTilePitch, count_within(id0, base.rows, kTile), id0, bound,
                 lists + r * task.capacity, task.capacity, &worst[row]);
    }
    __syncthreads();
  }
}

// Enough splits to give every multiprocessor two blocks, however few the queries.
Status plan_splits(const TopkProblem& p, ScanTask* task) {
  int count = 0;
  OPHCLIP_RETURN_IF_ERROR(multiprocessors(&count));
  const int64_t tiles = ceil_div(p.n, kTile);
  task->query_tiles = ceil_div(queries_at_once(p), kTile);
  int64_t splits = task->query_tiles ? 2 * count / task->query_tiles : 1;
  splits = splits < 1 ? 1 : splits > tiles ? tiles : splits;
  task->tiles_per_split = splits ? ceil_div(tiles, splits) : 0;
  task->splits = task->tiles_per_split ? ceil_div(tiles, task->tiles_per_split) : 1;
  task->capacity = capacity_of(p);
  return {};
}

template <typename T>
Status scan(const TopkProblem& p, ScanTask task, const Pieces& pieces, float* scores, int64_t* ids,
            int32_t* nonfinite, void* stream) {
  const auto base = make_operand(static_cast<const T*>(p.base), p.base_stride, p.n, p.d);
  task.lists = pieces.lists;
  return for_each_scan(p, pieces, task.splits, scores, ids, stream,
                       [&](int64_t first, int64_t count, const uint64_t* bounds) -> Status {
                         const T* const rows = static_cast<const T*>(p.queries) + first * p.query_stride;
                         const auto queries = make_operand(rows, p.query_stride, count, p.d);
                         SparseRows exclude = p.exclude;
                         if (exclude.indptr) exclude.indptr += first;
                         task.query_tiles = ceil_div(count, kTile);
                         task.bounds = bounds;
                         return launch("topk_scan", topk_scan_kernel<T>, task.query_tiles * task.splits,
                                       kThreads, kTileBytes, stream, queries, base, exclude, task, nonfinite);
                       });
}

Status path_of(const TopkProblem& p, Path* path) {
  OPHCLIP_RETURN_IF_ERROR(device_path(path));
  if (!copies_in_bulk(p.dtype, p.queries, p.query_stride, p.q, p.d) ||
      !copies_in_bulk(p.dtype, p.base, p.base_stride, p.n, p.d))
    *path = Path::kPortable;
  return {};
}

Status validate(const TopkProblem& p) {
  if (p.q < 0 || p.n < 0 || p.d < 0 || p.k < 0 || p.exclude.count < 0)
    return invalid("sizes must not be negative");
  if (p.n >= int64_t{1} << 32) return invalid("N must be below 2^32, got %lld", static_cast<long long>(p.n));
  if (p.query_stride < p.d || p.base_stride < p.d) return invalid("row strides must be at least D");
  return {};
}

}  // namespace

size_t topk_workspace_bytes(const TopkProblem& p) {
  Path path;
  if (path_of(p, &path).ok() && path == Path::kHopper) return hopper::topk_workspace_bytes(p);
  ScanTask task{};
  return plan_splits(p, &task).ok() ? carve_lists(p, task.splits, nullptr).bytes : 0;
}

Status topk(const TopkProblem& p, float* scores, int64_t* ids, int32_t* nonfinite, Workspace workspace,
            void* stream) {
  Path path;
  OPHCLIP_RETURN_IF_ERROR(validate(p));
  OPHCLIP_RETURN_IF_ERROR(path_of(p, &path));
  const size_t needed = topk_workspace_bytes(p);
  if (workspace.bytes < needed || (needed && !workspace.data)) {
    return invalid("workspace must have %zu bytes, got %zu", needed, workspace.bytes);
  }
  if (reinterpret_cast<uintptr_t>(workspace.data) % 256) return invalid("workspace must be 256-byte aligned");
  OPHCLIP_RETURN_IF_ERROR(
      check(cudaMemsetAsync(nonfinite, 0, sizeof(int32_t), static_cast<cudaStream_t>(stream)), "memset"));
  if (p.q == 0 || p.k == 0) return {};
  if (path == Path::kHopper) return hopper::topk(p, scores, ids, nonfinite, workspace.data, stream);
  ScanTask task{};
  OPHCLIP_RETURN_IF_ERROR(plan_splits(p, &task));
  const Pieces pieces = carve_lists(p, task.splits, workspace.data);
  switch (p.dtype) {
    case Dtype::kFloat32:
      return scan<float>(p, task, pieces, scores, ids, nonfinite, stream);
    case Dtype::kBFloat16:
      return scan<__nv_bfloat16>(p, task, pieces, scores, ids, nonfinite, stream);
    case Dtype::kFloat16:
      return scan<__half>(p, task, pieces, scores, ids, nonfinite, stream);
  }
  return invalid("unknown dtype %d", static_cast<int>(p.dtype));
}

}  // namespace ophclip::cuda
