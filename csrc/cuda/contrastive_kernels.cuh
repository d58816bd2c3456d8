// SPDX-License-Identifier: Apache-2.0
//
// Kernels of the contrastive loss. s[i, j] = scale * <a[i], b[j]>; contrastive.cu cuts the logits into blocks
// of rows and columns that fit the workspace and runs these kernels block after block.
//
// Forward, per 128 x 128 tile: dot products, then a (max, sum exp) pair per row and, if symmetric, per
// column, written
//   to the workspace; merge_stats folds the pairs of all tiles of a row or column, in order. The dot products
//   of the positives are picked out of the tile itself, so that loss = (max - s) + log(sum) has no error from
//   computing s twice.
// Backward: G = dL/ds * M, lies in [-1, 1]. Its tile is recomputed with the forward's instructions (bit-equal
// logits),
//   the positives are subtracted in float before rounding, and it is stored in the input type (fp16: times
//   2^14, above the subnormals). Then dA += G B and dB += G^T A over the block; sums over blocks are kept in
//   float. d_scale sums G * dot in float within a tile, in double across tiles.
// Traffic of a block of R x C: reads (R/128) C D + (C/128) R D elements through L2; forward writes R C / 8
// bytes,
//   backward writes and reads twice R C elements of G.
// No atomics: every number has one writer and one order of summation.
#pragma once

#include "contrastive_problem.cuh"
#include "stats.cuh"

namespace ophclip::cuda {

// Do the `rows` rows from row0 on have a positive among the tile's columns? The same answer in every thread.
OPHCLIP_DEVICE bool tile_has_positive(const Positives& positives, int64_t row0, int rows, int64_t column0) {
  int hit = 0;
  const int64_t last = rows ? positives.end(row0 + rows - 1) : 0;
  for (int64_t entry = rows ? positives.begin(row0) + threadIdx.x : 0; entry < last; entry += kThreads) {
    const int64_t column = positives.column(entry) - column0;
    hit |= column >= 0 && column < kTile;
  }
  return __syncthreads_or(hit) != 0;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<T>)
    logits_stats_kernel(Operand<T> a, Operand<T> b, LogitBlock block, const float* scale, Positives positives,
                        float2* row_parts, float2* column_parts, float* dots) {
  OPHCLIP_DYNAMIC_SHARED(shared);
  const TileIndex tile = tile_of_block(block.row_tiles, block.column_tiles);
  const int row0 = tile.row * kTile, column0 = tile.column * kTile;
  float value[8][8];
  multiply_tiles<T, Major::kDepth, Major::kDepth>(value, a, row0, b, column0, shared);

  const int row_limit = count_within(row0, block.rows, kTile);
  const int column_limit = count_within(column0, block.columns, kTile);
  if (tile_has_positive(positives, block.row0 + row0, row_limit, block.column0 + column0)) {
    float* const staged = reinterpret_cast<float*>(shared);
    stage_tile<T>(staged, value);
    __syncthreads();
    if (static_cast<int>(threadIdx.x) < row_limit) {
      const int64_t row = block.row0 + row0 + threadIdx.x;
      for (int64_t entry = positives.begin(row); entry < positives.end(row); ++entry) {
        const int64_t column = positives.column(entry) - (block.column0 + column0);
        if (column >= 0 && column < column_limit) dots[entry] = staged[threadIdx.x * kTilePitch + column];
      }
    }
    __syncthreads();
  }

  const float factor = *scale;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const bool exists = tile_row<T>(i) < row_limit && tile_column<T>(j) < column_limit;
      value[i][j] = exists ? factor * value[i][j] : -kInfinity;
    }
  }
  float2* const rows = reinterpret_cast<float2*>(shared);
  float2* const columns = rows + kWarpColumns * kTile;
  row_stats<T>(rows, value);
  if (column_parts) column_stats<T>(columns, value);
  __syncthreads();
  const int index = threadIdx.x % kTile;
  if (threadIdx.x < kTile) {
    row_parts[(int64_t{tile.column} * block.row_tiles + tile.row) * kTile + index] =
        combine_parts<kWarpColumns>(rows, index);
  } else if (column_parts) {
    column_parts[(int64_t{tile.row} * block.column_tiles + tile.column) * kTile + index] =
        combine_parts<kWarpRows>(columns, index);
  }
}

// What to subtract from a logit: the pair for float, whose max may be large; its sum, in fewer registers,
// otherwise.
template <typename T>
OPHCLIP_DEVICE float2 shift_of(bool exists, const float2* stats) {
  if (!exists) return make_float2(kInfinity, 0.0f);
  if constexpr (sizeof(T) == 4) return *stats;
  return make_float2(stats->x + stats->y, 0.0f);
}

// Tile-local limits: rows and columns that exist, and columns that have a loss of their own.
struct TileLimits {
  int rows, columns, first_matched, last_matched;
};

OPHCLIP_DEVICE TileLimits limits_of(const LogitBlock& block, int row0, int column0,
                                    const Positives& positives, int64_t num_matched) {
  const int64_t column = block.column0 + column0;
  const int columns = count_within(column0, block.columns, kTile);
  return {count_within(row0, block.rows, kTile), columns, count_within(column, positives.offset, kTile),
          count_within(column, positives.offset + num_matched, columns)};
}

