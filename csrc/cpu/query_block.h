// SPDX-License-Identifier: Apache-2.0
//
// Queries interleaved for the tile kernels (see scan.h), cut into tiles of nearly one size: a last tile of
// one or two queries would read a panel for little work.
#pragma once

#include <cstdint>
#include <vector>

#include "scan.h"

namespace ophclip {

class QueryBlock {
 public:
  // `words` of 32 bits hold one row of the base; those in `again` are passed again (repeated_words.h).
  QueryBlock(const TileKernel& kernel, int64_t queries, int64_t words, std::vector<int64_t> again = {});

  // Fills the place of a query, as the kernel of the block takes it.
  void put_floats(int64_t query, const float* y, int64_t depth);
  void put_bf16(int64_t query, const uint16_t* y, int64_t depth);
  void put_codes(int64_t query, const int16_t* y, int64_t depth);
  void interleave();  // once all are there

  // dots[i, 0..32) becomes the inner products of query i with the rows of a panel. The panel's depth is taken
  // in chunks that stay in the first cache while all tiles pass over them; `next` is fetched meanwhile.
  void score(const uint32_t* panel, const uint32_t* next, uint32_t* dots);

 private:
  int64_t first(int64_t tile) const { return queries_ * tile / tiles_; }
  int size(int64_t tile) const { return static_cast<int>(first(tile + 1) - first(tile)); }

  // Calls put(word, part): what a query holds for one word of a row, in `query_words` parts.
  template <typename Put>
  void put(int64_t query, uint32_t start, Put put);

  const TileKernel& kernel_;
  std::vector<int64_t> again_;
  int64_t queries_, words_, all_words_, parts_, tiles_;
  std::vector<uint32_t> start_;        // [queries]
  std::vector<uint32_t> rows_;         // [queries, all words, query_words], until they are interleaved
  std::vector<uint32_t> data_;         // for each tile [all words, its queries, query_words]
  std::vector<uint32_t> panel_again_;  // [words passed again, 32]
};

}  // namespace ophclip
