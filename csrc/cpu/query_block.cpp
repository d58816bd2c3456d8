// SPDX-License-Identifier: Apache-2.0
#include "query_block.h"

#include <algorithm>
#include <bit>
#include <cstring>

#include "multiply.h"
#include "repeated_words.h"

namespace ophclip {
namespace {

constexpr int64_t kWordsAtOnce = 192;  // of a panel: 24 KiB
constexpr int64_t kNever = int64_t{1} << 40;
constexpr int64_t kWorthFetching =
    4;  // tiles; with fewer, the panels pass as one stream, which needs no help

}  // namespace

QueryBlock::QueryBlock(const TileKernel& kernel, int64_t queries, int64_t words, std::vector<int64_t> again)
    : kernel_(kernel),
      again_(std::move(again)),
      queries_(queries),
      words_(words),
      all_words_(words + static_cast<int64_t>(again_.size())),
      parts_(kernel.query_words),
      tiles_(ceil_div(queries, kernel.max_queries)),
      start_(queries),
      rows_(queries * all_words_ * kernel.query_words),
      panel_again_(again_.size() * kPanel) {}

void QueryBlock::score(const uint32_t* panel, const uint32_t* next, uint32_t* dots) {
  const int64_t chunks = ceil_div(words_, kWordsAtOnce), calls = chunks * tiles_;
  // All calls together pass calls * words / chunks = tiles * words words, and are to fetch 2 words lines.
  const int64_t lines = words_ * kPanel / kLineWords;
  const int64_t fetch_every =
      tiles_ < kWorthFetching ? kNever
                              : static_cast<int64_t>(std::bit_floor<uint64_t>(tiles_ * kLineWords / kPanel));
  for (int64_t chunk = 0; chunk < chunks; ++chunk) {
    const int64_t word = words_ * chunk / chunks, end = words_ * (chunk + 1) / chunks;
    for (int64_t tile = 0; tile < tiles_; ++tile) {
      const int64_t line = lines * (chunk * tiles_ + tile) / calls;
      const uint32_t* query = data_.data() + (first(tile) * all_words_ + word * size(tile)) * parts_;
      kernel_.tile(size(tile), end - word, chunk == 0 ? start_.data() + first(tile) : nullptr, query,
                   panel + word * kPanel, next + line * kLineWords, fetch_every, dots + first(tile) * kPanel);
    }
  }
  if (again_.empty()) return;
  for (size_t i = 0; i < again_.size(); ++i) {
    std::memcpy(panel_again_.data() + i * kPanel, panel + again_[i] * kPanel, kPanel * sizeof(uint32_t));
  }
  for (int64_t tile = 0; tile < tiles_; ++tile) {
    const uint32_t* query = data_.data() + (first(tile) * all_words_ + words_ * size(tile)) * parts_;
    kernel_.tile(size(tile), all_words_ - words_, nullptr, query, panel_again_.data(), next, kNever,
                 dots + first(tile) * kPanel);
  }
}

template <typename Put>
void QueryBlock::put(int64_t query, uint32_t start, Put put) {
  start_[query] = start;
  uint32_t* to = rows_.data() + query * all_words_ * parts_;
  for (int64_t word = 0; word < all_words_; ++word, to += parts_) {
    for (int64_t part = 0; part < parts_; ++part) to[part] = put(word, part);
  }
}

void QueryBlock::interleave() {
  data_.resize(rows_.size());
  uint32_t* to = data_.data();
  for (int64_t tile = 0; tile < tiles_; ++tile) {
    for (int64_t word = 0; word < all_words_; ++word) {
      for (int64_t query = first(tile); query < first(tile + 1); ++query) {
        const uint32_t* from = rows_.data() + (query * all_words_ + word) * parts_;
        for (int64_t part = 0; part < parts_; ++part) *to++ = from[part];
      }
    }
  }
  rows_ = {};
}

void QueryBlock::put_floats(int64_t query, const float* y, int64_t) {
  put(query, 0, [&](int64_t word, int64_t) {
    uint32_t bits;
    std::memcpy(&bits, y + word, sizeof bits);
    return bits;
  });
}

// Whole words for a kernel that multiplies bfloat16, else the two of a word as floats.
void QueryBlock::put_bf16(int64_t query, const uint16_t* y, int64_t depth) {
  const auto at = [&](int64_t k) { return k < depth ? uint32_t{y[k]} : 0u; };
  put(query, 0, [&](int64_t word, int64_t part) {
    if (parts_ == 2) return at(2 * word + part) << 16;
    return at(2 * word) | at(2 * word + 1) << 16;
  });
}

// Whole words for a kernel that multiplies bytes, else the even and the odd codes as pairs of int16.
void QueryBlock::put_codes(int64_t query, const int16_t* y, int64_t depth) {
  int32_t sum = 0;
  for (int64_t k = 0; k < depth; ++k) sum += y[k];
  // What a pass takes of a code: the first 127 of it, the next 127 and so on.
  const auto at = [&](int64_t k, int pass) {
    const int code = k < depth ? y[k] : 0, taken = kLargestCode * pass;
    return std::clamp(code > 0 ? std::max(code - taken, 0) : std::min(code + taken, 0), -kLargestCode,
                      kLargestCode);
  };
  int pass = 0;
  put(query, static_cast<uint32_t>(-128 * sum), [&](int64_t place, int64_t part) {
    const int64_t extra = place - words_, word = extra < 0 ? place : again_[extra];
    if (part == 0) pass = extra < 0 ? 0 : extra > 0 && again_[extra - 1] == word ? pass + 1 : 1;
    uint32_t bits = 0;
    if (parts_ == 2) {
      for (int i = 0; i < 2; ++i) bits |= (at(4 * word + 2 * i + part, pass) & 0xffffu) << (16 * i);
    } else {
      for (int i = 0; i < 4; ++i) bits |= (at(4 * word + i, pass) & 0xffu) << (8 * i);
    }
    return bits;
  });
}

}  // namespace ophclip
