// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of the search, compiled once for each instruction set; `scan_kernels()` gives those of this
// CPU. A base lies in panels of 32 rows: [words, 32] of 32-bit words, of which a word holds a float, two
// bfloat16 or four codes of 8 bits of one row. Queries lie in tiles of up to `max_queries`, interleaved
// [words, queries, query_words], so that a kernel reads them as one stream.
#pragma once

#include <cstdint>

#include "kernels.h"

namespace ophclip {

constexpr int kRescored = 8;        // rows of one `rescore` call
constexpr int64_t kLineWords = 16;  // 32-bit words of a cache line

struct TileKernel {
  int max_queries;  // of one call
  int query_words;  // words of a query for one word of a row
  // out[r, 0..32) = start[r] + <query r, row j>, for r < queries <= max_queries, summed in order of the
  // words. Without `start`, the sums go on from `out`. Meanwhile cache lines from `fetch` on are fetched, one
  // every `fetch_every` words, a power of two.
  void (*tile)(int queries, int64_t words, const uint32_t* start, const uint32_t* query,
               const uint32_t* panel, const uint32_t* fetch, int64_t fetch_every, uint32_t* out);
};

struct ScanKernels {
  TileKernel fp32, bf16, int8;  // floats, floats and int32 come out

  // limits[r] = reach[r] - residual[r] * max_j residuals[j] - norm[r] * max_j norms[j], for j < 32.
  void (*limits)(int64_t queries, const float* reach, const float* residual, const float* norm,
                 const float* residuals, const float* norms, float* limits);

  // Bit j of masks[r] tells whether scales[j] * dots[r, j] >= limits[r], for j < 32.
  void (*reach_floats)(int64_t queries, const uint32_t* dots, const float* scales, const float* limits,
                       uint32_t* masks);
  void (*reach_ints)(int64_t queries, const uint32_t* dots, const float* scales, const float* limits,
                     uint32_t* masks);

  // scores[i] = <query, rows[i]>, i < 8, by the very chain of operations of the fp32 tile. The rows of `next`
  // are fetched meanwhile.
  void (*rescore)(int64_t depth, const float* query, const float* const* rows, const float* const* next,
                  float* scores);
};

const ScanKernels& scan_kernels();

}  // namespace ophclip
