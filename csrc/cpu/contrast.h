// SPDX-License-Identifier: Apache-2.0
//
// What the two ways to a contrastive loss share (see contrastive.cpp): blocks of the logits within the
// workspace, positives, and the matrix products.
#pragma once

#include <vector>

#include "../ops.h"
#include "buffer.h"
#include "kernels.h"
#include "multiply.h"

namespace ophclip {

struct Block {
  int64_t row, rows, column, columns;
};

// Sums of a gradient [rows, D] in float32: in place, or beside an output in bfloat16 until they are complete.
class Gradient {
 public:
  Gradient(void* out, int64_t rows, int64_t d, const WordKernels& kind);

  float* row(int64_t i) { return sums_ + i * d_; }
  const float* row(int64_t i) const { return sums_ + i * d_; }
  // Writes the region, counted from row `first`, to the output.
  void complete(int64_t first, const Region& region) const;

 private:
  void* const out_;
  const int64_t d_;
  const WordKernels& kind_;
  Buffer beside_;
  float* sums_;
};

class Contrast {
 public:
  explicit Contrast(const ContrastiveProblem& problem);
  virtual ~Contrast() = default;

  ContrastiveResult run();

 protected:
  // Computes the products of `block` and adds them to the sums of their rows and columns.
  virtual void add(const Block& block) = 0;
  // Turns all sums into `row_log_sums_` and `column_log_sums_`.
  virtual void close_sums() = 0;
  // Leaves in `products_`, weighed with `row_weights_` and `column_weights_`, the gradient of the logits
  // times the scale. `is_kept` says that `add(block)` was the last call.
  virtual void to_gradient(const Block& block, bool is_kept) = 0;
  virtual double gradient_of_scale() const = 0;
  // The logit of product t, rounded where the sums hold it rounded: they cancel where the match is all there
  // is.
  virtual double logit_of(float t) const = 0;

  // products_ = a b^T of the block; `finish` sees each region as it is done.
  template <typename Finish>
  void multiply_rows(const Block& block, const Finish& finish);

  float* row_of(const Block& block, int64_t i) { return products_.data() + (i - block.row) * stride_; }

  // Calls visit(e, i, j) for the positives e = (i, j) of the block's rows [first, end), columns likewise.
  template <typename Visit>
  void each_positive(int64_t first_row, int64_t end_row, int64_t first_column, int64_t end_column,
                     const Visit& visit) const;
  void collect_positives(const Block& block, const Region& region);

  double inner_with_gradient() const;  // <a, grad_a>

  const ContrastiveProblem& p_;
  const Kernels& isa_;
  const WordKernels& kind_;  // of the products
  const bool symmetric_;
  const int64_t words_;  // of a row of a or b
  std::vector<Block> blocks_;
  int64_t stride_ = 0;
  Buffer products_;  // of one block
  std::vector<double> row_log_sums_, column_log_sums_;
  std::vector<float> row_weights_, column_weights_;
  std::vector<float> matched_, matched_share_;  // per positive: its product t, and its share q

 private:
  void plan();
  double finish_loss();
  double numerator(int64_t i);
  void add_gradients(const Block& block);
  void pack_depth(const void* x, int64_t row, int64_t depth);

  const char* row_at(const void* x, int64_t row) const {
    return static_cast<const char*>(x) + row * words_ * 4;
  }
  int64_t first_positive(int64_t i) const { return symmetric_ ? i : p_.positives.indptr[i]; }
  int64_t end_positive(int64_t i) const { return symmetric_ ? i + 1 : p_.positives.indptr[i + 1]; }
  int64_t column_of(int64_t e) const { return symmetric_ ? e + p_.offset : p_.positives.indices[e]; }
  float weight_of(int64_t e) const {
    return symmetric_ || p_.positives.weights == nullptr ? 1.0f : p_.positives.weights[e];
  }
  void pack_rows(const Block& block);

  Gradient grad_a_, grad_b_;
  Buffer packed_;
};

const WordKernels& kind_of(const ContrastiveProblem& problem);

// The length of the longest of `count` rows of d elements; NaN if one holds NaN.
double longest_row(const void* x, int64_t count, int64_t d, const WordKernels& kind, int threads);

template <typename Finish>
void Contrast::multiply_rows(const Block& block, const Finish& finish) {
  pack_rows(block);
  // Whole panels: what lies past the last column is never read.
  const Product product{block.rows,     panels_of(block.columns) * kPanel,
                        words_,         kind_,
                        packed_.data(), products_.data(),
                        stride_,        false,
                        p_.threads};
  multiply(
      product, along_rows(),
      [&](int64_t row, int64_t rows, int64_t k, int64_t words, float* out) {
        for (int64_t r = 0; r < rows; ++r) {
          std::memcpy(out + r * kRowPitch, row_at(p_.a, block.row + row + r) + k * 4, words * 4);
        }
      },
      finish);
}

template <typename Visit>
void Contrast::each_positive(int64_t first_row, int64_t end_row, int64_t first_column, int64_t end_column,
                             const Visit& visit) const {
  for (int64_t i = first_row; i < end_row; ++i) {
    for (int64_t e = first_positive(i); e < end_positive(i); ++e) {
      const int64_t j = column_of(e);
      if (j >= first_column && j < end_column) visit(e, i, j);
    }
  }
}

}  // namespace ophclip
