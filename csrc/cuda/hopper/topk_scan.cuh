// SPDX-License-Identifier: Apache-2.0
//
// Top-k scan on Hopper: scores stay in the accumulators of the matrix engine; few ever leave the registers.
//
// Screening: a thread compares its 128 scores (two queries, 64 columns each) with those queries' current
// worst
//   entry. A better one becomes a 64-bit key (selection.cuh) in its query's buffer in shared memory, at a
//   place taken from a counter. A query whose buffer is half full is merged: 32 keys sorted in a warp and
//   merged into its list, which gives a stricter worst. A full buffer is merged and the tile screened again;
//   scores taken are marked as NaN. All of a query's scores belong to the four lanes of one warp, so no other
//   warp touches its buffer or list.
// Exactness: a score equal to the worst entry's is compared by key, so ties go to the lower id whatever the
//   order of the counter; the list is the best of a totally ordered set and does not depend on that order.
// Two shapes: wide, 128 queries a tile, both warpgroups on the same 256 base rows; narrow (at most 64
// queries),
//   where each warpgroup takes every other tile for all queries, with lists of its own, so that the time of
//   the copies is all that counts. Narrow copies only the 8, 16, 32 or 64 query rows there are: what lies
//   behind them in the stage is stale, and its scores are ignored.
// Traffic: base rows once a query tile (blocks in flight share them in L2), queries once a tile from L2.
#pragma once

#include "../selection.cuh"
#include "../topk_lists.h"
#include "pipeline.cuh"

namespace ophclip::cuda::hopper {

constexpr int kBuffered = 32;  // keys a query
constexpr int kFlushAt = 16;
constexpr int kWarpQueries = 16;
constexpr int kBufferBytes = kWarpQueries * kBuffered * sizeof(uint64_t);  // of a warp
constexpr size_t kScanSharedBytes = kSharedBytes + kGroups * 4 * (kBufferBytes + kWarpQueries * sizeof(int));

// The queries of one warp, of which this thread holds two: rows h = 0 and 1 of its fragment.
struct WarpQueries {
  uint64_t* buffer;    // [16, 32] shared
  int* counts;         // [16] shared
  uint64_t* lists;     // [16, capacity] global
  int num_queries;     // that exist
  uint64_t worst[2];   // keys up to this are of no use
  uint64_t bound[2];   // nor are keys from this on
  float threshold[2];  // score of worst; NaN: every score is of use

  OPHCLIP_DEVICE int query(int h) const { return lane_id() / 4 + 8 * h; }

  OPHCLIP_DEVICE void raise(int h, uint64_t key) {
    worst[h] = key;
    threshold[h] = key ? score_of(key) : float_of(kExcludedBits);
  }
};

// Puts a score into its query's buffer if it is of use; false if the buffer is full.
OPHCLIP_DEVICE bool buffer_score(const WarpQueries& queries, int h, float score, uint32_t id) {
  const uint64_t key = key_of(score, id);
  if (key <= (h ? queries.worst[1] : queries.worst[0])) return true;
  if (key >= (h ? queries.bound[1] : queries.bound[0])) return true;
  const int query = lane_id() / 4 + 8 * h, place = atomicAdd(&queries.counts[query], 1);
  if (place >= kBuffered) return false;
  queries.buffer[query * kBuffered + place] = key;
  return true;
}

// Handles 16 of the thread's scores, one that passes the threshold at a time; what is done with becomes NaN.
// True if a buffer was full.
OPHCLIP_DEVICE bool take_scores(float* scores, const WarpQueries& queries, uint32_t first_id) {
  float largest[4] = {scores[0], scores[1], scores[2], scores[3]};  // of two columns of two queries
#pragma unroll
  for (int i = 4; i < 16; ++i) largest[i % 4] = fmaxf(largest[i % 4], scores[i]);
  bool any = !(fmaxf(largest[0], largest[1]) < queries.threshold[0]) ||
             !(fmaxf(largest[2], largest[3]) < queries.threshold[1]);
  while (any) {
    int chosen = -1;
    float score = 0.0f;
#pragma unroll
    for (int i = 0; i < 16; ++i) {
      const bool passes = scores[i] == scores[i] && !(scores[i] < queries.threshold[i / 2 % 2]);
      chosen = passes ? i : chosen;
      score = passes ? scores[i] : score;
    }
    any = chosen >= 0;
    if (any && !buffer_score(queries, chosen / 2 % 2, score, first_id + chosen / 4 * 8 + chosen % 2))
      return true;
#pragma unroll
    for (int i = 0; i < 16; ++i) scores[i] = i == chosen ? float_of(kExcludedBits) : scores[i];
  }
  return false;
}

// Merges every buffer that holds at least `least` keys into its list.
template <int kKeys>
OPHCLIP_DEVICE void flush_buffers(WarpQueries& queries, int least) {
  __syncwarp();  // the buffers are written
  const int mine = lane_id() < queries.num_queries ? queries.counts[lane_id()] : 0;
  for (unsigned ready = __ballot_sync(kAllLanes, mine >= least); ready; ready &= ready - 1) {
    const int query = __ffs(static_cast<int>(ready)) - 1, count = __shfl_sync(kAllLanes, mine, query);
    const uint64_t key = lane_id() < count ? queries.buffer[query * kBuffered + lane_id()] : 0;
    uint64_t* const stored = queries.lists + query * kKeys * 32;
    BestList<kKeys> list;
    list.load(stored);
    list.merge(sort_descending(key));
    list.store(stored);
    const uint64_t worst = list.worst();
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      if (queries.query(h) == query) queries.raise(h, worst);
    }
    if (lane_id() == query) queries.counts[query] = 0;
  }
  __syncwarp();
}

