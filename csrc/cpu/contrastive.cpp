// SPDX-License-Identifier: Apache-2.0
//
// Contrastive loss and its gradients in one call, without an M x N array unless it fits the workspace.
//
// With raw products t = a b^T and logits s = scale * t, row log-sums R_i and (symmetric) column log-sums C_j:
//   dL/ds_ij = u e^(s_ij - R_i) + v_j e^(s_ij - C_j) - q_ij / M,
// where u = 1/(2M) and v_j = 1/(2M) for matched columns in the symmetric case, u = 1/M and v = 0 otherwise,
// and q_ij are the shares of row i's positives (q = 1 for the one match). Then grad_a = scale * G b, grad_b =
// scale * G^T a and grad_scale = sum G * t.
//
// Where |s| <= scale max|a_i| max|b_j| = sigma <= 40, as for unit rows at usual temperatures, E = e^(s -
// sigma) neither overflows nor loses digits, so one exponential an entry serves all: R and C are logarithms
// of sums of E, G is E times (u / row sum + v / column sum), and grad_scale = <a, G b>. Otherwise each row
// and column is shifted by its own maximum, which takes four exponentials.
//
// The products are cut into blocks of at most the workspace. Pass 1 computes each block and folds it into
// running (max, sum) pairs; pass 2 computes it again, unless there is but one block, and turns it into G in
// place: 3 matrix products if all fits, 4 otherwise. Sums over many terms are flushed to double. Every number
// is computed by one task in a fixed order, so results do not depend on the number of threads.
#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <vector>

#include "../ops.h"
#include "kernels.h"
#include "multiply.h"
#include "parallel.h"

namespace ophclip {
namespace {

constexpr float kLowest = -std::numeric_limits<float>::infinity();
constexpr int64_t kRowsPerTask = 32, kColumnsPerTask = 512, kFlushRows = 128, kMaxChunks = 64;
constexpr double kMaxBound = 40;  // e^-80 is a normal float

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

struct Block {
  int64_t row, rows, column, columns;
};

class Contrast {
 public:
  explicit Contrast(const ContrastiveProblem& problem)
      : p_(problem), isa_(kernels()), symmetric_(p_.positives.indptr == nullptr) {}

  ContrastiveResult run() {
    plan();
    for (const Block& block : blocks_) {
      product(block);
      collect_positives(block);
      if (is_bounded_) {
        add_bounded(block);
        continue;
      }
      add_rows(block);
      if (symmetric_) add_columns(block);
    }
    ContrastiveResult result;
    result.loss = finish_loss();
    if (p_.grad_a == nullptr && p_.grad_b == nullptr) return result;
    result.grad_scale = gradients();
    return result;
  }

 private:
  void plan() {
    // Near-square blocks: each operand is then packed about equally often.
    const int64_t budget = std::max<int64_t>(p_.workspace_bytes / sizeof(float), 64 * kPanel);
    const int64_t width = panels_of(p_.n) * kPanel;
    int64_t rows = p_.m, columns = width;
    if (rows * columns > budget) {
      const auto side = static_cast<int64_t>(std::sqrt(static_cast<double>(budget)));
      rows = std::min(p_.m, std::max<int64_t>(1, std::max(side, budget / width)));
      columns = std::min(width, std::max<int64_t>(kPanel, budget / rows / kPanel * kPanel));
    }
    stride_ = columns;
    for (int64_t i = 0; i < p_.m; i += rows) {
      for (int64_t j = 0; j < p_.n; j += columns) {
        blocks_.push_back({i, std::min(rows, p_.m - i), j, std::min(columns, p_.n - j)});
      }
    }
    products_.resize(rows * columns);
    rows_.resize(p_.m);
    if (symmetric_) columns_.resize(p_.n);
    matched_.resize(symmetric_ ? p_.m : p_.positives.count);
    const double bound = std::abs(p_.scale) * longest(p_.a, p_.m) * longest(p_.b, p_.n);
    is_bounded_ = bound <= kMaxBound;  // not for NaN
    shift_ = static_cast<float>(bound);
  }

