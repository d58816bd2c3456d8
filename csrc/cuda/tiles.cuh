// SPDX-License-Identifier: Apache-2.0
//
// One 128 x 128 tile of a matrix product, by 256 threads, into an 8 x 8 block of float accumulators a thread.
//
// Mathematics: acc[i, j] = sum_k A(row0 + i, k) * B(column0 + j, k); elements outside either operand count as
// zero. Tiling: 2 x 4 warps, each 64 x 32. 16-bit types: mma m16n8k16, 32 deep a stage. float: FFMA outer
// products, 16 deep. Memory: three shared-memory stages filled by cp.async, one barrier a stage. 16-bit rows
// are padded by 16 bytes, which
//   makes every ldmatrix free of bank conflicts; float operands are stored depth-major, so fragments are
//   16-byte reads. 16-bit operands whose rows are not 16-byte aligned take element loads through registers
//   instead of cp.async.
// Numerics: products and sums in float32 (no TF32). The order of summation depends on D alone.
#pragma once

#include "device.cuh"

namespace ophclip::cuda {

constexpr int kTile = 128;
constexpr int kThreads = 256;
constexpr int kStages = 3;
template <typename T>
constexpr int kBlocksPerSm = sizeof(T) == 4 ? 1 : 2;  // bounds the registers of a thread to 255 or 128
constexpr int kWarpColumns = 4;                       // warps side by side: partial results for each row
constexpr int kWarpRows = 2;  // warps above one another: partial results for each column
constexpr int kTilePitch = kTile + 4;
constexpr size_t kTileBytes =
    sizeof(float) * kTile * kTilePitch;  // a staged float tile; holds the stages as well

// Which index is contiguous in memory: element (row, k) is data[row * stride + k] or data[k * stride + row].
enum class Major { kDepth, kRows };

template <typename T>
struct Operand {
  const T* data;
  int64_t stride;
  int64_t rows, depth;
  bool vectorised;  // data and stride allow aligned 16-byte loads
};

template <typename T>
Operand<T> make_operand(const T* data, int64_t stride, int64_t rows, int64_t depth) {
  const bool vectorised = reinterpret_cast<uintptr_t>(data) % 16 == 0 && stride * sizeof(T) % 16 == 0;
  return {data, stride, rows, depth, vectorised};
}

template <typename T>
struct Stage {  // 16-bit types
  static constexpr int kDepth = 32;
  static constexpr int kDepthPitch = kDepth + 8, kRowPitch = kTile + 8;
  static constexpr int kElements = kTile * kDepthPitch;
};
template <>
struct Stage<float> {
  static constexpr int kDepth = 16;
  static constexpr int kRowPitch = kTile + 4;
  static constexpr int kElements = kDepth * kRowPitch;
};
static_assert(kStages * 2 * Stage<__half>::kElements * sizeof(__half) <= kTileBytes);
static_assert(kStages * 2 * Stage<float>::kElements * sizeof(float) <= kTileBytes);

OPHCLIP_DEVICE int lane_id() { return threadIdx.x % 32; }
OPHCLIP_DEVICE int warp_row() { return threadIdx.x / 32 / kWarpColumns; }
OPHCLIP_DEVICE int warp_column() { return threadIdx.x / 32 % kWarpColumns; }

// Where accumulator (i, j) of this thread lies in the tile. Lanes 4g .. 4g+3 share their rows, lanes equal
// modulo 4 their columns, for every type.
template <typename T>
OPHCLIP_DEVICE int tile_row(int i) {
  if constexpr (sizeof(T) == 4) return warp_row() * 64 + i / 4 * 32 + lane_id() / 4 * 4 + i % 4;
  return warp_row() * 64 + i / 2 * 16 + i % 2 * 8 + lane_id() / 4;
}

template <typename T>
OPHCLIP_DEVICE int tile_column(int j) {
  if constexpr (sizeof(T) == 4) return warp_column() * 32 + j / 4 * 16 + lane_id() % 4 * 4 + j % 4;
  return warp_column() * 32 + j / 2 * 8 + lane_id() % 4 * 2 + j % 2;
}

OPHCLIP_DEVICE int count_within(int64_t index, int64_t limit, int most) {
  const int64_t left = limit - index;
  return left <= 0 ? 0 : left < most ? static_cast<int>(left) : most;
}

template <typename T>
OPHCLIP_DEVICE void load_vector(T* shared, const T* global, int valid, bool vectorised) {
  if (vectorised) {
    copy_async_16(shared, global, valid * static_cast<int>(sizeof(T)));
    return;
  }
  if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int e = 0; e < 4; ++e) copy_async_4(shared + e, e < valid ? global + e : global, e < valid ? 4 : 0);
  } else {
    uint32_t words[4];
    const auto* halves = reinterpret_cast<const uint16_t*>(global);
#pragma unroll
    for (int e = 0; e < 4; ++e) {
      const uint32_t low = 2 * e < valid ? halves[2 * e] : 0;
      const uint32_t high = 2 * e + 1 < valid ? halves[2 * e + 1] : 0;
      words[e] = low | high << 16;
    }
    *reinterpret_cast<uint4*>(shared) = make_uint4(words[0], words[1], words[2], words[3]);
  }
}

