// SPDX-License-Identifier: Apache-2.0
//
// The loss for logits of any size: each row and column is shifted by its own maximum, which takes four
// exponentials a logit and passes of their own over the block.
#include <cmath>
#include <limits>

#include "contrast.h"
#include "ways.h"

namespace ophclip {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int64_t kRowsPerTask = 32, kColumnsPerTask = 512, kFlushRows = 128;

struct LogSum {
  float max = kLowest;
  double sum = 0;

  void add(float other_max, double other_sum) {
    if (other_max > max) {
      sum = sum * std::exp(static_cast<double>(max) - other_max) + other_sum;
      max = other_max;
    } else {
      sum += other_sum * std::exp(static_cast<double>(other_max) - max);
    }
  }
  double value() const { return max + std::log(sum); }
};

class General final : public Contrast {
 public:
  explicit General(const ContrastiveProblem& problem) : Contrast(problem), rows_(p_.m) {
    if (symmetric_) columns_.resize(p_.n);
    by_row_.assign(p_.m, 0.0);
  }

 protected:
  void add(const Block& block) override {
    multiply_rows(block, [&](const Region& region) { collect_positives(block, region); });
    each_row(block, [&](int64_t i) {
      const float* t = row_of(block, i);
      const float max = isa_.max(t, block.columns, p_.scale);
      rows_[i].add(max, isa_.sum_exp(t, block.columns, p_.scale, max));
    });
    if (symmetric_) add_columns(block);
  }

  void close_sums() override {
    for (int64_t i = 0; i < p_.m; ++i) row_log_sums_[i] = rows_[i].value();
    row_weights_.assign(p_.m, p_.scale);
    if (!symmetric_) return;
    for (int64_t j = 0; j < p_.n; ++j) column_log_sums_[j] = columns_[j].value();
    softmax_weights_.assign(p_.n, 0.0f);
    for (int64_t j = p_.offset; j < p_.offset + p_.m; ++j) {
      softmax_weights_[j] = static_cast<float>(0.5 / static_cast<double>(p_.m) / columns_[j].sum);
    }
    shifts_.resize(p_.n);
    for (int64_t j = 0; j < p_.n; ++j) shifts_[j] = columns_[j].max;
  }

  // Shifts by the maximum and divides by the sum, rather than shift by the log-sum: of a large logit that
  // would be rounded, by as much as the softmax of the largest then differs from 1.
  void to_gradient(const Block& block, bool is_kept) override {
    if (!is_kept) multiply_rows(block, [](const Region&) {});
    const auto m = static_cast<double>(p_.m);
    const double row_weight = symmetric_ ? 0.5 / m : 1 / m;
    const float* weights = symmetric_ ? softmax_weights_.data() + block.column : nullptr;
    const float* shifts = symmetric_ ? shifts_.data() + block.column : nullptr;
    each_row(block, [&](int64_t i) {
      float* t = row_of(block, i);
      by_row_[i] +=
          isa_.softmax_gradient(t, block.columns, p_.scale, static_cast<float>(row_weight / rows_[i].sum),
                                rows_[i].max, weights, shifts);
      each_positive(i, i + 1, block.column, block.column + block.columns, [&](int64_t e, int64_t, int64_t j) {
        const auto share = static_cast<float>(matched_share_[e] / m);
        t[j - block.column] -= share;
        by_row_[i] -= static_cast<double>(share) * matched_[e];
      });
    });
  }

  double gradient_of_scale() const override {
    double total = 0;
    for (const double value : by_row_) total += value;
    return total;
  }

  double logit_of(float t) const override { return p_.scale * t; }

 private:
  template <typename Visit>
  void each_row(const Block& block, const Visit& visit) {
    parallel_for(ceil_div(block.rows, kRowsPerTask), p_.threads, [&](int64_t task) {
      const int64_t first = block.row + task * kRowsPerTask;
      const int64_t end = std::min(first + kRowsPerTask, block.row + block.rows);
      for (int64_t i = first; i < end; ++i) visit(i);
    });
  }

  void add_columns(const Block& block) {
    parallel_for(ceil_div(block.columns, kColumnsPerTask), p_.threads, [&](int64_t task) {
      const int64_t first = task * kColumnsPerTask, count = std::min(kColumnsPerTask, block.columns - first);
      const float* t = products_.data() + first;
      float max[kColumnsPerTask], sums[kColumnsPerTask];
      double totals[kColumnsPerTask] = {};
      std::fill_n(max, count, kLowest);
      for (int64_t i = 0; i < block.rows; ++i) isa_.max_columns(t + i * stride_, count, p_.scale, max);
      for (int64_t start = 0; start < block.rows; start += kFlushRows) {
        std::fill_n(sums, count, 0.0f);
        const int64_t end = std::min(start + kFlushRows, block.rows);
        for (int64_t i = start; i < end; ++i)
          isa_.sum_exp_columns(t + i * stride_, count, p_.scale, max, sums);
        for (int64_t j = 0; j < count; ++j) totals[j] += sums[j];
      }
      for (int64_t j = 0; j < count; ++j) columns_[block.column + first + j].add(max[j], totals[j]);
    });
  }

  std::vector<LogSum> rows_, columns_;
  std::vector<double> by_row_;                   // sum_j G t
  std::vector<float> softmax_weights_, shifts_;  // of columns: v / sum, and the maximum
};

}  // namespace

std::unique_ptr<Contrast> general_contrast(const ContrastiveProblem& problem) {
  return std::make_unique<General>(problem);
}

}  // namespace ophclip
