// SPDX-License-Identifier: Apache-2.0
//
// What the two searches share: the split of the work and the rows that are left out.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "../ops.h"
#include "multiply.h"

namespace ophclip {

// Tasks are blocks of queries times ranges of panels. For several threads the queries are split first: each
// range of the base would begin anew without knowing what a good score is, and keep candidates until it does.
// With few queries the base is split too, so that every thread has work, but a range must be worth what it
// keeps for each query.
struct Split {
  static constexpr int64_t kPanelsPerRange = 64;
  static constexpr int64_t kFewestQueries = 64;  // of a block; with fewer, reading the base costs more

  Split(int64_t queries, int64_t queries_at_once, int64_t rows, int threads)
      : queries(queries), panels(panels_of(rows)) {
    const int64_t tasks = threads == 1 ? 1 : 2 * threads;
    blocks = std::max(ceil_div(queries, queries_at_once), std::min<int64_t>(tasks, queries / kFewestQueries));
    const int64_t wanted = ceil_div(tasks, blocks);
    ranges = std::clamp<int64_t>(wanted, 1, std::max<int64_t>(1, ceil_div(panels, kPanelsPerRange)));
  }
  int64_t tasks() const { return blocks * ranges; }
  int64_t first_query(int64_t task) const { return queries * (task / ranges) / blocks; }
  int64_t end_query(int64_t task) const { return queries * (task / ranges + 1) / blocks; }
  int64_t range(int64_t task) const { return task % ranges; }
  int64_t first_panel(int64_t task) const { return panels * range(task) / ranges; }
  int64_t end_panel(int64_t task) const { return panels * (range(task) + 1) / ranges; }

  int64_t queries, panels, blocks = 0, ranges = 1;
};

// The lists of excluded rows, sorted.
class Exclusions {
 public:
  Exclusions(const SparseRows& lists, int64_t queries) : lists_(lists) {
    if (lists.indptr == nullptr) return;
    sorted_.assign(lists.indices, lists.indices + lists.count);
    for (int64_t i = 0; i < queries; ++i) {
      std::sort(sorted_.begin() + lists.indptr[i], sorted_.begin() + lists.indptr[i + 1]);
    }
  }
  bool holds(int64_t query, int64_t id) const {
    if (lists_.indptr == nullptr) return false;
    const auto first = sorted_.begin() + lists_.indptr[query];
    return std::binary_search(first, sorted_.begin() + lists_.indptr[query + 1], id);
  }

 private:
  const SparseRows& lists_;
  std::vector<int64_t> sorted_;
};

// Searches the rows or panels in fp32, for the queries of these places.
void search_exactly(const TopkProblem& problem, const Exclusions& exclusions,
                    const std::vector<int64_t>& queries, float* scores, int64_t* ids);

// Scans the quantised rows and searches what a scan cannot tell in fp32; needs 0 < K <= N.
void search_quantised(const TopkProblem& problem, const Exclusions& exclusions, float* scores, int64_t* ids);

}  // namespace ophclip