template <int kKeys>
OPHCLIP_DEVICE void select_scores(float (&scores)[128], WarpQueries& queries, uint32_t first_id) {
  bool full = true;
  while (full) {
    full = false;
#pragma unroll
    for (int part = 0; part < 8; ++part)
      full |= take_scores(scores + part * 16, queries, first_id + part * 32);
    full = __ballot_sync(kAllLanes, full) != 0;
    flush_buffers<kKeys>(queries, kFlushAt);
  }
}

// Any score of an existing query that is NaN or infinite? Missing base rows are zeros.
OPHCLIP_DEVICE bool any_nonfinite(const float (&scores)[128], int h) {
  float checks[4] = {0.0f, 0.0f, 0.0f, 0.0f};  // four chains of additions
#pragma unroll
  for (int i = 0; i < 64; ++i) checks[i % 4] = fmaf(scores[i / 2 * 4 + h * 2 + i % 2], 0.0f, checks[i % 4]);
  return !((checks[0] + checks[1]) + (checks[2] + checks[3]) == 0.0f);
}

// Entries [begin, end) of one query's list of exclusions that exist.
struct Exclusions {
  int64_t begin, end;

  OPHCLIP_DEVICE Exclusions(const SparseRows& exclude, int64_t query)
      : begin(exclude.indptr[query]), end(exclude.indptr[query + 1]) {
    begin = begin < 0 ? 0 : begin;
    end = end < exclude.count ? end : exclude.count;
  }
};

// Marks the scores of base rows that the warp's queries exclude. The four lanes of a query share its list to
// see whether the tile is concerned at all, which it seldom is.
OPHCLIP_DEVICE void mark_excluded(float (&scores)[128], const SparseRows& exclude, const WarpQueries& queries,
                                  int64_t query0, int64_t id0) {
  bool concerned = false;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (queries.query(h) >= queries.num_queries) continue;
    const Exclusions entries(exclude, query0 + queries.query(h));
    for (int64_t entry = entries.begin + lane_id() % 4; entry < entries.end; entry += 4) {
      const int64_t column = exclude.indices[entry] - id0;
      concerned |= column >= 0 && column < kColumns;
    }
  }
  if (__ballot_sync(kAllLanes, concerned) == 0) return;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (queries.query(h) >= queries.num_queries) continue;
    const Exclusions entries(exclude, query0 + queries.query(h));
    for (int64_t entry = entries.begin; entry < entries.end; ++entry) {
      const int64_t column = exclude.indices[entry] - id0;
      if (column < 0 || column >= kColumns || column % 8 / 2 != lane_id() % 4) continue;
      const int index = static_cast<int>(column) / 8 * 2 + static_cast<int>(column) % 2;
#pragma unroll
      for (int i = 0; i < 64; ++i) {
        float& score = scores[i / 2 * 4 + h * 2 + i % 2];
        score = i == index ? float_of(kExcludedBits) : score;
      }
    }
  }
}

struct ScanSizes {
  int64_t queries, base;
  int steps, query_rows;  // query_rows: of a copied box, narrow only
};

// Work item of a block: a tile of queries and a run of base tiles.
struct ScanItem {
  int64_t query0, split, first_tile, end_tile;

  OPHCLIP_DEVICE ScanItem(int64_t id, const ScanTask& task, const ScanSizes& sizes)
      : query0(id % task.query_tiles * kRows),
        split(id / task.query_tiles),
        first_tile(split * task.tiles_per_split),
        end_tile(first_tile + task.tiles_per_split) {
    const int64_t tiles = (sizes.base + kColumns - 1) / kColumns;
    end_tile = end_tile < tiles ? end_tile : tiles;
  }
};

