// SPDX-License-Identifier: Apache-2.0
//
// The entry point of the search: checks its arguments and chooses between the scan of quantised rows
// (quantised_search.cpp) and that in fp32 (exact_search.cpp).
#include <numeric>
#include <stdexcept>

#include "search.h"

namespace ophclip {
namespace {

void check_base(const TopkProblem& p) {
  if (p.n == 0 || p.d == 0) return;
  if ((p.rows == nullptr) == (p.panels == nullptr)) {
    throw std::invalid_argument("the base must be either rows or panels");
  }
  const QuantisedRows& quantised = p.quantised;
  if (quantised.panels == nullptr) return;
  if (p.rows == nullptr || quantised.facts == nullptr || quantised.centre == nullptr) {
    throw std::invalid_argument("quantised rows need the rows, their facts and their centre");
  }
}

void check(const TopkProblem& p) {
  if (p.q < 0 || p.n < 0 || p.d < 0) throw std::invalid_argument("sizes must not be negative");
  if (p.k < 0 || p.k > p.n) throw std::invalid_argument("k must lie in [0, N]");
  check_base(p);
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
  if (problem.q == 0 || problem.k == 0) return;
  const Exclusions exclusions(problem.exclude, problem.q);
  if (problem.quantised.panels != nullptr) return search_quantised(problem, exclusions, scores, ids);
  std::vector<int64_t> queries(problem.q);
  std::iota(queries.begin(), queries.end(), 0);
  search_exactly(problem, exclusions, queries, scores, ids);
}

}  // namespace ophclip
