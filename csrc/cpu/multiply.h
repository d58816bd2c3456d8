// SPDX-License-Identifier: Apache-2.0
//
// Matrix products over packed panels. A panel holds 32 columns of the right operand, [depth, 32],
// zero-filled.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>

#include "kernels.h"
#include "parallel.h"

namespace ophclip {

constexpr int64_t kDepthChunk = 256;  // a chunk of a panel is 32 KiB: it stays in the first or second cache
constexpr int64_t kRowStrip = 8;      // row tiles of one task, which share a panel
constexpr int64_t kPanelStrip = 8;    // panels of one task

inline int64_t panels_of(int64_t columns) { return (columns + kPanel - 1) / kPanel; }
inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

// Packs one panel of the transpose of rows [count <= 32, depth], row-major: out[k, j] = rows[j, k].
inline void pack_transposed(const float* rows, int64_t count, int64_t depth, float* out) {
  constexpr int64_t kBlock = 16;
  for (int64_t start = 0; start < depth; start += kBlock) {
    const int64_t end = std::min(start + kBlock, depth);
    for (int64_t j = 0; j < kPanel; ++j) {
      const float* row = rows + j * depth;
      for (int64_t k = start; k < end; ++k) out[k * kPanel + j] = j < count ? row[k] : 0.0f;
    }
  }
}

// Packs one panel of columns [depth, count <= 32] of a row-major matrix: out[k, j] = x[k, j].
inline void pack_columns(const float* x, int64_t stride, int64_t depth, int64_t count, float* out) {
  for (int64_t k = 0; k < depth; ++k) {
    std::memcpy(out + k * kPanel, x + k * stride, count * sizeof(float));
    if (count < kPanel) std::memset(out + k * kPanel + count, 0, (kPanel - count) * sizeof(float));
  }
}

// c[m, n] (+)= a[m, depth] * panels, where a[i, k] lies at a[i * a_stride + k * a_step]. Every element is
// summed in order of k, so the result depends on neither the threads nor the tiling.
inline void multiply(int64_t m, int64_t n, int64_t depth, const float* a, int64_t a_stride, int64_t a_step,
                     const float* panels, float* c, int64_t c_stride, bool accumulate, int threads) {
  const Kernels& isa = kernels();
  const int64_t strip = isa.max_rows * kRowStrip;
  const int64_t row_tasks = ceil_div(m, strip), panel_tasks = ceil_div(panels_of(n), kPanelStrip);
  parallel_for(row_tasks * panel_tasks, threads, [&](int64_t task) {
    const int64_t first_row = task % row_tasks * strip, end_row = std::min(first_row + strip, m);
    const int64_t first_panel = task / row_tasks * kPanelStrip;
    const int64_t end_panel = std::min(first_panel + kPanelStrip, panels_of(n));
    float edge[16 * kPanel];
    for (int64_t k = 0; k < depth; k += kDepthChunk) {
      const int64_t chunk = std::min(kDepthChunk, depth - k);
      const bool adds = accumulate || k > 0;
      for (int64_t p = first_panel; p < end_panel; ++p) {
        const float* panel = panels + (p * depth + k) * kPanel;
        const int64_t width = std::min<int64_t>(kPanel, n - p * kPanel);
        for (int64_t i = first_row; i < end_row; i += isa.max_rows) {
          const int rows = static_cast<int>(std::min<int64_t>(isa.max_rows, end_row - i));
          const float* left = a + i * a_stride + k * a_step;
          float* out = c + i * c_stride + p * kPanel;
          if (width == kPanel) {
            isa.tile(rows, chunk, left, a_stride, a_step, panel, out, c_stride, adds);
            continue;
          }
          isa.tile(rows, chunk, left, a_stride, a_step, panel, edge, kPanel, false);
          for (int r = 0; r < rows; ++r) {
            for (int64_t j = 0; j < width; ++j) {
              out[r * c_stride + j] = edge[r * kPanel + j] + (adds ? out[r * c_stride + j] : 0.0f);
            }
          }
        }
      }
    }
  });
}

}  // namespace ophclip
