// SPDX-License-Identifier: Apache-2.0
//
// The loss where |s| <= sigma <= 40: with E = e^(s - sigma) in place of the products, row and column sums of
// E come from the task that computed them, and G = E (u' / row sum + v' / column sum) is formed while the
// gradient products pack E; neither the logits nor G make a pass over memory of their own.
#include <cmath>

#include "contrast.h"
#include "ways.h"

namespace ophclip {
namespace {

class Bounded final : public Contrast {
 public:
  Bounded(const ContrastiveProblem& problem, float shift) : Contrast(problem), shift_(shift) {
    row_sums_.assign(p_.m, 0.0);
    if (symmetric_) column_sums_.assign(p_.n, 0.0);
  }

 protected:
  void add(const Block& block) override {
    const int64_t groups = ceil_div(block.columns, group_columns(block.columns)),
                  strips = ceil_div(block.rows, strip_rows(block.rows));
    std::vector<double> by_group(groups * block.rows);
    std::vector<float> by_strip(symmetric_ ? strips * block.columns : 0, 0.0f);
    multiply_rows(block, [&](const Region& region) {
      collect_positives(block, region);
      const int64_t first = region.first_column, end = std::min(region.end_column, block.columns);
      for (int64_t i = region.first_row; i < region.end_row; ++i) {
        by_group[region.group * block.rows + i] =
            isa_.exponentiate(products_.data() + i * stride_ + first, end - first, p_.scale, shift_,
                              symmetric_ ? by_strip.data() + region.strip * block.columns + first : nullptr);
      }
    });
    for (int64_t place = 0; place < groups * block.rows; ++place) {
      row_sums_[block.row + place % block.rows] += by_group[place];
    }
    for (size_t place = 0; place < by_strip.size(); ++place) {
      column_sums_[block.column + place % block.columns] += by_strip[place];
    }
  }

  void close_sums() override {
    const auto m = static_cast<double>(p_.m);
    const double row_weight = symmetric_ ? 0.5 / m : 1 / m;
    row_weights_.resize(p_.m);
    for (int64_t i = 0; i < p_.m; ++i) {
      row_log_sums_[i] = shift_ + std::log(row_sums_[i]);
      row_weights_[i] = static_cast<float>(p_.scale * row_weight / row_sums_[i]);
    }
    if (!symmetric_) return;
    column_weights_.assign(p_.n, 0.0f);
    for (int64_t j = p_.offset; j < p_.offset + p_.m; ++j) {
      column_log_sums_[j] = shift_ + std::log(column_sums_[j]);
      column_weights_[j] = static_cast<float>(p_.scale * row_weight / column_sums_[j]);
    }
  }

  void to_gradient(const Block& block, bool is_kept) override {
    if (!is_kept) {
      multiply_rows(block, [&](const Region& region) {
        const int64_t first = region.first_column, end = std::min(region.end_column, block.columns);
        for (int64_t i = region.first_row; i < region.end_row; ++i) {
          isa_.exponentiate(products_.data() + i * stride_ + first, end - first, p_.scale, shift_, nullptr);
        }
      });
    }
    // E w - scale q / M = (E - scale q / (M w)) w, so that the share is in E before G is formed.
    const float per_row = p_.scale / static_cast<float>(p_.m);
    each_positive(block.row, block.row + block.rows, block.column, block.column + block.columns,
                  [&](int64_t e, int64_t i, int64_t j) {
                    const float weight = row_weights_[i] + (symmetric_ ? column_weights_[j] : 0.0f);
                    row_of(block, i)[j - block.column] -= per_row * matched_share_[e] / weight;
                  });
  }

  double gradient_of_scale() const override { return inner_with_gradient() / p_.scale; }
  double logit_of(float t) const override { return static_cast<double>(p_.scale) * t; }

 private:
  const float shift_;  // sigma
  std::vector<double> row_sums_, column_sums_;
};

}  // namespace

std::unique_ptr<Contrast> bounded_contrast(const ContrastiveProblem& problem, float bound) {
  return std::make_unique<Bounded>(problem, bound);
}

}  // namespace ophclip