// Fills one stage with rows [row0, row0 + 128) and depth [k0, k0 + kDepth) of an operand.
template <typename T, Major kMajor>
OPHCLIP_DEVICE void load_stage(T* shared, const Operand<T>& operand, int64_t row0, int64_t k0) {
  using S = Stage<T>;
  constexpr int kVector = 16 / sizeof(T);
  if constexpr (kMajor == Major::kRows) {
    constexpr int kPerLine = kTile / kVector;
#pragma unroll
    for (int i = 0; i < S::kDepth * kPerLine / kThreads; ++i) {
      const int v = threadIdx.x + i * kThreads;
      const int k = v / kPerLine, row = v % kPerLine * kVector;
      const int valid = k0 + k < operand.depth ? count_within(row0 + row, operand.rows, kVector) : 0;
      const T* source = valid ? operand.data + (k0 + k) * operand.stride + row0 + row : operand.data;
      load_vector(shared + k * S::kRowPitch + row, source, valid, operand.vectorised);
    }
  } else if constexpr (sizeof(T) == 4) {
#pragma unroll
    for (int i = 0; i < kTile * S::kDepth / kThreads; ++i) {
      const int v = threadIdx.x + i * kThreads;
      const int k = v % S::kDepth, row = v / S::kDepth;
      const bool valid = row0 + row < operand.rows && k0 + k < operand.depth;
      const T* source = valid ? operand.data + (row0 + row) * operand.stride + k0 + k : operand.data;
      copy_async_4(shared + k * S::kRowPitch + row, source, valid ? 4 : 0);
    }
  } else {
    constexpr int kPerLine = S::kDepth / kVector;
#pragma unroll
    for (int i = 0; i < kTile * kPerLine / kThreads; ++i) {
      const int v = threadIdx.x + i * kThreads;
      const int k = v % kPerLine * kVector, row = v / kPerLine;
      const int valid = row0 + row < operand.rows ? count_within(k0 + k, operand.depth, kVector) : 0;
      const T* source = valid ? operand.data + (row0 + row) * operand.stride + k0 + k : operand.data;
      load_vector(shared + row * S::kDepthPitch + k, source, valid, operand.vectorised);
    }
  }
}

// Four 8 x 8 blocks: rows row .. row+15 by depth k .. k+15. kRowsFirst orders them down the rows first
// (operand A), otherwise along the depth first (operand B).
template <typename T, Major kMajor, bool kRowsFirst>
OPHCLIP_DEVICE void load_fragment(uint32_t (&out)[4], const T* shared, int row, int k) {
  const int within = lane_id() % 8, first = lane_id() / 8 % 2 * 8, second = lane_id() / 16 * 8;
  row += kRowsFirst ? first : second;
  k += kRowsFirst ? second : first;
  if constexpr (kMajor == Major::kDepth) {
    load_matrices<false>(out, shared + (row + within) * Stage<T>::kDepthPitch + k);
  } else {
    load_matrices<true>(out, shared + (k + within) * Stage<T>::kRowPitch + row);
  }
}

