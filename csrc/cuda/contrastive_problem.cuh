// SPDX-License-Identifier: Apache-2.0
//
// What the kernels of the contrastive loss, portable and Hopper's, know of the problem.
#pragma once

#include "cuda_ops.h"
#include "device.cuh"

namespace ophclip::cuda {

// Positives of each row: compressed rows, or column i + offset alone.
struct Positives {
  const int64_t* indptr;
  const int64_t* indices;
  const float* weights;
  int64_t count;
  int64_t offset;

  OPHCLIP_DEVICE int64_t clamped(int64_t entry) const {
    return entry < 0 ? 0 : entry > count ? count : entry;
  }
  OPHCLIP_DEVICE int64_t begin(int64_t row) const { return indptr ? clamped(indptr[row]) : row; }
  OPHCLIP_DEVICE int64_t end(int64_t row) const { return indptr ? clamped(indptr[row + 1]) : row + 1; }
  OPHCLIP_DEVICE int64_t column(int64_t entry) const { return indptr ? indices[entry] : entry + offset; }
  OPHCLIP_DEVICE float weight(int64_t entry) const { return weights ? weights[entry] : 1.0f; }
};

struct Saved {
  float2* rows;           // [M] (max, log sum)
  float2* columns;        // [N] (max, log sum), symmetric only, else null
  float2* row_positives;  // [M] kLogSum: (max, log weighted sum) of the positives; kMeanLog: (1 / sum of
                          // weights, 0)
  float* dots;            // [P] <a, b> of each positive; NaN where its column does not exist
};

struct LogitBlock {
  int64_t row0, column0, rows, columns;  // of the whole logits; a kernel's operands start at row0 and column0
  int row_tiles, column_tiles;
};

// What a positive takes from G: 1, its softmax among the positives, or its share of the weights.
OPHCLIP_DEVICE float positive_grad(const Positives& positives, const Saved& saved, Reduction reduction,
                                   float scale, int64_t row, int64_t entry) {
  if (saved.columns) return 1.0f;
  const float weight = positives.weight(entry);
  const float2 stats = saved.row_positives[row];
  if (reduction == Reduction::kMeanLog) return weight * stats.x;
  return weight != 0.0f ? weight * expf((scale * saved.dots[entry] - stats.x) - stats.y) : 0.0f;
}

template <typename T>
constexpr float kGradUnit = 1.0f;  // G is stored times this
template <>
constexpr float kGradUnit<__half> = 16384.0f;

}  // namespace ophclip::cuda
