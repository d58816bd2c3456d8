// SPDX-License-Identifier: Apache-2.0
//
// Queries with a few outlying coordinates, as embeddings of one model have them. Codes that span the largest
// would leave the others a few steps each. Instead they span the rest, the outlying ones get codes beyond 8
// bits, and a scan passes the words of those coordinates again, once for each further 127.
#pragma once

#include <cstdint>
#include <vector>

namespace ophclip {

constexpr int kLargestCode = 127;
constexpr int kMostPasses = 32;  // of a word

class RepeatedWords {
 public:
  explicit RepeatedWords(int64_t words) : again_(words) {}

  // Returns the magnitude of code 127 for a query, and sees to it that its words are passed often enough.
  float span_of(const float* y, int64_t depth);

  // The words to pass again, rising; a word may stand there several times.
  std::vector<int64_t> list() const;

 private:
  std::vector<int> again_;  // for each word
};

}  // namespace ophclip
