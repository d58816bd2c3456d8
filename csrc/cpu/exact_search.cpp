// SPDX-License-Identifier: Apache-2.0
//
// Maximum inner product search in fp32 that streams over the base: a task scores a block of queries against a
// range of panels, 32 rows at a time, and keeps the k best of each query in a heap; nothing of size Q x N
// exists.
//
// A score is one chain of multiply-adds in the order of the embedding, the same for every row, place and
// thread, so equal rows have equal scores and ties are exact. A score that overflows to NaN is never found.
// Memory: a block of queries a thread, and Q x k x ranges, independent of N.
#include <bit>

#include "candidates.h"
#include "parallel.h"
#include "query_block.h"
#include "search.h"

namespace ophclip {
namespace {

constexpr int64_t kQueriesAtOnce = 128;
constexpr float kOnes[kPanel] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1,
                                 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1};

class ExactSearch {
 public:
  ExactSearch(const TopkProblem& problem, const Exclusions& exclusions, const std::vector<int64_t>& queries)
      : p_(problem),
        exclusions_(exclusions),
        queries_(queries),
        kernels_(scan_kernels()),
        split_(static_cast<int64_t>(queries.size()), kQueriesAtOnce, p_.n, p_.threads),
        best_(queries.size() * split_.ranges, Best(p_.k)) {}

  void run(float* scores, int64_t* ids) {
    parallel_for(split_.tasks(), p_.threads, [&](int64_t task) {
      scan(task);
      if (split_.ranges > 1) return;
      for (int64_t i = split_.first_query(task); i < split_.end_query(task); ++i) finish(i, scores, ids);
    });
    if (split_.ranges == 1) return;
    parallel_for(split_.queries, p_.threads, [&](int64_t i) { finish(i, scores, ids); });
  }

 private:
  void scan(int64_t task) {
    const int64_t first_query = split_.first_query(task), count = split_.end_query(task) - first_query;
    QueryBlock block(kernels_.fp32, count, p_.d);
    for (int64_t i = 0; i < count; ++i) {
      block.put_floats(i, p_.queries + queries_[first_query + i] * p_.d, p_.d);
    }
    block.interleave();
    std::vector<float> packed(p_.panels == nullptr ? kPanel * p_.d : 0);
    std::vector<uint32_t> dots(count * kPanel), masks(count);
    std::vector<float> limits(count, kLowest);
    for (int64_t panel = split_.first_panel(task); panel < split_.end_panel(task); ++panel) {
      const int64_t base_id = panel * kPanel, rows = std::min<int64_t>(kPanel, p_.n - base_id);
      const uint32_t valid = ~0u >> (kPanel - rows);
      const float* columns = p_.panels != nullptr ? p_.panels + base_id * p_.d : packed.data();
      if (p_.panels == nullptr) pack_transposed(p_.rows + base_id * p_.d, rows, p_.d, packed.data());
      const auto* words = reinterpret_cast<const uint32_t*>(columns);
      block.score(words, p_.panels != nullptr ? words + kPanel * p_.d : words, dots.data());
      kernels_.reach_floats(count, dots.data(), kOnes, limits.data(), masks.data());
      for (int64_t i = 0; i < count; ++i) {
        if ((masks[i] & valid) == 0) continue;
        offer(first_query + i, task, masks[i] & valid, dots.data() + i * kPanel, base_id);
        limits[i] = best_of(first_query + i, task).reach();
      }
    }
  }

  void finish(int64_t i, float* scores, int64_t* ids) {
    std::vector<Scored> found;
    for (int64_t range = 0; range < split_.ranges; ++range) {
      const std::vector<Scored> part = best_[i * split_.ranges + range].take();
      found.insert(found.end(), part.begin(), part.end());
    }
    write_best(found, p_.k, scores + queries_[i] * p_.k, ids + queries_[i] * p_.k);
  }

  Best& best_of(int64_t i, int64_t task) { return best_[i * split_.ranges + split_.range(task)]; }

  void offer(int64_t i, int64_t task, uint32_t mask, const uint32_t* dots, int64_t base_id) {
    Best& best = best_of(i, task);
    for (; mask != 0; mask &= mask - 1) {
      const int j = std::countr_zero(mask);
      // Ranges are scanned by rising id: an equal score cannot displace another.
      const float score = std::bit_cast<float>(dots[j]);
      if (best.reach() > kLowest && !(score > best.reach())) continue;
      if (!exclusions_.holds(queries_[i], base_id + j)) best.offer({score, base_id + j});
    }
  }

  const TopkProblem& p_;
  const Exclusions& exclusions_;
  const std::vector<int64_t>& queries_;
  const ScanKernels& kernels_;
  const Split split_;
  std::vector<Best> best_;
};

}  // namespace

void search_exactly(const TopkProblem& problem, const Exclusions& exclusions,
                    const std::vector<int64_t>& queries, float* scores, int64_t* ids) {
  ExactSearch(problem, exclusions, queries).run(scores, ids);
}

}  // namespace ophclip
