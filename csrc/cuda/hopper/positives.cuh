// SPDX-License-Identifier: Apache-2.0
//
// Positives met in the registers of a tile: each is handled by the thread that holds its sum.
#pragma once

#include "../contrastive_problem.cuh"
#include "pipeline.cuh"

namespace ophclip::cuda::hopper {

// A tile's place in the whole logits, and how much of it exists.
struct TilePlace {
  int64_t row0, column0;  // of the whole logits
  int rows, columns;      // limits within the tile

  OPHCLIP_DEVICE TilePlace(const LogitBlock& block, TileIndex tile)
      : row0(block.row0 + int64_t{tile.row} * kRows),
        column0(block.column0 + int64_t{tile.column} * kColumns),
        rows(count_within(int64_t{tile.row} * kRows, block.rows, kRows)),
        columns(count_within(int64_t{tile.column} * kColumns, block.columns, kColumns)) {}
  OPHCLIP_DEVICE bool whole() const { return rows == kRows && columns == kColumns; }
};

// Has any of the warp's rows a positive in the tile? The four lanes of a row share its entries.
OPHCLIP_DEVICE bool warp_has_positive(const Positives& positives, const TilePlace& place,
                                      const Fragment& fragment) {
  bool hit = false;
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    if (fragment.row(h) >= place.rows) continue;
    const int64_t row = place.row0 + fragment.row(h), end = positives.end(row);
    for (int64_t entry = positives.begin(row) + lane_id() % 4; entry < end; entry += 4) {
      const int64_t column = positives.column(entry) - place.column0;
      hit |= column >= 0 && column < kColumns;
    }
  }
  return __ballot_sync(kAllLanes, hit) != 0;
}

// Calls visit(index, dot, row, entry) for every positive whose dot product this thread holds in its row h, at
// dots[index / 2 * 4 + 2 * h + index % 2].
template <typename Visit>
OPHCLIP_DEVICE void visit_positives(const float (&dots)[128], int h, const Positives& positives,
                                    const TilePlace& place, const Fragment& fragment, Visit visit) {
  if (fragment.row(h) >= place.rows) return;
  const int64_t row = place.row0 + fragment.row(h), end = positives.end(row);
  for (int64_t entry = positives.begin(row); entry < end; ++entry) {
    const int64_t column = positives.column(entry) - place.column0;
    if (column < 0 || column >= place.columns || column % 8 / 2 != lane_id() % 4) continue;
    const int index = static_cast<int>(column) / 8 * 2 + static_cast<int>(column) % 2;
    float dot = 0.0f;
#pragma unroll
    for (int i = 0; i < 64; ++i) dot = i == index ? dots[i / 2 * 4 + h * 2 + i % 2] : dot;
    visit(index, dot, row, entry);
  }
}

}  // namespace ophclip::cuda::hopper