template <typename T, Major kMajorA, Major kMajorB>
OPHCLIP_DEVICE void multiply_stage(float (&acc)[8][8], const T* a, const T* b) {
  if constexpr (sizeof(T) == 4) {
    const int row = tile_row<T>(0), column = tile_column<T>(0);
#pragma unroll
    for (int k = 0; k < Stage<T>::kDepth; ++k) {
      float4 rows[2], columns[2];
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        rows[h] = *reinterpret_cast<const float4*>(a + k * Stage<T>::kRowPitch + row + 32 * h);
        columns[h] = *reinterpret_cast<const float4*>(b + k * Stage<T>::kRowPitch + column + 16 * h);
      }
      const float x[8] = {rows[0].x, rows[0].y, rows[0].z, rows[0].w,
                          rows[1].x, rows[1].y, rows[1].z, rows[1].w};
      const float y[8] = {columns[0].x, columns[0].y, columns[0].z, columns[0].w,
                          columns[1].x, columns[1].y, columns[1].z, columns[1].w};
#pragma unroll
      for (int i = 0; i < 8; ++i) {
#pragma unroll
        for (int j = 0; j < 8; ++j) acc[i][j] += x[i] * y[j];
      }
    }
  } else {
#pragma unroll
    for (int k = 0; k < Stage<T>::kDepth; k += 16) {
      uint32_t columns[2][4];
#pragma unroll
      for (int h = 0; h < 2; ++h)
        load_fragment<T, kMajorB, false>(columns[h], b, warp_column() * 32 + h * 16, k);
#pragma unroll
      for (int i = 0; i < 8; i += 2) {
        uint32_t rows[4];
        load_fragment<T, kMajorA, true>(rows, a, warp_row() * 64 + i * 8, k);
#pragma unroll
        for (int j = 0; j < 8; j += 2) {
          const uint32_t* column = columns[j / 4] + j / 2 % 2 * 2;
          multiply_add<T>(acc[i][j], acc[i][j + 1], acc[i + 1][j], acc[i + 1][j + 1], rows, column[0],
                          column[1]);
        }
      }
    }
  }
}

// Shared memory is free for other use when this returns.
template <typename T, Major kMajorA, Major kMajorB>
OPHCLIP_DEVICE void multiply_tiles(float (&acc)[8][8], const Operand<T>& a, int64_t row0, const Operand<T>& b,
                                   int64_t column0, void* shared) {
  using S = Stage<T>;
  T* const stages = static_cast<T*>(shared);
  const int steps = static_cast<int>((a.depth + S::kDepth - 1) / S::kDepth);
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) acc[i][j] = 0.0f;
  }
  auto load = [&](int step) {
    if (step < steps) {
      T* const stage = stages + step % kStages * 2 * S::kElements;
      load_stage<T, kMajorA>(stage, a, row0, int64_t{step} * S::kDepth);
      load_stage<T, kMajorB>(stage + S::kElements, b, column0, int64_t{step} * S::kDepth);
    }
    copy_async_commit();
  };
  for (int step = 0; step < kStages - 1; ++step) load(step);
  for (int step = 0; step < steps; ++step) {
    copy_async_wait<kStages - 2>();
    __syncthreads();
    load(step + kStages - 1);
    const T* const stage = stages + step % kStages * 2 * S::kElements;
    multiply_stage<T, kMajorA, kMajorB>(acc, stage, stage + S::kElements);
  }
  copy_async_wait<0>();
  __syncthreads();
}

// Copies the accumulators to shared memory as a row-major [128, kTilePitch] tile.
template <typename T>
OPHCLIP_DEVICE void stage_tile(float* staged, const float (&acc)[8][8]) {
#pragma unroll
  for (int i = 0; i < 8; ++i) {
#pragma unroll
    for (int j = 0; j < 8; ++j) staged[tile_row<T>(i) * kTilePitch + tile_column<T>(j)] = acc[i][j];
  }
}

struct TileIndex {
  int row, column;
};

// Numbers tiles so that blocks in flight together cover a compact rectangle and share operands in L2.
OPHCLIP_DEVICE TileIndex tile_of_block(int row_tiles, int column_tiles) {
  constexpr int kGroup = 8;
  const int id = static_cast<int>(blockIdx.x), first = id / (kGroup * column_tiles) * kGroup;
  const int left = row_tiles - first, height = left < kGroup ? left : kGroup;
  const int within = id - first * column_tiles;
  return {first + within % height, within / height};
}

}  // namespace ophclip::cuda
