// SPDX-License-Identifier: Apache-2.0
//
// How a contrastive problem is cut into blocks of logits that fit the workspace, for both paths.
#pragma once

#include "contrastive_problem.cuh"
#include "launch.h"

namespace ophclip::cuda {

inline int64_t max_of(int64_t left, int64_t right) { return left > right ? left : right; }
inline int64_t min_of(int64_t left, int64_t right) { return left < right ? left : right; }
inline bool symmetric(const ContrastiveProblem& p) { return p.positives.indptr == nullptr; }
inline int64_t num_dots(const ContrastiveProblem& p) { return symmetric(p) ? p.m : p.positives.count; }
inline int64_t element_bytes(Dtype dtype) { return dtype == Dtype::kFloat32 ? 4 : 2; }
inline int64_t padded(int64_t length, int64_t tile) { return max_of(ceil_div(length, tile), 1) * tile; }

inline Positives positives_of(const ContrastiveProblem& p) {
  return {p.positives.indptr, p.positives.indices, p.positives.weights, p.positives.count, p.offset};
}

struct BlockShape {
  int64_t rows, columns;  // multiples of the tile's
};

struct BlockEdges {
  bool first_rows, last_rows, first_columns, last_columns;
};

// Calls body(block, edges) for every block, in order.
template <typename Body>
Status for_each_block(const ContrastiveProblem& p, BlockShape shape, int tile_rows, int tile_columns,
                      Body body) {
  for (int64_t row = 0; row < max_of(p.m, 1); row += shape.rows) {
    for (int64_t column = 0; column < max_of(p.n, 1); column += shape.columns) {
      const int64_t rows = min_of(shape.rows, p.m - row), columns = min_of(shape.columns, p.n - column);
      const LogitBlock block{row,
                             column,
                             rows,
                             columns,
                             static_cast<int>(ceil_div(rows, tile_rows)),
                             static_cast<int>(ceil_div(columns, tile_columns))};
      const BlockEdges edges{row == 0, row + rows >= p.m, column == 0, column + columns >= p.n};
      OPHCLIP_RETURN_IF_ERROR(body(block, edges));
    }
  }
  return {};
}

// Row `first` of an operand, and what follows.
inline const void* rows_from(const void* data, int64_t stride, int64_t first, Dtype dtype) {
  return static_cast<const unsigned char*>(data) + first * stride * element_bytes(dtype);
}

}  // namespace ophclip::cuda
