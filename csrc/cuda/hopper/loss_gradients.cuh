// SPDX-License-Identifier: Apache-2.0
//
// Backward of the contrastive loss on Hopper, for a block of logits: G = dL/ds * M in the input type, then
// both products with G from one launch.
//
// G: e(s) (u_i + v_j) with e(s) = exp(s - shift), u_i = share exp(shift - lse_i) and v_j likewise, shift the
//   smallest log-sum-exp of the problem: one exponential a logit. It holds while all log-sum-exps lie within
//   60 of one another (no factor leaves the range of floats); otherwise each logit takes two exponentials.
//   The positives are subtracted in float before rounding. Rows leave in runs of 16 bytes a thread.
// Products: dA rows: G (depth-major) times b (columns contiguous); dB rows: G transposed (rows contiguous)
//   times a. Tiles of both go to the blocks in one list, so the smaller product does not leave a tail.
// Traffic: G is written once and read ceil(D / 256) times by each product, from L2 while it fits.
#pragma once

#include "../stats.cuh"
#include "positives.cuh"

namespace ophclip::cuda::hopper {

constexpr int kFactorThreads = 1024;
constexpr float kWidestRange = 60.0f;
constexpr size_t kGradSharedBytes = kSharedBytes + kGroups * (kColumns * sizeof(float) + 4 * sizeof(double));
constexpr int kScaleSums = kGroups * 4;  // sums of G * dot of a thread block: one a warp

// What G needs of each row and column. One exponential: u_i and v_j; two: the log-sum-exps, +inf for none.
struct Factors {
  float *rows, *columns;  // [M], [N]
  float* mode;            // [2] shift; 1 for one exponential, 0 for two
};

OPHCLIP_DEVICE float factor_of(float lse, bool exists, float shift, bool single, float share) {
  if (single) return exists ? share * expf(shift - lse) : 0.0f;
  return exists ? lse : kInfinity;
}

__global__ void __launch_bounds__(kFactorThreads)
    grad_factors_kernel(Saved saved, int64_t m, int64_t n, int64_t offset, Factors factors) {
  __shared__ float low[kFactorThreads], high[kFactorThreads];
  float least = kInfinity, most = -kInfinity;
  for (int64_t i = threadIdx.x; i < m; i += kFactorThreads) {
    const float2 row = saved.rows[i], column = saved.columns ? saved.columns[i + offset] : row;
    const float of_row = row.x + row.y, of_column = column.x + column.y;
    least = fminf(least, fminf(of_row, of_column));
    most = fmaxf(most, fmaxf(of_row, of_column));
  }
  low[threadIdx.x] = least;
  high[threadIdx.x] = most;
  for (int width = kFactorThreads / 2; width > 0; width /= 2) {
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < width) {
      low[threadIdx.x] = fminf(low[threadIdx.x], low[threadIdx.x + width]);
      high[threadIdx.x] = fmaxf(high[threadIdx.x], high[threadIdx.x + width]);
    }
  }
  __syncthreads();
  const float shift = low[0], share = saved.columns ? 0.5f : 1.0f;
  const bool single = high[0] - shift <= kWidestRange;
  if (threadIdx.x == 0) {
    factors.mode[0] = shift;
    factors.mode[1] = single ? 1.0f : 0.0f;
  }
  for (int64_t i = threadIdx.x; i < m; i += kFactorThreads)
    factors.rows[i] = factor_of(saved.rows[i].x + saved.rows[i].y, true, shift, single, share);
  for (int64_t j = threadIdx.x; j < n; j += kFactorThreads) {
    const bool matched = saved.columns && j >= offset && j < offset + m;
    const float lse = matched ? saved.columns[j].x + saved.columns[j].y : 0.0f;
    factors.columns[j] = factor_of(lse, matched, shift, single, share);
  }
}

struct Softmax {
  float scale, shift, share;
  float row[2];          // this thread's row factors
  const float* columns;  // [256] the tile's column factors, shared memory
};

