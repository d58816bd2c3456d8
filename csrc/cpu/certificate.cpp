// SPDX-License-Identifier: Apache-2.0
#include "certificate.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "repeated_words.h"

namespace ophclip {
namespace {

constexpr float kSmallest = 0x1p-40f, kLargest = 0x1p40f;
constexpr double kSlack = 0x1p-16;

float round_up(double x) {
  return std::nextafter(static_cast<float>(x * (1 + 1e-9)), std::numeric_limits<float>::infinity());
}

double gamma(double steps) { return steps * 0x1p-24 / (1 - steps * 0x1p-24); }

// To the nearest, ties to even; denormals become zero, as bfloat16 instructions take them.
uint16_t to_bf16(float x) {
  uint32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7f800000u) == 0) return 0;
  return static_cast<uint16_t>((bits + 0x7fffu + ((bits >> 16) & 1)) >> 16);
}

float from_bf16(uint16_t x) {
  const uint32_t bits = uint32_t{x} << 16;
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

}  // namespace

double norm_of(const float* x, int64_t depth) {
  double sum = 0;
  for (int64_t k = 0; k < depth; ++k) sum += double{x[k]} * x[k];
  return std::sqrt(sum);
}

bool is_scannable(const float* y, int64_t depth) {
  float largest = 0;
  for (int64_t k = 0; k < depth; ++k) largest = std::max(largest, std::fabs(y[k]));
  return largest >= kSmallest && largest <= kLargest;
}

ErrorBound quantise_query(const float* y, int64_t depth, const QuantisedRows& base, double centre_norm,
                          float span, uint16_t* rounded, int16_t* codes) {
  ErrorBound bound;
  if (base.is_int8) bound.scale = span / kLargestCode;
  const float inverse = 1 / bound.scale;
  double offset = 0, quantised = 0, residual = 0;
  for (int64_t k = 0; k < depth; ++k) {
    double value;
    if (base.is_int8) {
      constexpr float kMost = kLargestCode * kMostPasses;
      codes[k] = static_cast<int16_t>(std::clamp(std::nearbyint(y[k] * inverse), -kMost, kMost));
      value = double{bound.scale} * codes[k];
    } else {
      rounded[k] = to_bf16(y[k]);
      value = from_bf16(rounded[k]);
    }
    offset += double{y[k]} * base.centre[k];
    quantised += value * value;
    residual += (y[k] - value) * (y[k] - value);
  }
  const double norm = norm_of(y, depth), chain = gamma(depth) + kSlack;
  const double scan = base.is_int8 ? 0 : 1.02 * gamma(4.0 * depth);
  bound.offset = static_cast<float>(offset);
  bound.residual = round_up(std::sqrt(quantised));
  bound.norm = round_up(std::sqrt(residual) + (chain + scan) * norm);
  bound.constant = round_up(chain * norm * centre_norm);
  return bound;
}

}  // namespace ophclip
