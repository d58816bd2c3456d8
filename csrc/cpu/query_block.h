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
  // `words` of 32 bits hold one row of the base.
  QueryBlock(const TileKernel& kernel, int64_t queries, int64_t words);

  int64_t tiles() const { return tiles_; }
  int64_t first(int64_t tile) const { return queries_ * tile / tiles_; }
  int size(int64_t tile) const { return static_cast<int>(first(tile + 1) - first(tile)); }
  const uint32_t* data(int64_t tile) const { return data_.data() + first(tile) * stride_; }

  void put_floats(int64_t query, const float* y, int64_t depth);
  void put_bf16(int64_t query, const uint16_t* y, int64_t depth);
  void put_codes(int64_t query, const int8_t* y, int64_t depth);

 private:
  // Calls put(word, part): what a query holds for one word of a row, in `query_words` parts.
  template <typename Put>
  void put(int64_t query, uint32_t start, Put put);

  int64_t queries_, words_, parts_, tiles_, stride_;
  std::vector<uint32_t> data_;
};

}  // namespace ophclip
