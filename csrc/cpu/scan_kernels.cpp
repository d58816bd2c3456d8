// SPDX-License-Identifier: Apache-2.0
//
// The inner loops of the search, compiled once with the flags of each instruction set.
//
// Mathematics: a tile is R x 32 inner products of R interleaved queries with a panel of 32 rows.
// Tiling: its R x 2 vectors of sums stay in registers over the whole depth: 14 x 32 with AVX-512 (28 of 32
//   registers), 6 x 16 with AVX2, 6 x 8 with 128-bit vectors; fewer where a word of the base must be split.
//   Every loop over them is unrolled, because GCC spills an array of vectors that is indexed at run time.
// Memory: one word of each row and of each query a step, both read as one stream; the panel stays in the
//   first or second cache while the blocks of queries pass over it.
// Numbers: float sums are one chain in order of the depth, starting at 0, so that every row, place and
//   thread gives the same bits. Codes are summed exactly in int32: rows hold c + 128 as unsigned bytes, and
//   `start` holds -128 sum(query). Without VNNI the bytes are split into pairs of int16, whose products
//   cannot saturate.
#include <cstring>

#include "scan.h"

#if defined(__SSE2__)
#include <immintrin.h>
#endif

#define OPHCLIP_JOIN2(a, b) a##b
#define OPHCLIP_JOIN(a, b) OPHCLIP_JOIN2(a, b)
#define OPHCLIP_ISA_NAMESPACE OPHCLIP_JOIN(scan_, OPHCLIP_ISA)

