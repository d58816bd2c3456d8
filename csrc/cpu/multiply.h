// SPDX-License-Identifier: Apache-2.0
//
// Matrix products over packed panels of 32-bit words (see kernels.h).
//
// Tiling: a task owns a strip of rows times a group of panels. For every chunk of depth it packs its strip of
// the left operand, which takes whatever weights the operand needs along, and then runs over its panels: the
// strip (112 x 256 words) and the group of panels stay in the second cache, a panel streams through the
// first. Without packing, rows whose distance is a multiple of 4 KiB would evict one another.
// Numerics: an element is summed chunk of depth by chunk of depth, in order, so it depends on neither the
// threads nor the tiling.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <memory>

#include "kernels.h"
#include "parallel.h"

namespace ophclip {

constexpr int64_t kDepthChunk = 256;  // words; a chunk of a panel is 32 KiB
constexpr int64_t kStripTiles = 8;    // row tiles of a strip, at most
constexpr int64_t kGroupPanels = 16;  // panels of a group, at most
constexpr int64_t kStrips = 16;       // strips that a product is cut into before they grow, for balance
constexpr int64_t kRowPitch = kDepthChunk + 16;

inline int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
inline int64_t panels_of(int64_t columns) { return ceil_div(columns, kPanel); }

// Rows of a strip of a product of m rows: a whole number of tiles, by the sizes alone.
inline int64_t strip_rows(int64_t m) {
  const int64_t tile = kernels().max_rows;
  return tile * std::clamp<int64_t>(ceil_div(m, tile) / kStrips, 1, kStripTiles);
}

// Columns of a group of a product of n columns: equal groups, so that the left operand is packed as rarely as
// the second cache permits.
inline int64_t group_columns(int64_t n) {
  const int64_t panels = std::max<int64_t>(panels_of(n), 1);
  return ceil_div(panels, ceil_div(panels, kGroupPanels)) * kPanel;
}

inline void pack_transposed(const void* rows, int64_t count, int64_t depth, void* panel) {
  kernels().pack_transposed(rows, depth, count, depth, panel);
}

// Where chunk [k, k + 256) of a panel begins in an operand of `panels` panels, `words` deep. The chunks of
// neighbouring panels lie side by side: at a distance of 64 KiB, say, they would share one corner of the
// second cache.
inline int64_t chunk_at(int64_t panels, int64_t words, int64_t panel, int64_t k) {
  return (k * panels + panel * std::min(kDepthChunk, words - k)) * kPanel;
}

struct Product {
  int64_t m, n, words;  // depth in words
  const WordKernels& kind;
  const void* panels;  // chunk by chunk of depth, see `chunk_at`
  float* c;            // [m, n], rows c_stride apart
  int64_t c_stride;
  bool accumulate;  // adds to c
  int threads;
};

struct Region {  // of a product: what one task has computed
  int64_t first_row, end_row, first_column, end_column;
  int64_t strip, group;
};

// How the left operand of a strip is packed: word (r, k) lies at r * row_pitch + k * step.
struct LeftLayout {
  int64_t row_pitch, step;
};

inline LeftLayout along_rows() { return {kRowPitch, 1}; }
inline LeftLayout across_rows(int64_t m) { return {1, strip_rows(m)}; }

inline void multiply_chunk(const Product& x, const Region& region, int64_t k, int64_t words,
                           const float* left, const LeftLayout& layout) {
  const int max_rows = kernels().max_rows;
  const bool adds = x.accumulate || k > 0;
  const auto* panels = static_cast<const float*>(x.panels);
  float edge[16 * kPanel];
  for (int64_t j = region.first_column; j < region.end_column; j += kPanel) {
    const float* panel = panels + chunk_at(panels_of(x.n), x.words, j / kPanel, k);
    const int64_t width = std::min<int64_t>(kPanel, x.n - j);
    for (int64_t i = region.first_row; i < region.end_row; i += max_rows) {
      const int rows = static_cast<int>(std::min<int64_t>(max_rows, region.end_row - i));
      const float* a = left + (i - region.first_row) * layout.row_pitch;
      float* out = x.c + i * x.c_stride + j;
      if (width == kPanel) {
        x.kind.tile(rows, words, a, layout.row_pitch, layout.step, panel, out, x.c_stride, adds);
        continue;
      }
      x.kind.tile(rows, words, a, layout.row_pitch, layout.step, panel, edge, kPanel, false);
      for (int r = 0; r < rows; ++r) {
        for (int64_t column = 0; column < width; ++column) {
          float& value = out[r * x.c_stride + column];
          value = edge[r * kPanel + column] + (adds ? value : 0.0f);
        }
      }
    }
  }
}

inline void clear(const Product& x, const Region& region) {
  for (int64_t i = region.first_row; i < region.end_row && !x.accumulate; ++i) {
    std::fill(x.c + i * x.c_stride + region.first_column, x.c + i * x.c_stride + region.end_column, 0.0f);
  }
}

// c[m, n] (+)= left * panels. `pack_left(first_row, rows, k, words, out)` writes words [k, k + words) of rows
// of the left operand; `finish(region)` is called for each region once it is computed, by the task that did.
template <typename PackLeft, typename Finish>
void multiply(const Product& x, const LeftLayout& layout, const PackLeft& pack_left, const Finish& finish) {
  const int64_t strip = strip_rows(x.m), strips = ceil_div(x.m, strip), group = group_columns(x.n),
                groups = ceil_div(x.n, group);
  parallel_for(strips * groups, x.threads, [&](int64_t task) {
    const int64_t s = task % strips, g = task / strips;
    const Region region{
        s * strip, std::min((s + 1) * strip, x.m), g * group, std::min((g + 1) * group, x.n), s, g};
    const std::unique_ptr<float[]> left(new float[strip * kRowPitch]);
    for (int64_t k = 0; k < x.words; k += kDepthChunk) {
      const int64_t words = std::min(kDepthChunk, x.words - k);
      pack_left(region.first_row, region.end_row - region.first_row, k, words, left.get());
      multiply_chunk(x, region, k, words, left.get(), layout);
    }
    if (x.words == 0) clear(x, region);
    finish(region);
  });
}

}  // namespace ophclip