template <bool kSingle>
OPHCLIP_DEVICE float softmax_part(const Softmax& softmax, float dot, float of_row, float of_column) {
  const float logit = softmax.scale * dot;
  if (kSingle) return exp_fast(logit - softmax.shift) * (of_row + of_column);
  return softmax.share * (exp_fast(logit - of_row) + exp_fast(logit - of_column));
}

template <typename T>
OPHCLIP_DEVICE uint32_t rounded_pair(float low, float high) {
  alignas(4) T pair[2];
  store_rounded(&pair[0], low * kGradUnit<T>);
  store_rounded(&pair[1], high * kGradUnit<T>);
  uint32_t word;
  memcpy(&word, pair, sizeof(word));
  return word;
}

// Softmax part of G in this thread's row h, rounded: words[j] holds columns j and j + 1. Returns its share of
// sum G * dot, of unrounded G. One row at a time: dots and all of G would not fit the registers.
template <typename T, bool kSingle, bool kWhole>
OPHCLIP_DEVICE float round_softmax(uint32_t (&words)[32], const float (&dots)[128], int h,
                                   const Softmax& softmax, const TilePlace& place, const Fragment& fragment) {
  float total = 0.0f;
#pragma unroll
  for (int j = 0; j < 32; ++j) {
    const float2 column = *reinterpret_cast<const float2*>(softmax.columns + fragment.column(j));
    float grad[2];
#pragma unroll
    for (int e = 0; e < 2; ++e) {
      const float dot = dots[4 * j + 2 * h + e];
      const bool exists = kWhole || (fragment.row(h) < place.rows && fragment.column(j) + e < place.columns);
      const float part = softmax_part<kSingle>(softmax, dot, softmax.row[h], e ? column.y : column.x);
      grad[e] = exists ? part : 0.0f;
      total += grad[e] * dot;
    }
    words[j] = rounded_pair<T>(grad[0], grad[1]);
  }
  return total;
}

// Rounds G anew where row h has positives, less all of them that name the same column; returns their share of
// sum G * dot.
template <typename T>
OPHCLIP_DEVICE float subtract_positives(uint32_t (&words)[32], const float (&dots)[128], int h,
                                        const Softmax& softmax, bool single, const Positives& positives,
                                        Reduction reduction, const Saved& saved, const TilePlace& place,
                                        const Fragment& fragment) {
  float total = 0.0f;
  visit_positives(dots, h, positives, place, fragment, [&](int index, float dot, int64_t row, int64_t entry) {
    const int64_t column = positives.column(entry);
    const float of_column = softmax.columns[column - place.column0];
    float grad = single ? softmax_part<true>(softmax, dot, softmax.row[h], of_column)
                        : softmax_part<false>(softmax, dot, softmax.row[h], of_column);
    total -= positive_grad(positives, saved, reduction, softmax.scale, row, entry) * dot;
    for (int64_t other = positives.begin(row); other < positives.end(row); ++other) {
      if (positives.column(other) == column)
        grad -= positive_grad(positives, saved, reduction, softmax.scale, row, other);
    }
    const uint32_t rounded = rounded_pair<T>(grad, grad), mask = index % 2 ? 0xffff0000u : 0x0000ffffu;
#pragma unroll
    for (int j = 0; j < 32; ++j) words[j] = j == index / 2 ? (words[j] & ~mask) | (rounded & mask) : words[j];
  });
  return total;
}

// Lane q of each four: word i becomes word q of lane i.
OPHCLIP_DEVICE void transpose_words(uint32_t (&words)[4]) {
#pragma unroll
  for (int step = 1; step <= 2; step *= 2) {
    const bool upper = (lane_id() & step) != 0;
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (i & step) continue;
      const uint32_t sent = upper ? words[i] : words[i + step];
      const uint32_t got = __shfl_xor_sync(kAllLanes, sent, step);
      words[i] = upper ? got : words[i];
      words[i + step] = upper ? words[i + step] : got;
    }
  }
}