template <bool kNarrow>
OPHCLIP_DEVICE void produce_scan(Ring& ring, const TensorMap* queries, const TensorMap* base,
                                 const ScanItem& item, const ScanSizes& sizes) {
  for (int64_t tile = item.first_tile; tile < item.end_tile; ++tile) {
    const int query0 = static_cast<int>(item.query0), id0 = static_cast<int>(tile * kColumns);
    if constexpr (!kNarrow) {
      produce_tile<Major::kDepth, Major::kDepth>(ring, queries, query0, base, id0, sizes.steps);
    } else {
      for (int step = 0; step < sizes.steps; ++step) {
        Barrier* const full = &ring.full[ring.slot];
        ring.claim(kBoxesB * kBoxBytes + sizes.query_rows * kDepth * 2);
        load_box(ring.stage(), queries, full, step * kDepth, query0);
        load_rows<Major::kDepth, kBoxesB>(ring.stage() + kBoxesA * kBoxBytes, base, full, id0, step * kDepth);
        ring.advance();
      }
    }
  }
}

// The warp's queries of one work item, with empty lists and buffers.
template <bool kNarrow>
OPHCLIP_DEVICE WarpQueries open_queries(const ScanItem& item, const ScanTask& task, const ScanSizes& sizes,
                                        int group, unsigned char* shared) {
  const int warp = threadIdx.x % 128 / 32, place = group * 4 + warp;
  const int64_t first = item.query0 + (kNarrow ? 0 : group * kGroupRows) + warp * kWarpQueries;
  const int64_t run = kNarrow ? item.split * kGroups + group : item.split;
  WarpQueries queries;
  queries.buffer = reinterpret_cast<uint64_t*>(shared + kSharedBytes + place * kBufferBytes);
  queries.counts =
      reinterpret_cast<int*>(shared + kSharedBytes + kGroups * 4 * kBufferBytes) + place * kWarpQueries;
  queries.lists = task.lists + (run * sizes.queries + first) * task.capacity;
  queries.num_queries = count_within(first, sizes.queries, kWarpQueries);
  for (int at = lane_id(); at < queries.num_queries * task.capacity; at += 32) queries.lists[at] = 0;
  if (lane_id() < kWarpQueries) queries.counts[lane_id()] = 0;
  __syncwarp();
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const bool exists = queries.query(h) < queries.num_queries;
    queries.raise(h, 0);
    queries.bound[h] = exists ? task.bounds ? task.bounds[first + queries.query(h)] : ~uint64_t{0} : 0;
    if (!exists) queries.threshold[h] = kInfinity;
  }
  return queries;
}

template <typename T, bool kNarrow, int kKeys>
__global__ void __launch_bounds__(kBlockThreads, 1)
    hopper_topk_scan_kernel(const __grid_constant__ TensorMap map_queries,
                            const __grid_constant__ TensorMap map_base, SparseRows exclude, ScanTask task,
                            ScanSizes sizes, int32_t* nonfinite) {
#ifdef OPHCLIP_HOPPER_CODE
  OPHCLIP_HOPPER_SHARED(shared);
  const int64_t items = task.query_tiles * task.splits;
  auto produce = [&](Ring& ring) {
    prefetch_map(&map_queries);
    prefetch_map(&map_base);
    for (int64_t id = blockIdx.x; id < items; id += gridDim.x)
      produce_scan<kNarrow>(ring, &map_queries, &map_base, ScanItem(id, task, sizes), sizes);
  };
  auto consume = [&](Ring& ring, int group) {
    const int first_row = kNarrow ? 0 : group * kGroupRows;
    for (int64_t id = blockIdx.x; id < items; id += gridDim.x) {
      const ScanItem item(id, task, sizes);
      WarpQueries queries = open_queries<kNarrow>(item, task, sizes, group, shared);
      for (int64_t tile = item.first_tile; tile < item.end_tile; ++tile) {
        if (kNarrow && (tile - item.first_tile) % kGroups != group) {
          ring.pass(sizes.steps);
          continue;
        }
        float scores[128];
        consume_tile<T, Major::kDepth, Major::kDepth, !kNarrow>(scores, ring, sizes.steps, group);
        const int64_t id0 = tile * kColumns;
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          if (queries.query(h) < queries.num_queries && any_nonfinite(scores, h)) *nonfinite = 1;
        }
        if (exclude.indptr) {
          const int warp = threadIdx.x % 128 / 32;
          mark_excluded(scores, exclude, queries, item.query0 + first_row + warp * kWarpQueries, id0);
        }
        const int columns = count_within(id0, sizes.base, kColumns), column = lane_id() % 4 * 2;
        if (columns < kColumns) {
#pragma unroll
          for (int i = 0; i < 128; ++i)
            scores[i] = column + i / 4 * 8 + i % 2 < columns ? scores[i] : float_of(kExcludedBits);
        }
        select_scores<kKeys>(scores, queries, static_cast<uint32_t>(id0) + column);
      }
      flush_buffers<kKeys>(queries, 1);
    }
  };
  run_roles(shared, produce, consume);
#endif
}

}  // namespace ophclip::cuda::hopper