  // The length of the longest of `count` rows; NaN if one holds NaN.
  double longest(const float* rows, int64_t count) const {
    std::vector<double> squares(ceil_div(count, kRowsPerTask), 0.0);
    parallel_for(ceil_div(count, kRowsPerTask), p_.threads, [&](int64_t task) {
      const int64_t end = std::min((task + 1) * kRowsPerTask, count);
      for (int64_t i = task * kRowsPerTask; i < end; ++i) {
        const double square = isa_.dot(rows + i * p_.d, rows + i * p_.d, p_.d);
        if (!(square <= squares[task])) squares[task] = square;
      }
    });
    double largest = 0;
    for (const double square : squares) largest = square <= largest ? largest : square;
    return std::sqrt(largest);
  }

  // Packs the block's part of b and computes t into `products_`.
  void product(const Block& block) {
    packed_.resize(panels_of(block.columns) * kPanel * p_.d);
    parallel_for(panels_of(block.columns), p_.threads, [&](int64_t panel) {
      const int64_t j = panel * kPanel;
      pack_transposed(p_.b + (block.column + j) * p_.d, std::min<int64_t>(kPanel, block.columns - j), p_.d,
                      packed_.data() + j * p_.d);
    });
    if (p_.d == 0) {
      std::fill(products_.begin(), products_.end(), 0.0f);
      return;
    }
    // Whole panels: what lies past the last column is never read.
    multiply(block.rows, panels_of(block.columns) * kPanel, p_.d, p_.a + block.row * p_.d, p_.d, 1,
             packed_.data(), products_.data(), stride_, false, p_.threads);
  }

  float* row_of(const Block& block, int64_t i) { return products_.data() + (i - block.row) * stride_; }

  int64_t first_positive(int64_t i) const { return symmetric_ ? i : p_.positives.indptr[i]; }
  int64_t end_positive(int64_t i) const { return symmetric_ ? i + 1 : p_.positives.indptr[i + 1]; }
  int64_t column_of(int64_t e) const { return symmetric_ ? e + p_.offset : p_.positives.indices[e]; }
  float weight_of(int64_t e) const {
    return symmetric_ || p_.positives.weights == nullptr ? 1.0f : p_.positives.weights[e];
  }

  template <typename Visit>
  void each_positive(const Block& block, int64_t i, const Visit& visit) {
    for (int64_t e = first_positive(i); e < end_positive(i); ++e) {
      const int64_t j = column_of(e) - block.column;
      if (j >= 0 && j < block.columns) visit(e, j);
    }
  }

  void each_row(const Block& block, const std::function<void(int64_t)>& visit) {
    parallel_for(ceil_div(block.rows, kRowsPerTask), p_.threads, [&](int64_t task) {
      const int64_t first = block.row + task * kRowsPerTask;
      const int64_t end = std::min(first + kRowsPerTask, block.row + block.rows);
      for (int64_t i = first; i < end; ++i) visit(i);
    });
  }

  void collect_positives(const Block& block) {
    each_row(block, [&](int64_t i) {
      const float* t = row_of(block, i);
      each_positive(block, i, [&](int64_t e, int64_t j) { matched_[e] = t[j]; });
    });
  }

  // Puts E in place of t, and adds its sums over rows and, chunk of rows by chunk, over columns.
  void add_bounded(const Block& block) {
    const int64_t chunks = std::min(kMaxChunks, ceil_div(block.rows, kRowsPerTask));
    const int64_t width = symmetric_ ? block.columns : 0;
    std::vector<double> totals(chunks * width, 0.0);
    parallel_for(chunks, p_.threads, [&](int64_t chunk) {
      const int64_t first = block.row + block.rows * chunk / chunks;
      const int64_t end = block.row + block.rows * (chunk + 1) / chunks;
      std::vector<float> sums(width);
      for (int64_t start = first; start < end; start += kFlushRows) {
        std::fill(sums.begin(), sums.end(), 0.0f);
        for (int64_t i = start; i < std::min(start + kFlushRows, end); ++i) {
          rows_[i].add(shift_, isa_.exponentiate(row_of(block, i), block.columns, p_.scale, shift_,
                                                 symmetric_ ? sums.data() : nullptr));
        }
        for (int64_t j = 0; j < width; ++j) totals[chunk * width + j] += sums[j];
      }
    });
    for (int64_t chunk = 0; chunk < chunks; ++chunk) {
      for (int64_t j = 0; j < width; ++j) columns_[block.column + j].add(shift_, totals[chunk * width + j]);
    }
  }

