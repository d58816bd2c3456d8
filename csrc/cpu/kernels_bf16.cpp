// SPDX-License-Identifier: Apache-2.0
//
// Words of two bfloat16, for CPUs with AVX512-BF16: products of pairs are summed into float32 lanes, twice
// the rate of float32. The tile is the one of kernels.cpp, 14 x 32. Floats are rounded to nearest even; the
// instructions take subnormal numbers as zero, which for weights of a loss is below every other error.
#include <immintrin.h>

#include <cstring>

#include "for_rows.h"
#include "kernels.h"

namespace ophclip {
namespace isa_avx512bf16 {
namespace {

constexpr int kLanes = 16, kMaxRows = 14;
constexpr int64_t kFlush = 1024;  // terms summed in float before they are added to a double

__mmask16 first_lanes(int64_t count) {
  return count >= kLanes ? 0xffff : static_cast<__mmask16>((1u << count) - 1);
}

template <int kRows>
void tile_rows(int64_t words, const int32_t* a, int64_t a_stride, int64_t a_step, const int32_t* panel,
               float* c, int64_t c_stride, bool accumulate) {
  __m512 left[kRows], right[kRows];
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    left[r] = right[r] = _mm512_setzero_ps();
    __builtin_prefetch(c + r * c_stride, 1);
    __builtin_prefetch(c + r * c_stride + kLanes, 1);
  }
  for (int64_t k = 0; k < words; ++k, panel += kPanel, a += a_step) {
    const auto b0 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel));
    const auto b1 = reinterpret_cast<__m512bh>(_mm512_loadu_si512(panel + kLanes));
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      const auto value = reinterpret_cast<__m512bh>(_mm512_set1_epi32(a[r * a_stride]));
      left[r] = _mm512_dpbf16_ps(left[r], value, b0);
      right[r] = _mm512_dpbf16_ps(right[r], value, b1);
    }
  }
#pragma GCC unroll 16
  for (int r = 0; r < kRows; ++r) {
    float* out = c + r * c_stride;
    if (accumulate) {
      left[r] = _mm512_add_ps(left[r], _mm512_loadu_ps(out));
      right[r] = _mm512_add_ps(right[r], _mm512_loadu_ps(out + kLanes));
    }
    _mm512_storeu_ps(out, left[r]);
    _mm512_storeu_ps(out + kLanes, right[r]);
  }
}

void tile(int rows, int64_t words, const void* a, int64_t a_stride, int64_t a_step, const void* panel,
          float* c, int64_t c_stride, bool accumulate) {
  const auto* left = static_cast<const int32_t*>(a);
  const auto* right = static_cast<const int32_t*>(panel);
  for_rows<kMaxRows>(rows, [&](auto count) {
    tile_rows<count>(words, left, a_stride, a_step, right, c, c_stride, accumulate);
  });
}

// The first `count` of 16 weighted entries, rounded; zero past them.
__m256i weighted(const float* x, int64_t count, float row_weight, const float* column_weights) {
  const __mmask16 mask = first_lanes(count);
  __m512 weight = _mm512_set1_ps(row_weight);
  if (column_weights != nullptr) {
    weight = _mm512_add_ps(weight, _mm512_maskz_loadu_ps(mask, column_weights));
  }
  return reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(_mm512_mul_ps(_mm512_maskz_loadu_ps(mask, x), weight)));
}

__m512i words_of(__m256i low, __m256i high) {
  return _mm512_or_si512(_mm512_cvtepu16_epi32(low), _mm512_slli_epi32(_mm512_cvtepu16_epi32(high), 16));
}

void weigh(const float* x, int64_t count, float row_weight, const float* column_weights, void* words) {
  auto* out = static_cast<uint16_t*>(words);
  const int64_t filled = (count + 1) / 2 * 2;
  for (int64_t j = 0; j < count; j += kLanes) {
    const __m256i values =
        weighted(x + j, count - j, row_weight, column_weights == nullptr ? nullptr : column_weights + j);
    _mm256_mask_storeu_epi16(out + j, first_lanes(filled - j), values);
  }
}

void weigh_across(const float* x, int64_t stride, int rows, int64_t count, const float* row_weights,
                  const float* column_weights, void* words) {
  auto* out = static_cast<int32_t*>(words);
  for (int64_t j = 0; j < count; j += kLanes) {
    const float* columns = column_weights == nullptr ? nullptr : column_weights + j;
    const __m256i low = weighted(x + j, count - j, row_weights[0], columns);
    const __m256i high =
        rows > 1 ? weighted(x + stride + j, count - j, row_weights[1], columns) : _mm256_setzero_si256();
    _mm512_mask_storeu_epi32(out + j, first_lanes(count - j), words_of(low, high));
  }
}

void pack_across(const void* x, int64_t stride, int rows, int64_t count, void* words) {
  const auto* from = static_cast<const uint16_t*>(x);
  auto* out = static_cast<int32_t*>(words);
  for (int64_t j = 0; j < count; j += kLanes) {
    const __mmask16 mask = first_lanes(count - j);
    const __m256i low = _mm256_maskz_loadu_epi16(mask, from + j);
    const __m256i high =
        rows > 1 ? _mm256_maskz_loadu_epi16(mask, from + stride + j) : _mm256_setzero_si256();
    _mm512_mask_storeu_epi32(out + j, mask, words_of(low, high));
  }
}

// 16 elements as floats; zero past the first `count`.
__m512 widened(const uint16_t* x, int64_t count) {
  const __m256i halves = _mm256_maskz_loadu_epi16(first_lanes(count), x);
  return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
}

// The sum of each(k, lanes left) over steps of 16 lanes, flushed to double.
template <typename Each>
double flushed_sum(int64_t count, const Each& each) {
  double total = 0;
  for (int64_t start = 0; start < count; start += kFlush) {
    const int64_t end = start + kFlush < count ? start + kFlush : count;
    __m512 partial = _mm512_setzero_ps();
    for (int64_t k = start; k < end; k += kLanes) partial = _mm512_add_ps(partial, each(k, end - k));
    total += _mm512_reduce_add_ps(partial);
  }
  return total;
}

double dot(const void* x, const float* y, int64_t count) {
  const auto* halves = static_cast<const uint16_t*>(x);
  return flushed_sum(count, [&](int64_t k, int64_t left) {
    return _mm512_mul_ps(widened(halves + k, left), _mm512_maskz_loadu_ps(first_lanes(left), y + k));
  });
}

double squared_length(const void* x, int64_t count) {
  const auto* halves = static_cast<const uint16_t*>(x);
  return flushed_sum(count, [&](int64_t k, int64_t left) {
    const __m512 value = widened(halves + k, left);
    return _mm512_mul_ps(value, value);
  });
}

}  // namespace

extern const WordKernels table;
const WordKernels table = {2, tile, weigh, weigh_across, pack_across, dot, squared_length};

}  // namespace isa_avx512bf16
}  // namespace ophclip