namespace ophclip {
namespace OPHCLIP_ISA_NAMESPACE {
namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kWhole = 14, kSplit = 12;
#elif defined(__AVX2__)
constexpr int kLanes = 8, kWhole = 6, kSplit = 4;
#else
constexpr int kLanes = 4, kWhole = 6, kSplit = 4;
#endif

typedef float Floats __attribute__((vector_size(kLanes * sizeof(float))));
typedef int32_t Ints __attribute__((vector_size(kLanes * sizeof(int32_t))));
typedef uint32_t Words __attribute__((vector_size(kLanes * sizeof(uint32_t))));

template <typename To, typename From>
inline To as(const From& from) {
  static_assert(sizeof(To) == sizeof(From));
  To to;
  std::memcpy(&to, &from, sizeof to);
  return to;
}

template <typename Vector>
inline Vector load(const void* x) {
  Vector value;
  std::memcpy(&value, x, sizeof value);
  return value;
}

inline Words all(uint32_t word) { return Words{} + word; }
// Through integers: 0 + x is not x for a float -0, so GCC would add for each one.
inline Floats all_floats(uint32_t word) { return as<Floats>(all(word)); }

struct Fp32 {
  using Sums = Floats;
  using Row = Floats;
  static constexpr int kQueries = kWhole, kQueryWords = 1;
  static Row split(Words words) { return as<Floats>(words); }
  static void add(Sums& sums, const uint32_t* query, Row row) { sums += all_floats(*query) * row; }
};

#if defined(__AVX512BF16__)
struct Bf16 {
  using Sums = Floats;
  using Row = Words;
  static constexpr int kQueries = kWhole, kQueryWords = 1;
  static Row split(Words words) { return words; }
  static void add(Sums& sums, const uint32_t* query, Row row) {
    sums = (Floats)_mm512_dpbf16_ps((__m512)sums, (__m512bh)all(*query), (__m512bh)row);
  }
};
#else
struct Bf16 {
  using Sums = Floats;
  struct Row {
    Floats low, high;
  };
  static constexpr int kQueries = kSplit, kQueryWords = 2;
  static Row split(Words words) { return {as<Floats>(words << 16), as<Floats>(words & 0xffff0000u)}; }
  static void add(Sums& sums, const uint32_t* query, const Row& row) {
    sums += all_floats(query[0]) * row.low;
    sums += all_floats(query[1]) * row.high;
  }
};
#endif

#if defined(__AVX512VNNI__)
struct Int8 {
  using Sums = Ints;
  using Row = Words;
  static constexpr int kQueries = kWhole, kQueryWords = 1;
  static Row split(Words words) { return words; }
  static void add(Sums& sums, const uint32_t* query, Row row) {
    sums = (Ints)_mm512_dpbusd_epi32((__m512i)sums, (__m512i)row, (__m512i)all(*query));
  }
};
#else
// Sums of the products of two pairs of int16.
inline Ints multiply_pairs(Words x, Words y) {
#if defined(__AVX512BW__)
  return (Ints)_mm512_madd_epi16((__m512i)x, (__m512i)y);
#elif defined(__AVX2__)
  return (Ints)_mm256_madd_epi16((__m256i)x, (__m256i)y);
#elif defined(__SSE2__)
  return (Ints)_mm_madd_epi16((__m128i)x, (__m128i)y);
#else
  const Ints a = as<Ints>(x), b = as<Ints>(y);
  return ((a << 16) >> 16) * ((b << 16) >> 16) + (a >> 16) * (b >> 16);
#endif
}

struct Int8 {
  using Sums = Ints;
  struct Row {
    Words even, odd;
  };
  static constexpr int kQueries = kSplit, kQueryWords = 2;
  static Row split(Words words) { return {words & 0x00ff00ffu, (words >> 8) & 0x00ff00ffu}; }
  static void add(Sums& sums, const uint32_t* query, const Row& row) {
    sums += multiply_pairs(row.even, all(query[0]));
    sums += multiply_pairs(row.odd, all(query[1]));
  }
};
#endif

template <typename Format, int kQueries>
void tile_of(int64_t words, const uint32_t* start, const uint32_t* query, const uint32_t* panel,
             const uint32_t* fetch, int64_t fetch_every, uint32_t* out) {
  using Sums = typename Format::Sums;
  for (int column = 0; column < kPanel; column += 2 * kLanes) {
    Sums left[kQueries], right[kQueries];
#pragma GCC unroll 16
    for (int r = 0; r < kQueries; ++r) {
      const uint32_t* from = out + r * kPanel + column;
      left[r] = start != nullptr ? as<Sums>(all(start[r])) : load<Sums>(from);
      right[r] = start != nullptr ? left[r] : load<Sums>(from + kLanes);
    }
    const uint32_t *y = query, *row = panel + column;
    for (int64_t word = 0; word < words; ++word) {
      if ((word & (fetch_every - 1)) == 0) {
        __builtin_prefetch(fetch, 0, 2);
        fetch += kLineWords;
      }
      const auto row0 = Format::split(load<Words>(row)), row1 = Format::split(load<Words>(row + kLanes));
#pragma GCC unroll 16
      for (int r = 0; r < kQueries; ++r) {
        Format::add(left[r], y + r * Format::kQueryWords, row0);
        Format::add(right[r], y + r * Format::kQueryWords, row1);
      }
      y += kQueries * Format::kQueryWords;
      row += kPanel;
    }
    uint32_t* to = out + column;
#pragma GCC unroll 16
    for (int r = 0; r < kQueries; ++r) {
      std::memcpy(to + r * kPanel, &left[r], sizeof left[r]);
      std::memcpy(to + r * kPanel + kLanes, &right[r], sizeof right[r]);
    }
  }
}

template <typename Format, int kQueries>
void tile(int queries, int64_t words, const uint32_t* start, const uint32_t* query, const uint32_t* panel,
          const uint32_t* fetch, int64_t fetch_every, uint32_t* out) {
  if (queries == kQueries) {
    return tile_of<Format, kQueries>(words, start, query, panel, fetch, fetch_every, out);
  }
  if constexpr (kQueries > 1) {
    tile<Format, kQueries - 1>(queries, words, start, query, panel, fetch, fetch_every, out);
  }
}

template <typename Format>
constexpr TileKernel kernel_of() {
  return {Format::kQueries, Format::kQueryWords, tile<Format, Format::kQueries>};
}

inline uint32_t bits_of(Floats x, Floats limit) {
#if defined(__AVX512F__)
  return _mm512_cmp_ps_mask((__m512)x, (__m512)limit, _CMP_GE_OQ);
#elif defined(__AVX2__)
  return static_cast<uint32_t>(_mm256_movemask_ps(_mm256_cmp_ps((__m256)x, (__m256)limit, _CMP_GE_OQ)));
#else
  uint32_t bits = 0;
  for (int i = 0; i < kLanes; ++i) bits |= static_cast<uint32_t>(x[i] >= limit[i]) << i;
  return bits;
#endif
}

float largest(const float* x) {
  Floats best = load<Floats>(x);
  for (int j = kLanes; j < kPanel; j += kLanes) {
    const Floats value = load<Floats>(x + j);
    best = value > best ? value : best;
  }
  float result = best[0];
  for (int i = 1; i < kLanes; ++i) result = best[i] > result ? best[i] : result;
  return result;
}

void limits(int64_t queries, const float* reach, const float* residual, const float* norm,
            const float* residuals, const float* norms, float* limits) {
  const float most_residual = largest(residuals), most_norm = largest(norms);
  for (int64_t r = 0; r < queries; ++r) {
    limits[r] = reach[r] - (residual[r] * most_residual + norm[r] * most_norm);
  }
}

template <typename Dots>
void reach(int64_t queries, const uint32_t* dots, const float* scales, const float* limits, uint32_t* masks) {
  for (int64_t r = 0; r < queries; ++r) {
    const Floats limit = Floats{} + limits[r];
    uint32_t mask = 0;
#pragma GCC unroll 8
    for (int j = 0; j < kPanel; j += kLanes) {
      const Floats dot = __builtin_convertvector(load<Dots>(dots + r * kPanel + j), Floats);
      mask |= bits_of(dot * load<Floats>(scales + j), limit) << j;
    }
    masks[r] = mask;
  }
}

// One link of the chain of the fp32 tile; written out, because GCC would take whole vectors of products apart
// from the sums.
inline float add_product(float sum, float x, float y) {
#if defined(__FP_FAST_FMAF)
  return __builtin_fmaf(x, y, sum);
#else
  return sum + x * y;
#endif
}

void rescore(int64_t depth, const float* query, const float* const* rows, const float* const* next,
             float* scores) {
  const float *x0 = rows[0], *x1 = rows[1], *x2 = rows[2], *x3 = rows[3];
  const float *x4 = rows[4], *x5 = rows[5], *x6 = rows[6], *x7 = rows[7];
  float s0 = 0, s1 = 0, s2 = 0, s3 = 0, s4 = 0, s5 = 0, s6 = 0, s7 = 0;
  for (int64_t first = 0; first < depth; first += kLineWords) {
    for (int i = 0; i < kRescored; ++i) __builtin_prefetch(next[i] + first);
    const int64_t end = first + kLineWords < depth ? first + kLineWords : depth;
    for (int64_t k = first; k < end; ++k) {
      const float y = query[k];
      s0 = add_product(s0, y, x0[k]), s1 = add_product(s1, y, x1[k]);
      s2 = add_product(s2, y, x2[k]), s3 = add_product(s3, y, x3[k]);
      s4 = add_product(s4, y, x4[k]), s5 = add_product(s5, y, x5[k]);
      s6 = add_product(s6, y, x6[k]), s7 = add_product(s7, y, x7[k]);
    }
  }
  const float sums[kRescored] = {s0, s1, s2, s3, s4, s5, s6, s7};
  std::memcpy(scores, sums, sizeof sums);
}

}  // namespace

extern const ScanKernels table;
const ScanKernels table = {
    kernel_of<Fp32>(), kernel_of<Bf16>(), kernel_of<Int8>(), limits, reach<Floats>, reach<Ints>, rescore};

}  // namespace OPHCLIP_ISA_NAMESPACE
}  // namespace ophclip
