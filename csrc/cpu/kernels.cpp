// SPDX-License-Identifier: Apache-2.0
//
// The inner loops in GCC/Clang vector extensions, compiled once with the flags of each instruction set.
//
// `tile` keeps a block of rows x (2 vectors) in registers over the whole depth: 14 x 32 floats with AVX-512
// (28 of 32 registers), 6 x 16 with AVX2 and 6 x 8 with 128-bit vectors (12 of 16). Each loop over
// accumulators is unrolled, because GCC spills an array of vectors that is indexed at run time.
//
// `exp` splits x = n ln 2 + r, |r| <= ln 2 / 2, and takes a polynomial of degree 6 in r: its relative error
// is 2e-7 on [-87, 88], clamped outside. NaN passes through.
#include "kernels.h"

#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "for_rows.h"

#define OPHCLIP_JOIN2(a, b) a##b
#define OPHCLIP_JOIN(a, b) OPHCLIP_JOIN2(a, b)
#define OPHCLIP_ISA_NAMESPACE OPHCLIP_JOIN(isa_, OPHCLIP_ISA)

namespace ophclip {
namespace OPHCLIP_ISA_NAMESPACE {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kMaxRows = 14;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kMaxRows = 6;
#else
constexpr int kLanes = 4, kMaxRows = 6;
#endif
constexpr int kFlush = 1024;  // terms summed in float before they are added to a double

typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t))));

inline Floats load(const float* x) {
  Floats value;
  std::memcpy(&value, x, sizeof value);
  return value;
}

inline void store(float* x, Floats value) { std::memcpy(x, &value, sizeof value); }

// Through integers: 0 + x would be an addition, which -0 forbids to drop.
inline Floats all(float x) {
  int32_t bits;
  std::memcpy(&bits, &x, sizeof bits);
  const Ints lanes = Ints{} + bits;
  Floats value;
  std::memcpy(&value, &lanes, sizeof value);
  return value;
}

// The first `count` lanes of x, the others filled.
inline Floats load_part(const float* x, int64_t count, float fill) {
  float lanes[kLanes];
  for (int i = 0; i < kLanes; ++i) lanes[i] = i < count ? x[i] : fill;
  return load(lanes);
}

#if defined(__AVX512F__)
#define OPHCLIP_VECTOR_REGISTER "v"
#elif defined(__x86_64__)
#define OPHCLIP_VECTOR_REGISTER "x"
#elif defined(__aarch64__)
#define OPHCLIP_VECTOR_REGISTER "w"
#else
#define OPHCLIP_VECTOR_REGISTER "m"
#endif

// Logits, rounded before a shift is subtracted: fused with it, the largest would not cancel its own shift.
inline Floats scaled(Floats x, float factor) {
  Floats product = factor * x;
  asm("" : "+" OPHCLIP_VECTOR_REGISTER(product));
  return product;
}

inline double sum(Floats x) {
  double total = 0;
  for (int i = 0; i < kLanes; ++i) total += x[i];
  return total;
}

inline Floats exp(Floats x) {
  constexpr float kLowest = -87.0f, kHighest = 88.0f,
                  kMagic = 12582912.0f;  // 1.5 * 2^23: rounds to an integer
  x = x < kLowest ? all(kLowest) : x;    // written so that NaN stays
  x = x > kHighest ? all(kHighest) : x;
  const Floats shifted = x * 1.44269504088896341f + kMagic;
  const Floats n = shifted - kMagic;
  const Floats r = (x - n * 0.693359375f) - n * -2.12194440e-4f;
  Floats p = all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  p = p * r * r + r + 1.0f;
  Ints bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  int32_t magic_bits;
  const float magic = kMagic;
  std::memcpy(&magic_bits, &magic, sizeof magic_bits);
  const Ints power = (bits - magic_bits + 127) << 23;
  Floats scale;
  std::memcpy(&scale, &power, sizeof scale);
  return p * scale;
}

template <int kRows>
void tile_rows(int64_t depth, const float* a, int64_t a_stride, int64_t a_step, const float* panel, float* c,
               int64_t c_stride, bool accumulate) {
  for (int column = 0; column < kPanel; column += 2 * kLanes) {
    Floats left[kRows], right[kRows];
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      left[r] = right[r] = Floats{};
      __builtin_prefetch(c + r * c_stride + column, 1);  // far from here if c is large: the sum hides the way
      __builtin_prefetch(c + r * c_stride + column + kLanes, 1);
    }
    const float* b = panel + column;
    const float* ak = a;
    for (int64_t k = 0; k < depth; ++k, b += kPanel, ak += a_step) {
      const Floats b0 = load(b), b1 = load(b + kLanes);
#pragma GCC unroll 16
      for (int r = 0; r < kRows; ++r) {
        const Floats value = all(ak[r * a_stride]);
        left[r] += value * b0;
        right[r] += value * b1;
      }
    }
#pragma GCC unroll 16
    for (int r = 0; r < kRows; ++r) {
      float* out = c + r * c_stride + column;
      store(out, accumulate ? load(out) + left[r] : left[r]);
      store(out + kLanes, accumulate ? load(out + kLanes) + right[r] : right[r]);
    }
  }
}