// Writes 256 elements of a row, zeros outside the block included, 16 bytes a lane at a time.
template <typename T>
OPHCLIP_DEVICE void store_row(T* row, const uint32_t (&words)[32]) {
#pragma unroll
  for (int run = 0; run < 8; ++run) {
    uint32_t four[4] = {words[run * 4], words[run * 4 + 1], words[run * 4 + 2], words[run * 4 + 3]};
    transpose_words(four);
    *reinterpret_cast<uint4*>(row + run * 32 + lane_id() % 4 * 8) =
        make_uint4(four[0], four[1], four[2], four[3]);
  }
}

template <typename T>
__global__ void __launch_bounds__(kBlockThreads, 1)
    hopper_grad_logits_kernel(const __grid_constant__ TensorMap map_a,
                              const __grid_constant__ TensorMap map_b, LogitBlock block, int steps,
                              const float* scale, Positives positives, Reduction reduction, Saved saved,
                              Factors factors, T* grad_logits, double* scale_sums) {
#ifdef OPHCLIP_HOPPER_CODE
  OPHCLIP_HOPPER_SHARED(shared);
  const int tiles = block.row_tiles * block.column_tiles;
  auto produce = [&](Ring& ring) {
    prefetch_map(&map_a);
    prefetch_map(&map_b);
    for (int id = blockIdx.x; id < tiles; id += gridDim.x) {
      const TileIndex tile = tile_at(id, block.row_tiles, block.column_tiles);
      produce_tile<Major::kDepth, Major::kDepth>(ring, &map_a, tile.row * kRows, &map_b,
                                                 tile.column * kColumns, steps);
    }
  };
  auto consume = [&](Ring& ring, int group) {
    const Fragment fragment(group * kGroupRows);
    const int thread = threadIdx.x % 128, warp = thread / 32;
    const int64_t pitch = int64_t{block.column_tiles} * kColumns;
    float* const columns = reinterpret_cast<float*>(shared + kSharedBytes) + group * kColumns;
    Softmax softmax{*scale, factors.mode[0], saved.columns ? 0.5f : 1.0f, {0.0f, 0.0f}, columns};
    const bool single = factors.mode[1] != 0.0f;
    // In shared memory: a register more would spill.
    double* const scale_sum =
        reinterpret_cast<double*>(shared + kSharedBytes + kGroups * kColumns * sizeof(float)) + group * 4 +
        warp;
    if (lane_id() == 0) *scale_sum = 0.0;
    for (int id = blockIdx.x; id < tiles; id += gridDim.x) {
      const TileIndex tile = tile_at(id, block.row_tiles, block.column_tiles);
      const TilePlace place(block, tile);
      float column_factors[2];  // loaded before the products, whose time hides the latency
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        const int row = fragment.row(i), column = thread + 128 * i;
        softmax.row[i] = row < place.rows ? factors.rows[place.row0 + row] : 0.0f;
        column_factors[i] = column < place.columns ? factors.columns[place.column0 + column] : 0.0f;
      }
      float dots[128];
      consume_tile<T, Major::kDepth, Major::kDepth, true>(dots, ring, steps, group);
      meet_warpgroup(1 + group);  // the column factors of the tile before have been read
      columns[thread] = column_factors[0];
      columns[thread + 128] = column_factors[1];
      meet_warpgroup(1 + group);
      const bool positive = warp_has_positive(positives, place, fragment);
      T* const target = grad_logits + int64_t{tile.row} * kRows * pitch + int64_t{tile.column} * kColumns;
      float total = 0.0f;
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        uint32_t words[32];
        total += !single         ? round_softmax<T, false, false>(words, dots, h, softmax, place, fragment)
                 : place.whole() ? round_softmax<T, true, true>(words, dots, h, softmax, place, fragment)
                                 : round_softmax<T, true, false>(words, dots, h, softmax, place, fragment);
        if (positive) {
          total += subtract_positives<T>(words, dots, h, softmax, single, positives, reduction, saved, place,
                                         fragment);
        }
        store_row(target + fragment.row(h) * pitch, words);
      }
      for (int mask = 1; mask <= 16; mask *= 2) total += __shfl_xor_sync(kAllLanes, total, mask);
      if (lane_id() == 0) *scale_sum += total;
    }
    if (lane_id() == 0) scale_sums[int64_t{blockIdx.x} * kScaleSums + group * 4 + warp] += *scale_sum;
  };
  run_roles(shared, produce, consume);
