// SPDX-License-Identifier: Apache-2.0
//
// Maximum inner product search that streams over the base: a task scores a block of queries against a range
// of panels, 32 rows at a time, and keeps the k best of each query in a heap; nothing of size Q x N exists.
//
// A score is one chain of multiply-adds in the order of the embedding, the same for every row, place and
// thread, so equal rows have equal scores and ties are exact. Ranges are scanned by rising id and only a
// better score displaces another, so of equal scores the lower id stays. Memory: Q x k x ranges, independent
// of N.
#include <algorithm>
#include <limits>
#include <stdexcept>
#include <vector>

#include "../ops.h"
#include "kernels.h"
#include "multiply.h"
#include "parallel.h"

namespace ophclip {
namespace {

constexpr int64_t kQueryBlock = 128;
constexpr int64_t kPanelsPerRange = 64;  // at least: a range must be worth its heaps
constexpr float kLowest = -std::numeric_limits<float>::infinity();

struct Candidate {
  float score;
  int64_t id;
};

bool is_better(const Candidate& x, const Candidate& y) {
  return x.score > y.score || (x.score == y.score && x.id < y.id);
}

class Search {
 public:
  explicit Search(const TopkProblem& problem) : p_(problem), isa_(kernels()), panels_(panels_of(p_.n)) {}

  void run(float* scores, int64_t* ids) {
    const int64_t query_blocks = ceil_div(p_.q, kQueryBlock);
    // With few queries the base is split instead, so that every thread has work.
    ranges_ =
        std::clamp<int64_t>(ceil_div(2 * p_.threads, query_blocks), 1, ceil_div(panels_, kPanelsPerRange));
    heaps_.resize(p_.q * ranges_);
    parallel_for(query_blocks * ranges_, p_.threads, [&](int64_t task) {
      const int64_t first = task / ranges_ * kQueryBlock;
      scan(first, std::min(first + kQueryBlock, p_.q), task % ranges_);
    });
    parallel_for(p_.q, p_.threads, [&](int64_t query) { merge(query, scores, ids); });
  }

 private:
  void scan(int64_t first_query, int64_t end_query, int64_t range) {
    const int64_t first = panels_ * range / ranges_, end = panels_ * (range + 1) / ranges_;
    std::vector<float> packed(p_.panels == nullptr ? kPanel * p_.d : 0);
    float tile[16 * kPanel];
    for (int64_t panel = first; panel < end; ++panel) {
      const int64_t base_id = panel * kPanel, count = std::min<int64_t>(kPanel, p_.n - base_id);
      const float* columns = p_.panels != nullptr ? p_.panels + base_id * p_.d : packed.data();
      if (p_.panels == nullptr) pack_transposed(p_.rows + base_id * p_.d, count, p_.d, packed.data());
      for (int64_t query = first_query; query < end_query; query += isa_.max_rows) {
        const int rows = static_cast<int>(std::min<int64_t>(isa_.max_rows, end_query - query));
        isa_.tile(rows, p_.d, p_.queries + query * p_.d, p_.d, 1, columns, tile, kPanel, false);
        for (int r = 0; r < rows; ++r) offer(query + r, range, tile + r * kPanel, count, base_id);
      }
    }
  }

  void offer(int64_t query, int64_t range, const float* scores, int64_t count, int64_t base_id) {
    auto& heap = heaps_[query * ranges_ + range];
    const auto k = static_cast<size_t>(p_.k);
    float worst = heap.size() < k ? kLowest : heap.front().score;
    if (heap.size() == k && !(isa_.max(scores, count, 1.0f) > worst)) return;
    for (int64_t j = 0; j < count; ++j) {
      if (heap.size() == k && !(scores[j] > worst)) continue;
      if (is_excluded(query, base_id + j)) continue;
      if (heap.size() == k) {
        std::pop_heap(heap.begin(), heap.end(), is_better);
        heap.pop_back();
      }
      heap.push_back({scores[j], base_id + j});
      std::push_heap(heap.begin(), heap.end(), is_better);
      worst = heap.size() < k ? kLowest : heap.front().score;
    }
  }

  bool is_excluded(int64_t query, int64_t id) const {
    if (p_.exclude.indptr == nullptr) return false;
    const int64_t* first = p_.exclude.indices + p_.exclude.indptr[query];
    const int64_t* end = p_.exclude.indices + p_.exclude.indptr[query + 1];
    return std::find(first, end, id) != end;
  }

  void merge(int64_t query, float* scores, int64_t* ids) const {
    std::vector<Candidate> found;
    for (int64_t range = 0; range < ranges_; ++range) {
      const auto& heap = heaps_[query * ranges_ + range];
      found.insert(found.end(), heap.begin(), heap.end());
    }
    std::sort(found.begin(), found.end(), is_better);
    for (int64_t place = 0; place < p_.k; ++place) {
      const bool is_found = place < static_cast<int64_t>(found.size());
      scores[query * p_.k + place] = is_found ? found[place].score : kLowest;
      ids[query * p_.k + place] = is_found ? found[place].id : -1;
    }
  }

  const TopkProblem& p_;
  const Kernels& isa_;
  const int64_t panels_;
  int64_t ranges_ = 1;
  std::vector<std::vector<Candidate>> heaps_;
};

void check(const TopkProblem& p) {
  if (p.q < 0 || p.n < 0 || p.d < 0) throw std::invalid_argument("sizes must not be negative");
  if (p.k < 0 || p.k > p.n) throw std::invalid_argument("k must lie in [0, N]");
  if (p.n > 0 && p.d > 0 && (p.rows == nullptr) == (p.panels == nullptr)) {
    throw std::invalid_argument("the base must be either rows or panels");
  }
  if (p.exclude.indptr == nullptr) return;
  if (p.exclude.indptr[0] != 0 || p.exclude.indptr[p.q] != p.exclude.count) {
    throw std::invalid_argument("indptr of exclude must rise from 0 to P");
  }
  for (int64_t i = 0; i < p.q; ++i) {
    if (p.exclude.indptr[i + 1] < p.exclude.indptr[i])
      throw std::invalid_argument("indptr of exclude must not fall");
  }
}

}  // namespace

void topk(const TopkProblem& problem, float* scores, int64_t* ids) {
  check(problem);
  if (problem.q > 0 && problem.k > 0) Search(problem).run(scores, ids);
}

}  // namespace ophclip
