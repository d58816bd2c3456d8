// SPDX-License-Identifier: Apache-2.0
//
// The rows that may still be among the K best of a query, in bounded memory.
#pragma once

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "../ops.h"
#include "scan.h"

namespace ophclip {

constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct Scored {
  float score;
  int64_t id;
};

inline bool is_better(const Scored& x, const Scored& y) {
  return x.score > y.score || (x.score == y.score && x.id < y.id);
}

// The k best of what is offered. It lets some gather before it drops the others, which costs less than to
// keep k in order.
class Best {
 public:
  explicit Best(int64_t k) : k_(k) {}
  void offer(Scored scored) {
    items_.push_back(scored);
    if (static_cast<int64_t>(items_.size()) == 2 * k_ + kGathered) drop();
  }
  float reach() const {
    return reach_;
  }  // k better ones with lower ids are known than a later one of this score
  std::vector<Scored> take() { return std::move(items_); }  // the k best, and perhaps more

 private:
  static constexpr int64_t kGathered = 64;
  void drop();

  int64_t k_;
  float reach_ = kLowest;
  std::vector<Scored> items_;
};

// Writes the k best of `found`, sorted; places beyond hold -inf and -1.
void write_best(std::vector<Scored>& found, int64_t k, float* scores, int64_t* ids);

// A row whose fp32 score lies in [lower, upper]; once it has been computed, both hold it.
struct Bounded {
  float lower, upper;
  int64_t id;
  bool is_exact() const { return lower == upper; }
};

// Computes fp32 scores from the rows of a base, with the chain of operations of the fp32 search.
class Rescorer {
 public:
  explicit Rescorer(const TopkProblem& problem) : p_(problem), kernels_(scan_kernels()) {}
  void rescore(int64_t query, Bounded* first, Bounded* end) const;

 private:
  const TopkProblem& p_;
  const ScanKernels& kernels_;
};

// Collects candidates of one query. Once there are many, the fp32 scores of the k most promising are
// computed, and those whose upper bound is below the least of these, the `reach`, are dropped. If too many
// remain, all their scores are computed, which leaves k; once that has been done to `max_rescored` rows, the
// query has failed, and only a full fp32 search can tell.
class Candidates {
 public:
  Candidates() = default;
  Candidates(int64_t k, int64_t max_rescored);

  // Returns whether `reach` may have changed.
  bool add(Bounded candidate, int64_t query, const Rescorer& rescorer) {
    items_.push_back(candidate);
    if (items_.size() < limit_) return false;
    compact(query, rescorer);
    return true;
  }
  void fail();
  bool has_failed() const { return has_failed_; }
  float reach() const { return reach_; }
  // Takes a reach that is known from elsewhere; returns whether it is higher.
  bool raise(float reach) {
    if (!(reach > reach_)) return false;
    reach_ = reach;
    return true;
  }
  std::vector<Bounded> take() { return std::move(items_); }

 private:
  void compact(int64_t query, const Rescorer& rescorer);
  size_t first_limit() const;

  int64_t k_ = 0, max_rescored_ = 0, rescored_ = 0;
  size_t limit_ = 0;
  float reach_ = kLowest;
  bool has_failed_ = false;
  std::vector<Bounded> items_;
};

// The k best of the candidates by fp32 score, and few more scores computed than that takes.
std::vector<Scored> settle(std::vector<Bounded> items, int64_t k, int64_t query, const Rescorer& rescorer);

}  // namespace ophclip