void tile(int rows, int64_t depth, const void* a, int64_t a_stride, int64_t a_step, const void* panel,
          float* c, int64_t c_stride, bool accumulate) {
  const auto* left = static_cast<const float*>(a);
  const auto* right = static_cast<const float*>(panel);
  for_rows<kMaxRows>(rows, [&](auto count) {
    tile_rows<count>(depth, left, a_stride, a_step, right, c, c_stride, accumulate);
  });
}

// Lanes of a and b in turn: of their first halves, or of their second halves.
template <size_t... kLane>
inline Floats interleave_first(Floats a, Floats b, std::index_sequence<kLane...>) {
  return __builtin_shufflevector(a, b, (kLane / 2 + kLane % 2 * kLanes)...);
}

template <size_t... kLane>
inline Floats interleave_second(Floats a, Floats b, std::index_sequence<kLane...>) {
  return __builtin_shufflevector(a, b, (kLanes / 2 + kLane / 2 + kLane % 2 * kLanes)...);
}

// Row i paired with row i + half, again and again: after log2(kLanes) times rows have become columns.
inline void transpose(Floats (&rows)[kLanes]) {
  constexpr auto kAll = std::make_index_sequence<kLanes>();
#pragma GCC unroll 4
  for (int step = 1; step < kLanes; step *= 2) {
    Floats next[kLanes];
#pragma GCC unroll 8
    for (int i = 0; i < kLanes / 2; ++i) {
      next[2 * i] = interleave_first(rows[i], rows[i + kLanes / 2], kAll);
      next[2 * i + 1] = interleave_second(rows[i], rows[i + kLanes / 2], kAll);
    }
#pragma GCC unroll 16
    for (int i = 0; i < kLanes; ++i) rows[i] = next[i];
  }
}

void pack_transposed(const void* rows, int64_t stride, int64_t count, int64_t depth, void* panel) {
  const auto* from = static_cast<const float*>(rows);
  auto* to = static_cast<float*>(panel);
  for (int64_t j = 0; j < kPanel; j += kLanes) {
    int64_t k = 0;
    for (; j + kLanes <= count && k + kLanes <= depth; k += kLanes) {
      Floats block[kLanes];
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) block[i] = load(from + (j + i) * stride + k);
      transpose(block);
#pragma GCC unroll 16
      for (int i = 0; i < kLanes; ++i) store(to + (k + i) * kPanel + j, block[i]);
    }
    for (int64_t i = j; i < j + kLanes; ++i) {
      for (int64_t left = k; left < depth; ++left) {
        to[left * kPanel + i] = i < count ? from[i * stride + left] : 0.0f;
      }
    }
  }
}

double dot_floats(const float* x, const float* y, int64_t count) {
  double total = 0;
  for (int64_t start = 0; start < count; start += kFlush) {
    const int64_t end = start + kFlush < count ? start + kFlush : count;
    Floats partial = Floats{};
    int64_t k = start;
    for (; k + kLanes <= end; k += kLanes) partial += load(x + k) * load(y + k);
    for (; k < end; ++k) total += static_cast<double>(x[k]) * y[k];
    total += sum(partial);
  }
  return total;
}

double dot(const void* x, const float* y, int64_t count) {
  return dot_floats(static_cast<const float*>(x), y, count);
}

double squared_length(const void* x, int64_t count) {
  const auto* floats = static_cast<const float*>(x);
  return dot_floats(floats, floats, count);
}

double exponentiate(float* x, int64_t count, float factor, float shift, float* columns) {
  double total = 0;
  for (int64_t start = 0; start < count; start += kFlush) {
    const int64_t end = start + kFlush < count ? start + kFlush : count;
    Floats partial = Floats{};
    int64_t j = start;
    for (; j + kLanes <= end; j += kLanes) {
      const Floats value = exp(factor * load(x + j) - shift);
      store(x + j, value);
      if (columns != nullptr) store(columns + j, load(columns + j) + value);
      partial += value;
    }
    if (j < end) {
      const Floats value = exp(factor * load_part(x + j, end - j, 0.0f) - shift);
      for (int64_t i = 0; i < end - j; ++i) {
        x[j + i] = value[i];
        if (columns != nullptr) columns[j + i] += value[i];
        total += value[i];
      }
    }
    total += sum(partial);
  }
  return total;
}