#endif
}

// One of the two products of a block: out[r, d] = alpha * sum over all blocks of sum_k G(r, k) x[k, d].
template <typename T>
struct GradProduct {
  int row_tiles, steps;
  int64_t rows;    // of this block
  float* partial;  // [rows, D] carries the sum from block to block
  T* out;          // [rows, D]
  bool first, last;
};

template <typename T>
OPHCLIP_DEVICE void store_product(const float (&sums)[128], const GradProduct<T>& product, TileIndex tile,
                                  const Fragment& fragment, int64_t depth, float alpha) {
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    const int64_t row = int64_t{tile.row} * kRows + fragment.row(h);
    if (row >= product.rows) continue;
#pragma unroll
    for (int j = 0; j < 32; ++j) {
      const int64_t column = int64_t{tile.column} * kColumns + fragment.column(j), at = row * depth + column;
      if (column >= depth) continue;  // depth is a multiple of 8: pairs are inside or outside
      float2 total = make_float2(sums[4 * j + 2 * h], sums[4 * j + 2 * h + 1]);
      float2* const partial = reinterpret_cast<float2*>(product.partial + at);
      if (!product.first) total = make_float2(partial->x + total.x, partial->y + total.y);
      if (product.last) {
        store_rounded(product.out + at, total.x * alpha);
        store_rounded(product.out + at + 1, total.y * alpha);
      } else {
        *partial = total;
      }
    }
  }
}

// Tiles of dA, then of dB; depth_tiles cut D into 256s.
template <typename T>
__global__ void __launch_bounds__(kBlockThreads, 1)
    hopper_grad_products_kernel(const __grid_constant__ TensorMap map_g,
                                const __grid_constant__ TensorMap map_a,
                                const __grid_constant__ TensorMap map_b, GradProduct<T> grad_a,
                                GradProduct<T> grad_b, int depth_tiles, int64_t depth, const float* scale,
                                const float* grad_loss, float coefficient) {
#ifdef OPHCLIP_HOPPER_CODE
  OPHCLIP_HOPPER_SHARED(shared);
  const int tiles_a = grad_a.row_tiles * depth_tiles, tiles = tiles_a + grad_b.row_tiles * depth_tiles;
  auto produce = [&](Ring& ring) {
    prefetch_map(&map_g);
    prefetch_map(&map_a);
    prefetch_map(&map_b);
    for (int id = blockIdx.x; id < tiles; id += gridDim.x) {
      if (id < tiles_a) {
        const TileIndex tile = tile_at(id, grad_a.row_tiles, depth_tiles);
        produce_tile<Major::kDepth, Major::kRows>(ring, &map_g, tile.row * kRows, &map_b,
                                                  tile.column * kColumns, grad_a.steps);
      } else {
        const TileIndex tile = tile_at(id - tiles_a, grad_b.row_tiles, depth_tiles);
        produce_tile<Major::kRows, Major::kRows>(ring, &map_g, tile.row * kRows, &map_a,
                                                 tile.column * kColumns, grad_b.steps);
      }
    }
  };
  auto consume = [&](Ring& ring, int group) {
    const Fragment fragment(group * kGroupRows);
    const float alpha = *scale * *grad_loss * coefficient;
    for (int id = blockIdx.x; id < tiles; id += gridDim.x) {
      float sums[128];
      if (id < tiles_a) {
        consume_tile<T, Major::kDepth, Major::kRows, true>(sums, ring, grad_a.steps, group);
        store_product(sums, grad_a, tile_at(id, grad_a.row_tiles, depth_tiles), fragment, depth, alpha);
      } else {
        consume_tile<T, Major::kRows, Major::kRows, true>(sums, ring, grad_b.steps, group);
        store_product(sums, grad_b, tile_at(id - tiles_a, grad_b.row_tiles, depth_tiles), fragment, depth,
                      alpha);
      }
    }
  };
  run_roles(shared, produce, consume);
#endif
}

}  // namespace ophclip::cuda::hopper
