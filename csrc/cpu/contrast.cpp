// SPDX-License-Identifier: Apache-2.0
#include "contrast.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "parallel.h"

namespace ophclip {
namespace {

constexpr int64_t kRowsPerTask = 32;

// An odd number of panels: rows whose distance is a multiple of 4 KiB would share their places in the caches.
int64_t stride_of(int64_t columns) { return (panels_of(columns) | 1) * kPanel; }

// The pieces of rows that a strip packs lie pages apart, where the processor does not look ahead by itself.
constexpr int64_t kRowsAhead = 4, kDepthAhead = 12;

void fetch(const float* x, int64_t count) {
  for (int64_t j = 0; j < count; j += 64 / sizeof(float)) __builtin_prefetch(x + j);
}

// Calls each(row, total) for all rows, and returns what each task left in its `total`.
template <typename Each>
std::vector<double> by_task(int64_t rows, int threads, const Each& each) {
  std::vector<double> totals(ceil_div(rows, kRowsPerTask), 0.0);
  parallel_for(static_cast<int64_t>(totals.size()), threads, [&](int64_t task) {
    const int64_t end = std::min((task + 1) * kRowsPerTask, rows);
    for (int64_t i = task * kRowsPerTask; i < end; ++i) each(i, totals[task]);
  });
  return totals;
}

}  // namespace

double longest_row(const void* x, int64_t count, int64_t d, const WordKernels& kind, int threads) {
  const int64_t bytes = d * 4 / kind.elements;
  const auto squares = by_task(count, threads, [&](int64_t i, double& most) {
    const double square = kind.squared_length(static_cast<const char*>(x) + i * bytes, d);
    if (!(square <= most)) most = square;
  });
  double largest = 0;
  for (const double square : squares) largest = square <= largest ? largest : square;
  return std::sqrt(largest);
}

const WordKernels& kind_of(const ContrastiveProblem& problem) {
  return problem.bf16 ? *bf16_kernels() : static_cast<const WordKernels&>(kernels());
}

Gradient::Gradient(void* out, int64_t rows, int64_t d, const WordKernels& kind)
    : out_(out), d_(d), kind_(kind), sums_(static_cast<float*>(out)) {
  if (out == nullptr || kind.elements == 1) return;
  beside_.reserve(rows * d);
  sums_ = beside_.data();
}

void Gradient::complete(int64_t first, const Region& region) const {
  if (sums_ == out_) return;
  for (int64_t i = first + region.first_row; i < first + region.end_row; ++i) {
    const int64_t column = region.first_column, place = (i * d_ + column) * 4 / kind_.elements;
    kind_.weigh(row(i) + column, region.end_column - column, 1.0f, nullptr, static_cast<char*>(out_) + place);
  }
}

Contrast::Contrast(const ContrastiveProblem& problem)
    : p_(problem),
      isa_(kernels()),
      kind_(kind_of(problem)),
      symmetric_(problem.positives.indptr == nullptr),
      words_(problem.d / kind_.elements),
      grad_a_(problem.grad_a, problem.m, problem.d, kind_),
      grad_b_(problem.grad_b, problem.n, problem.d, kind_) {
  plan();
}

ContrastiveResult Contrast::run() {
  for (const Block& block : blocks_) add(block);
  close_sums();
  ContrastiveResult result;
  result.loss = finish_loss();
  if (p_.grad_a == nullptr) return result;
  for (const Block& block : blocks_) {
    to_gradient(block, blocks_.size() == 1);
    if (p_.d > 0) add_gradients(block);
  }
  result.grad_scale = gradient_of_scale();
  return result;
}

void Contrast::plan() {
  // Near-square blocks: each operand is then packed about equally often.
  const int64_t budget = std::max<int64_t>(p_.workspace_bytes / sizeof(float), 64 * kPanel);
  const int64_t width = panels_of(p_.n) * kPanel;
  int64_t rows = p_.m, columns = width;
  if (rows * columns > budget) {
    const auto side = static_cast<int64_t>(std::sqrt(static_cast<double>(budget)));
    rows = std::min(p_.m, std::max<int64_t>(1, std::max(side, budget / width)));
    columns = std::min(width, std::max<int64_t>(kPanel, budget / rows / kPanel * kPanel));
  }
  stride_ = stride_of(columns);
  for (int64_t i = 0; i < p_.m; i += rows) {
    for (int64_t j = 0; j < p_.n; j += columns) {
      blocks_.push_back({i, std::min(rows, p_.m - i), j, std::min(columns, p_.n - j)});
    }
  }
  products_.reserve(rows * stride_);
  row_log_sums_.resize(p_.m);
  if (symmetric_) column_log_sums_.resize(p_.n);
  matched_.resize(symmetric_ ? p_.m : p_.positives.count);
  matched_share_.resize(matched_.size());
}

void Contrast::pack_rows(const Block& block) {
  const int64_t panels = panels_of(block.columns);
  packed_.reserve(panels * kPanel * words_);
  parallel_for(panels, p_.threads, [&](int64_t panel) {
    const int64_t j = panel * kPanel, count = std::min<int64_t>(kPanel, block.columns - j);
    for (int64_t k = 0; k < words_; k += kDepthChunk) {
      isa_.pack_transposed(row_at(p_.b, block.column + j) + k * 4, words_, count,
                           std::min(kDepthChunk, words_ - k),
                           packed_.data() + chunk_at(panels, words_, panel, k));
    }
  });
}

void Contrast::collect_positives(const Block& block, const Region& region) {
  const int64_t first = block.column + region.first_column;
  const int64_t end = block.column + std::min(region.end_column, block.columns);
  each_positive(block.row + region.first_row, block.row + region.end_row, first, end,
                [&](int64_t e, int64_t i, int64_t j) { matched_[e] = row_of(block, i)[j - block.column]; });
}

// The loss, and the positives' shares q in `matched_share_`.
double Contrast::finish_loss() {
  double across = 0, down = 0, matched = 0;
  for (int64_t i = 0; i < p_.m; ++i) {
    across += row_log_sums_[i];
    matched += numerator(i);
    if (symmetric_) down += column_log_sums_[i + p_.offset];
  }
  const auto m = static_cast<double>(p_.m);
  return symmetric_ ? ((across - matched) + (down - matched)) / (2 * m) : (across - matched) / m;
}

double Contrast::numerator(int64_t i) {
  const int64_t first = first_positive(i), end = end_positive(i);
  const auto logit = [&](int64_t e) { return logit_of(matched_[e]); };
  if (symmetric_ || p_.mean_log) {
    double total = 0, mean = 0;
    for (int64_t e = first; e < end; ++e) total += weight_of(e);
    for (int64_t e = first; e < end; ++e) {
      matched_share_[e] = static_cast<float>(weight_of(e) / total);
      mean += weight_of(e) / total * logit(e);
    }
    return mean;
  }
  double max = -std::numeric_limits<double>::infinity(), total = 0;
  for (int64_t e = first; e < end; ++e) max = std::max(max, logit(e));
  for (int64_t e = first; e < end; ++e) total += weight_of(e) * std::exp(logit(e) - max);
  for (int64_t e = first; e < end; ++e) {
    matched_share_[e] = static_cast<float>(weight_of(e) * std::exp(logit(e) - max) / total);
  }
  return max + std::log(total);
}

void Contrast::add_gradients(const Block& block) {
  const int64_t elements = kind_.elements;
  const float* row_weights = row_weights_.data() + block.row;
  const float* column_weights = column_weights_.empty() ? nullptr : column_weights_.data() + block.column;

  pack_depth(p_.b, block.column, block.columns);
  const Product of_a{block.rows,
                     p_.d,
                     ceil_div(block.columns, elements),
                     kind_,
                     packed_.data(),
                     grad_a_.row(block.row),
                     p_.d,
                     block.column > 0,
                     p_.threads};
  multiply(
      of_a, along_rows(),
      [&](int64_t row, int64_t rows, int64_t k, int64_t words, float* out) {
        const int64_t first = k * elements, count = std::min(words * elements, block.columns - first);
        for (int64_t r = 0; r < rows; ++r) {
          if (r + kRowsAhead < rows)
            fetch(products_.data() + (row + r + kRowsAhead) * stride_ + first, count);
          kind_.weigh(products_.data() + (row + r) * stride_ + first, count, row_weights[row + r],
                      column_weights == nullptr ? nullptr : column_weights + first, out + r * kRowPitch);
        }
      },
      [&](const Region& region) {
        if (block.column + block.columns == p_.n) grad_a_.complete(block.row, region);
      });

  pack_depth(p_.a, block.row, block.rows);
  const Product of_b{block.columns, p_.d,           ceil_div(block.rows, elements),
                     kind_,         packed_.data(), grad_b_.row(block.column),
                     p_.d,          block.row > 0,  p_.threads};
  const LeftLayout layout = across_rows(block.columns);
  multiply(
      of_b, layout,
      [&](int64_t column, int64_t columns, int64_t k, int64_t words, float* out) {
        for (int64_t w = 0; w < words; ++w) {
          const int64_t i = (k + w) * elements,
                        ahead = std::max<int64_t>(0, std::min(i + kDepthAhead, block.rows - elements));
          for (int64_t e = 0; e < elements; ++e)
            fetch(products_.data() + (ahead + e) * stride_ + column, columns);
          kind_.weigh_across(products_.data() + i * stride_ + column, stride_,
                             static_cast<int>(std::min(elements, block.rows - i)), columns, row_weights + i,
                             column_weights == nullptr ? nullptr : column_weights + column,
                             out + w * layout.step);
        }
      },
      [&](const Region& region) {
        if (block.row + block.rows == p_.m) grad_b_.complete(block.column, region);
      });
}

// Packs rows [row, row + depth) of x with the embedding as columns.
void Contrast::pack_depth(const void* x, int64_t row, int64_t depth) {
  const int64_t elements = kind_.elements, words = ceil_div(depth, elements), bytes = 4 / elements;
  const int64_t panels = panels_of(p_.d);
  packed_.reserve(panels * kPanel * words);
  parallel_for(panels, p_.threads, [&](int64_t panel) {
    const int64_t j = panel * kPanel, columns = std::min<int64_t>(kPanel, p_.d - j);
    for (int64_t w = 0; w < words; ++w) {
      const int64_t start = w / kDepthChunk * kDepthChunk;
      float* out = packed_.data() + chunk_at(panels, words, panel, start) + (w - start) * kPanel;
      const char* from = row_at(x, row + w * elements) + j * bytes;
      kind_.pack_across(from, p_.d, static_cast<int>(std::min(elements, depth - w * elements)), columns, out);
      std::fill(out + columns, out + kPanel, 0.0f);
    }
  });
}

double Contrast::inner_with_gradient() const {
  const auto partial = by_task(p_.m, p_.threads, [&](int64_t i, double& total) {
    total += kind_.dot(row_at(p_.a, i), grad_a_.row(i), p_.d);
  });
  double total = 0;
  for (const double part : partial) total += part;
  return total;
}

}  // namespace ophclip