void weigh(const float* x, int64_t count, float row_weight, const float* column_weights, void* words) {
  auto* out = static_cast<float*>(words);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    const Floats weight = column_weights != nullptr ? row_weight + load(column_weights + j) : all(row_weight);
    store(out + j, load(x + j) * weight);
  }
  for (; j < count; ++j) {
    out[j] = x[j] * (column_weights != nullptr ? row_weight + column_weights[j] : row_weight);
  }
}

void weigh_across(const float* x, int64_t, int, int64_t count, const float* row_weights,
                  const float* column_weights, void* words) {
  weigh(x, count, *row_weights, column_weights, words);
}

void pack_across(const void* x, int64_t, int, int64_t count, void* words) {
  std::memcpy(words, x, count * sizeof(float));
}

float max(const float* x, int64_t count, float factor) {
  constexpr float kLowest = -std::numeric_limits<float>::infinity();
  Floats best = all(kLowest);
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    const Floats value = scaled(load(x + j), factor);
    best = value > best ? value : best;
  }
  float result = kLowest;
  for (int i = 0; i < kLanes; ++i) result = best[i] > result ? best[i] : result;
  for (; j < count; ++j) result = factor * x[j] > result ? factor * x[j] : result;
  return result;
}

double sum_exp(const float* x, int64_t count, float factor, float shift) {
  double total = 0;
  for (int64_t start = 0; start < count; start += kFlush) {
    const int64_t end = start + kFlush < count ? start + kFlush : count;
    Floats partial = Floats{};
    int64_t j = start;
    for (; j + kLanes <= end; j += kLanes) partial += exp(scaled(load(x + j), factor) - shift);
    if (j < end) {
      const Floats value = exp(scaled(load_part(x + j, end - j, 0.0f), factor) - shift);
      for (int64_t i = 0; i < end - j; ++i) total += value[i];
    }
    total += sum(partial);
  }
  return total;
}

void max_columns(const float* x, int64_t count, float factor, float* columns) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    const Floats value = scaled(load(x + j), factor), best = load(columns + j);
    store(columns + j, value > best ? value : best);
  }
  for (; j < count; ++j) columns[j] = factor * x[j] > columns[j] ? factor * x[j] : columns[j];
}

void sum_exp_columns(const float* x, int64_t count, float factor, const float* shifts, float* sums) {
  int64_t j = 0;
  for (; j + kLanes <= count; j += kLanes) {
    store(sums + j, load(sums + j) + exp(scaled(load(x + j), factor) - load(shifts + j)));
  }
  if (j < count) {
    const int64_t left = count - j;
    const Floats value =
        exp(scaled(load_part(x + j, left, 0.0f), factor) - load_part(shifts + j, left, 0.0f));
    for (int64_t i = 0; i < left; ++i) sums[j + i] += value[i];
  }
}

double softmax_gradient(float* x, int64_t count, float factor, float row_weight, float row_shift,
                        const float* column_weights, const float* shifts) {
  double total = 0;
  for (int64_t start = 0; start < count; start += kFlush) {
    const int64_t end = start + kFlush < count ? start + kFlush : count;
    Floats partial = Floats{};
    for (int64_t j = start; j < end; j += kLanes) {
      const int64_t left = end - j;
      const bool whole = left >= kLanes;
      const Floats value = whole ? load(x + j) : load_part(x + j, left, 0.0f);
      const Floats logit = scaled(value, factor);
      Floats g = row_weight * exp(logit - row_shift);
      if (column_weights != nullptr) {
        const Floats weight = whole ? load(column_weights + j) : load_part(column_weights + j, left, 0.0f);
        const Floats shift = whole ? load(shifts + j) : load_part(shifts + j, left, 0.0f);
        g += weight * exp(logit - shift);
      }
      if (whole) {
        store(x + j, g);
      } else {
        for (int64_t i = 0; i < left; ++i) x[j + i] = g[i];
      }
      partial += g * value;  // lanes past the end hold value 0
    }
    total += sum(partial);
  }
  return total;
}

}  // namespace

extern const Kernels table;
const Kernels table = {
    {1, tile, weigh, weigh_across, pack_across, dot, squared_length},
    kMaxRows,
    pack_transposed,
    exponentiate,
    max,
    sum_exp,
    max_columns,
    sum_exp_columns,
    softmax_gradient,
};

}  // namespace OPHCLIP_ISA_NAMESPACE
}  // namespace ophclip