// Softmax part of G for this thread's accumulators (dot products in, G out); returns its share of sum G *
// dot.
template <typename T>
OPHCLIP_DEVICE float softmax_grad(float (&value)[8][8], const float2* row_stats, const float2* column_stats,
                                  float scale, const TileLimits& limits) {
  float2 column_shift[8];
#pragma unroll
  for (int j = 0; j < 8; ++j) {
    const int column = tile_column<T>(j);
    const bool matched = column >= limits.first_matched && column < limits.last_matched;
    column_shift[j] = shift_of<T>(matched, column_stats + column);
  }
  const float share = column_stats ? 0.5f : 1.0f;
  float sum = 0.0f;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int row = tile_row<T>(i);
    const float2 shift = shift_of<T>(row < limits.rows, row_stats + row);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const float dot = value[i][j], logit = scale * dot;
      float grad = softmax_exp<T>((logit - shift.x) - shift.y);
      if (column_stats) grad += softmax_exp<T>((logit - column_shift[j].x) - column_shift[j].y);
      const bool exists = row < limits.rows && tile_column<T>(j) < limits.columns;
      value[i][j] = exists ? share * grad : 0.0f;
      sum += value[i][j] * dot;
    }
    __syncwarp();  // bounds the registers: keeps the compiler from loading every row's shift at once
  }
  return sum;
}

// Subtracts the positives of one row of the staged tile; returns the row's share of sum G * dot.
OPHCLIP_DEVICE float subtract_positives(float* staged_row, const Positives& positives, const Saved& saved,
                                        Reduction reduction, float scale, int64_t row, int64_t column0,
                                        int columns) {
  float sum = 0.0f;
  for (int64_t entry = positives.begin(row); entry < positives.end(row); ++entry) {
    const int64_t column = positives.column(entry) - column0;
    if (column < 0 || column >= columns) continue;
    const float part = positive_grad(positives, saved, reduction, scale, row, entry);
    staged_row[column] -= part;
    sum -= part * saved.dots[entry];
  }
  return sum;
}

template <typename T>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<T>)
    grad_logits_kernel(Operand<T> a, Operand<T> b, LogitBlock block, const float* scale, Positives positives,
                       Reduction reduction, Saved saved, int64_t num_rows, T* grad_logits,
                       float* scale_parts) {
  OPHCLIP_DYNAMIC_SHARED(shared);
  __shared__ float scratch[kThreads];
  const TileIndex tile = tile_of_block(block.row_tiles, block.column_tiles);
  const int row0 = tile.row * kTile, column0 = tile.column * kTile;
  float value[8][8];
  multiply_tiles<T, Major::kDepth, Major::kDepth>(value, a, row0, b, column0, shared);
  const TileLimits limits = limits_of(block, row0, column0, positives, saved.columns ? num_rows : 0);
  const float2* const columns = saved.columns ? saved.columns + block.column0 + column0 : nullptr;
  float sum = softmax_grad<T>(value, saved.rows + block.row0 + row0, columns, *scale, limits);

  float* const staged = reinterpret_cast<float*>(shared);
  stage_tile<T>(staged, value);
  __syncthreads();
  if (static_cast<int>(threadIdx.x) < limits.rows) {
    sum += subtract_positives(staged + threadIdx.x * kTilePitch, positives, saved, reduction, *scale,
                              block.row0 + row0 + threadIdx.x, block.column0 + column0, limits.columns);
  }
  sum = block_sum<kThreads>(sum, scratch);
  if (threadIdx.x == 0) scale_parts[blockIdx.x] = sum;

  constexpr int kVector = 16 / sizeof(T), kPerRow = kTile / kVector;
  const int64_t pitch = int64_t{block.column_tiles} * kTile;
  T* const target = grad_logits + tile.row * kTile * pitch + tile.column * kTile;
  for (int v = threadIdx.x; v < kTile * kPerRow; v += kThreads) {
    const int row = v / kPerRow, column = v % kPerRow * kVector;
    alignas(16) T rounded[kVector];
#pragma unroll
    for (int e = 0; e < kVector; ++e) {
      store_rounded(&rounded[e], staged[row * kTilePitch + column + e] * kGradUnit<T>);
    }
    *reinterpret_cast<uint4*>(target + row * pitch + column) = *reinterpret_cast<const uint4*>(rounded);
  }
}

// out[r, d] = alpha * sum over all blocks of sum_k G(r, k) x[k, d]; `partial` carries the sum from block to
// block.
template <typename T, Major kMajorG>
__global__ void __launch_bounds__(kThreads, kBlocksPerSm<T>)
    grad_product_kernel(Operand<T> g, Operand<T> x, int row_tiles, int column_tiles, float* partial, T* out,
                        const float* scale, const float* grad_loss, float coefficient, bool first,
                        bool last) {
  OPHCLIP_DYNAMIC_SHARED(shared);
  const TileIndex tile = tile_of_block(row_tiles, column_tiles);
  const int64_t row0 = int64_t{tile.row} * kTile, column0 = int64_t{tile.column} * kTile;
  float sum[8][8];
  multiply_tiles<T, kMajorG, Major::kRows>(sum, g, row0, x, column0, shared);
  const float alpha = *scale * *grad_loss * coefficient;
#pragma unroll
  for (int i = 0; i < 8; ++i) {
    const int64_t row = row0 + tile_row<T>(i);
#pragma unroll
    for (int j = 0; j < 8; ++j) {
      const int64_t column = column0 + tile_column<T>(j), at = row * x.rows + column;
      if (row >= g.rows || column >= x.rows) continue;
      const float total = first ? sum[i][j] : partial[at] + sum[i][j];
      if (last) {
        store_rounded(out + at, total * alpha);
      } else {
        partial[at] = total;
      }
    }
  }
}

}  // namespace ophclip::cuda
