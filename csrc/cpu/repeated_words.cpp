// SPDX-License-Identifier: Apache-2.0
#include "repeated_words.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

namespace ophclip {
namespace {

constexpr int64_t kOutlying = 8;  // coordinates that may be
constexpr float kWorthwhile = 2;  // times the largest of the rest: what the largest must be
constexpr float kMargin =
    1.5f;  // above the next, so that it is the same few words for all queries of a block
constexpr int64_t kAffordable = 4;  // a fourth of the words may be passed again
constexpr int64_t kCodesPerWord = 4;

}  // namespace

float RepeatedWords::span_of(const float* y, int64_t depth) {
  std::vector<float> magnitudes(depth);
  std::transform(y, y + depth, magnitudes.begin(), [](float value) { return std::fabs(value); });
  const float largest = *std::max_element(magnitudes.begin(), magnitudes.end());
  if (depth <= kOutlying) return largest;
  std::vector<float> sorted = magnitudes;
  std::nth_element(sorted.begin(), sorted.begin() + kOutlying, sorted.end(), std::greater<>());
  const float span = std::max(kMargin * sorted[kOutlying], largest / (kMostPasses - 1));
  if (largest < kWorthwhile * span) return largest;
  std::vector<int> again = again_;
  for (int64_t k = 0; k < depth; ++k) {
    int& passes = again[k / kCodesPerWord];
    passes = std::max(passes, static_cast<int>(std::ceil(magnitudes[k] / span * 1.001f)) - 1);
  }
  const int64_t total = std::accumulate(again.begin(), again.end(), int64_t{0});
  if (total > static_cast<int64_t>(again.size()) / kAffordable) return largest;
  again_ = std::move(again);
  return span;
}

std::vector<int64_t> RepeatedWords::list() const {
  std::vector<int64_t> words;
  for (size_t word = 0; word < again_.size(); ++word) words.insert(words.end(), again_[word], word);
  return words;
}

}  // namespace ophclip