  void add_rows(const Block& block) {
    each_row(block, [&](int64_t i) {
      const float* t = row_of(block, i);
      const float max = isa_.max(t, block.columns, p_.scale);
      rows_[i].add(max, isa_.sum_exp(t, block.columns, p_.scale, max));
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

  // The loss, and the positives' shares q in `matched_share_`.
  double finish_loss() {
    matched_share_.resize(matched_.size());
    double across = 0, down = 0, matched = 0;
    for (int64_t i = 0; i < p_.m; ++i) {
      across += rows_[i].value();
      matched += numerator(i);
      if (symmetric_) down += columns_[i + p_.offset].value();
    }
    const auto m = static_cast<double>(p_.m);
    return symmetric_ ? ((across - matched) + (down - matched)) / (2 * m) : (across - matched) / m;
  }

  double numerator(int64_t i) {
    const int64_t first = first_positive(i), end = end_positive(i);
    const auto logit = [&](int64_t e) { return static_cast<double>(p_.scale) * matched_[e]; };
    if (symmetric_ || p_.mean_log) {
      double total = 0, mean = 0;
      for (int64_t e = first; e < end; ++e) total += weight_of(e);
      for (int64_t e = first; e < end; ++e) {
        matched_share_[e] = static_cast<float>(weight_of(e) / total);
        mean += weight_of(e) / total * logit(e);
      }
      return mean;
    }
    double max = kLowest, total = 0;
    for (int64_t e = first; e < end; ++e) max = std::max(max, logit(e));
    for (int64_t e = first; e < end; ++e) total += weight_of(e) * std::exp(logit(e) - max);
    for (int64_t e = first; e < end; ++e) {
      matched_share_[e] = static_cast<float>(weight_of(e) * std::exp(logit(e) - max) / total);
    }
    return max + std::log(total);
  }

  double gradients() {
    const auto m = static_cast<float>(p_.m);
    row_weight_ = symmetric_ ? 0.5f / m : 1.0f / m;
    if (symmetric_) {
      column_weights_.assign(p_.n, 0.0f);
      std::fill_n(column_weights_.begin() + p_.offset, p_.m, 0.5f / m);
      column_shifts_.resize(p_.n);
      for (int64_t j = 0; j < p_.n; ++j) column_shifts_[j] = static_cast<float>(columns_[j].value());
      for (int64_t j = p_.offset; is_bounded_ && j < p_.offset + p_.m; ++j) {
        column_weights_[j] = static_cast<float>(column_weights_[j] / columns_[j].sum);
      }
    }
    if (p_.grad_a != nullptr) std::fill_n(p_.grad_a, p_.m * p_.d, 0.0f);
    if (p_.grad_b != nullptr) std::fill_n(p_.grad_b, p_.n * p_.d, 0.0f);
    std::vector<double> by_row(p_.m, 0.0);
    for (const Block& block : blocks_) {
      if (blocks_.size() > 1) product(block);
      to_gradient(block, by_row);
      if (p_.d > 0) add_gradients(block);
    }
    double total = 0;
    for (const double value : by_row) total += value;
    if (is_bounded_) total = p_.grad_a != nullptr ? dot(p_.a, p_.grad_a, p_.m) : dot(p_.b, p_.grad_b, p_.n);
    scale_gradient(p_.grad_a, p_.m * p_.d);
    scale_gradient(p_.grad_b, p_.n * p_.d);
    return total;
  }

  void to_gradient(const Block& block, std::vector<double>& by_row) {
    const float* weights = symmetric_ ? column_weights_.data() + block.column : nullptr;
    const float* shifts = symmetric_ ? column_shifts_.data() + block.column : nullptr;
    each_row(block, [&](int64_t i) {
      float* t = row_of(block, i);
      if (is_bounded_) {
        if (blocks_.size() > 1) isa_.exponentiate(t, block.columns, p_.scale, shift_, nullptr);
        isa_.weigh(t, block.columns, static_cast<float>(row_weight_ / rows_[i].sum), weights);
        each_positive(block, i,
                      [&](int64_t e, int64_t j) { t[j] -= matched_share_[e] / static_cast<float>(p_.m); });
        return;
      }
      by_row[i] += isa_.softmax_gradient(t, block.columns, p_.scale, row_weight_,
                                         static_cast<float>(rows_[i].value()), weights, shifts);
      each_positive(block, i, [&](int64_t e, int64_t j) {
        const float share = matched_share_[e] / static_cast<float>(p_.m);
        t[j] -= share;
        by_row[i] -= static_cast<double>(share) * matched_[e];
      });
    });
  }

  double dot(const float* x, const float* y, int64_t rows) const {
    double total = 0;
    for (int64_t i = 0; i < rows; ++i) total += isa_.dot(x + i * p_.d, y + i * p_.d, p_.d);
    return total;
  }

  void add_gradients(const Block& block) {
    if (p_.grad_a != nullptr) {
      pack_depth(p_.b + block.column * p_.d, block.columns);
      multiply(block.rows, p_.d, block.columns, products_.data(), stride_, 1, packed_.data(),
               p_.grad_a + block.row * p_.d, p_.d, true, p_.threads);
    }
    if (p_.grad_b != nullptr) {
      pack_depth(p_.a + block.row * p_.d, block.rows);
      multiply(block.columns, p_.d, block.rows, products_.data(), 1, stride_, packed_.data(),
               p_.grad_b + block.column * p_.d, p_.d, true, p_.threads);
    }
  }

  // Packs x [depth, D] with the embedding as columns.
  void pack_depth(const float* x, int64_t depth) {
    packed_.resize(panels_of(p_.d) * kPanel * depth);
    parallel_for(panels_of(p_.d), p_.threads, [&](int64_t panel) {
      const int64_t j = panel * kPanel;
      pack_columns(x + j, p_.d, depth, std::min<int64_t>(kPanel, p_.d - j), packed_.data() + j * depth);
    });
  }

  void scale_gradient(float* gradient, int64_t count) {
    if (gradient == nullptr) return;
    for (int64_t i = 0; i < count; ++i) gradient[i] *= p_.scale;
  }

  const ContrastiveProblem& p_;
  const Kernels& isa_;
  const bool symmetric_;
  bool is_bounded_ = false;
  float shift_ = 0;  // sigma, where it is small enough to serve all
  std::vector<Block> blocks_;
  int64_t stride_ = 0;
  std::vector<float> products_, packed_;
  std::vector<LogSum> rows_, columns_;
  std::vector<float> matched_, matched_share_;  // per positive: t, and its share q
  float row_weight_ = 0;
  std::vector<float> column_weights_, column_shifts_;
};

void check(const ContrastiveProblem& p) {
  if (p.m < 0 || p.n < 0 || p.d < 0) throw std::invalid_argument("sizes must not be negative");
  if (p.positives.indptr == nullptr) {
    if (p.offset < 0 || p.offset + p.m > p.n) {
      throw std::invalid_argument("offset + M must lie in [0, N]: every row must match a row of b");
    }
    return;
  }
  const int64_t* indptr = p.positives.indptr;
  if (indptr[0] != 0 || indptr[p.m] != p.positives.count)
    throw std::invalid_argument("indptr must rise from 0 to P");
  for (int64_t i = 0; i < p.m; ++i) {
    if (indptr[i + 1] <= indptr[i]) throw std::invalid_argument("every row must have at least one positive");
  }
  for (int64_t e = 0; e < p.positives.count; ++e) {
    if (p.positives.indices[e] < 0 || p.positives.indices[e] >= p.n) {
      throw std::invalid_argument("indices of positives must lie in [0, N)");
    }
  }
}

}  // namespace

std::vector<ContrastiveResult> contrastive(const std::vector<ContrastiveProblem>& levels) {
  for (const auto& level : levels) check(level);
  std::vector<ContrastiveResult> results;
  for (const auto& level : levels) {
    if (level.m > 0) {
      results.push_back(Contrast(level).run());
      continue;
    }
    if (level.grad_b != nullptr) std::fill_n(level.grad_b, level.n * level.d, 0.0f);
    results.emplace_back();
  }
  return results;
}

}  // namespace ophclip
