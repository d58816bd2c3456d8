// SPDX-License-Identifier: Apache-2.0
//
// Maximum inner product search over quantised rows, whose result is that of the fp32 search, bit for bit.
//
// Scan: as in exact_search.cpp, but a score comes with a bound of its error (certificate.h), and a row is
// kept while its upper bound reaches the k-th best lower bound. One comparison a score does that: with e =
// <y, m> + s t <q, p>, a row can only reach what s <q, p> >= (reach - <y, m> - bound) / t, where the bound
// takes the largest residual and norm of the panel. Settle: fp32 scores of the candidates, most promising
// first, until the next upper bound is below the k-th score. A candidate whose upper bound equals that score
// is looked at, because its id may be lower. Fall back: queries whose candidates are too many (see
// candidates.h), or beyond the range of the certificate, are searched in fp32. Ranges of the base tell one
// another what they know of a query's k-th best score. Memory: a block of queries and a few thousand
// candidates a query of it, independent of N.
#include <atomic>
#include <bit>
#include <numeric>

#include "candidates.h"
#include "certificate.h"
#include "parallel.h"
#include "query_block.h"
#include "repeated_words.h"
#include "search.h"

namespace ophclip {
namespace {

constexpr int64_t kQueriesAtOnce = 256;
constexpr int64_t kRescoredShare =
    32;                        // more fp32 scores than of N / 32 rows cost a third of the fp32 search
constexpr int64_t kFacts = 3;  // of a row: scale, residual norm, norm
constexpr int64_t kPanelsBetweenLooks = 16;  // at what other ranges have found

// What a task knows of its queries, an array each for the kernels.
struct Bounds {
  explicit Bounds(int64_t queries)
      : bounds(queries),
        reach(queries),
        residual(queries),
        norm(queries),
        limits(queries),
        num_open(queries) {}
  std::vector<ErrorBound> bounds;
  std::vector<float> reach, residual, norm;  // divided by t
  std::vector<float> limits;
  int64_t num_open = 0;  // queries that have not failed
};

class QuantisedSearch {
 public:
  QuantisedSearch(const TopkProblem& problem, const Exclusions& exclusions)
      : p_(problem),
        exclusions_(exclusions),
        kernels_(scan_kernels()),
        rescorer_(problem),
        is_int8_(p_.quantised.is_int8),
        words_(ceil_div(p_.d, is_int8_ ? 4 : 2)),
        centre_norm_(norm_of(p_.quantised.centre, p_.d)),
        split_(p_.q, kQueriesAtOnce, p_.n, p_.threads),
        candidates_(p_.q * split_.ranges),
        best_reach_(split_.ranges > 1 ? p_.q : 0),
        has_failed_(p_.q) {
    for (auto& reach : best_reach_) reach.store(kLowest, std::memory_order_relaxed);
  }

  void run(float* scores, int64_t* ids) {
    parallel_for(split_.tasks(), p_.threads, [&](int64_t task) {
      scan(task);
      if (split_.ranges > 1) return;
      for (int64_t i = split_.first_query(task); i < split_.end_query(task); ++i) finish(i, scores, ids);
    });
    if (split_.ranges > 1) parallel_for(p_.q, p_.threads, [&](int64_t i) { finish(i, scores, ids); });
    std::vector<int64_t> failed;
    for (int64_t i = 0; i < p_.q; ++i) {
      if (has_failed_[i]) failed.push_back(i);
    }
    if (!failed.empty()) search_exactly(p_, exclusions_, failed, scores, ids);
  }

 private:
  const TileKernel& kernel() const { return is_int8_ ? kernels_.int8 : kernels_.bf16; }
  auto reach() const { return is_int8_ ? kernels_.reach_ints : kernels_.reach_floats; }
  Candidates& candidates(int64_t query, int64_t task) {
    return candidates_[query * split_.ranges + split_.range(task)];
  }

  void scan(int64_t task) {
    const int64_t first_query = split_.first_query(task), count = split_.end_query(task) - first_query;
    Bounds known(count);
    QueryBlock block = prepare(task, known);
    std::vector<uint32_t> dots(count * kPanel), masks(count);
    const int64_t panel_words = words_ * kPanel;
    for (int64_t panel = split_.first_panel(task); panel < split_.end_panel(task); ++panel) {
      if (split_.ranges > 1 && panel % kPanelsBetweenLooks == 0) adopt_reaches(task, known);
      const uint32_t valid = ~0u >> (kPanel - std::min<int64_t>(kPanel, p_.n - panel * kPanel));
      const float* facts = p_.quantised.facts + panel * kFacts * kPanel;
      const uint32_t* words = p_.quantised.panels + panel * panel_words;
      kernels_.limits(count, known.reach.data(), known.residual.data(), known.norm.data(), facts + kPanel,
                      facts + 2 * kPanel, known.limits.data());
      block.score(words, words + panel_words, dots.data());
      reach()(count, dots.data(), facts, known.limits.data(), masks.data());
      for (int64_t i = 0; i < count; ++i) {
        if (masks[i] & valid) offer(i, task, masks[i] & valid, dots.data() + i * kPanel, panel, known);
      }
      if (known.num_open == 0) return;
    }
  }

  QueryBlock prepare(int64_t task, Bounds& known) {
    const int64_t first = split_.first_query(task), count = split_.end_query(task) - first;
    RepeatedWords repeated(words_);
    std::vector<float> spans(count);
    for (int64_t i = 0; i < count; ++i) {
      const float* y = p_.queries + (first + i) * p_.d;
      candidates(first + i, task) = Candidates(p_.k, p_.n / kRescoredShare);
      if (!is_scannable(y, p_.d)) {
        candidates(first + i, task).fail();
        --known.num_open;
      } else if (is_int8_) {
        spans[i] = repeated.span_of(y, p_.d);
      }
    }
    QueryBlock block(kernel(), count, words_, repeated.list());
    std::vector<uint16_t> rounded(p_.d);
    std::vector<int16_t> codes(p_.d);
    for (int64_t i = 0; i < count; ++i) {
      Candidates& kept = candidates(first + i, task);
      if (!kept.has_failed()) {
        known.bounds[i] = quantise_query(p_.queries + (first + i) * p_.d, p_.d, p_.quantised, centre_norm_,
                                         spans[i], rounded.data(), codes.data());
        if (!(known.bounds[i].constant < kMaxError)) {
          known.bounds[i] = {};
          kept.fail();
          --known.num_open;
        }
      }
      if (is_int8_) {
        block.put_codes(i, codes.data(), p_.d);
      } else {
        block.put_bf16(i, rounded.data(), p_.d);
      }
      known.residual[i] = known.bounds[i].residual / known.bounds[i].scale;
      known.norm[i] = known.bounds[i].norm / known.bounds[i].scale;
      set_reach(i, kept.reach(), known);
    }
    block.interleave();
    return block;
  }

  static void set_reach(int64_t i, float reach, Bounds& known) {
    const ErrorBound& bound = known.bounds[i];
    known.reach[i] = (reach - bound.offset - bound.constant) / bound.scale;
  }

  void adopt_reaches(int64_t task, Bounds& known) {
    const int64_t first = split_.first_query(task);
    for (int64_t i = 0; i < split_.end_query(task) - first; ++i) {
      const float reach = best_reach_[first + i].load(std::memory_order_relaxed);
      if (candidates(first + i, task).raise(reach)) set_reach(i, reach, known);
    }
  }

  // Lets the other ranges know that k rows score at least `reach`.
  void publish(int64_t query, float reach) {
    if (split_.ranges == 1) return;
    std::atomic<float>& best = best_reach_[query];
    float seen = best.load(std::memory_order_relaxed);
    while (seen < reach && !best.compare_exchange_weak(seen, reach, std::memory_order_relaxed)) {
    }
  }

  void offer(int64_t i, int64_t task, uint32_t mask, const uint32_t* dots, int64_t panel, Bounds& known) {
    const int64_t query = split_.first_query(task) + i;
    const ErrorBound& bound = known.bounds[i];
    const float* facts = p_.quantised.facts + panel * kFacts * kPanel;
    Candidates& kept = candidates(query, task);
    for (; mask != 0 && !kept.has_failed(); mask &= mask - 1) {
      const int j = std::countr_zero(mask);
      const float dot =
          is_int8_ ? static_cast<float>(static_cast<int32_t>(dots[j])) : std::bit_cast<float>(dots[j]);
      const float score = bound.offset + bound.scale * (facts[j] * dot);
      const float error =
          bound.residual * facts[kPanel + j] + bound.norm * facts[2 * kPanel + j] + bound.constant;
      const int64_t id = panel * kPanel + j;
      if (score + error < kept.reach() || exclusions_.holds(query, id)) continue;
      if (!(error < kMaxError)) kept.fail();
      if (kept.has_failed() || kept.add({score - error, score + error, id}, query, rescorer_)) {
        set_reach(i, kept.reach(), known);
        if (!kept.has_failed()) publish(query, kept.reach());
      }
    }
    if (kept.has_failed()) --known.num_open;
  }

  void finish(int64_t query, float* scores, int64_t* ids) {
    std::vector<Bounded> items;
    for (int64_t range = 0; range < split_.ranges; ++range) {
      Candidates& kept = candidates_[query * split_.ranges + range];
      if (kept.has_failed()) has_failed_[query] = 1;
      const std::vector<Bounded> part = kept.take();
      items.insert(items.end(), part.begin(), part.end());
    }
    if (has_failed_[query]) return;
    std::vector<Scored> found = settle(std::move(items), p_.k, query, rescorer_);
    write_best(found, p_.k, scores + query * p_.k, ids + query * p_.k);
  }

  const TopkProblem& p_;
  const Exclusions& exclusions_;
  const ScanKernels& kernels_;
  const Rescorer rescorer_;
  const bool is_int8_;
  const int64_t words_;
  const double centre_norm_;
  const Split split_;
  std::vector<Candidates> candidates_;
  std::vector<std::atomic<float>> best_reach_;  // of each query, over the ranges
  std::vector<uint8_t> has_failed_;
};

// Where the k best are a large part of the base, or a row is too long for the sums, fp32 is as fast.
bool pays(const TopkProblem& p) { return p.d > 0 && p.d <= kMaxScannedDepth && p.n >= 4 * p.k; }

}  // namespace

void search_quantised(const TopkProblem& problem, const Exclusions& exclusions, float* scores, int64_t* ids) {
  if (pays(problem)) return QuantisedSearch(problem, exclusions).run(scores, ids);
  std::vector<int64_t> all(problem.q);
  std::iota(all.begin(), all.end(), 0);
  search_exactly(problem, exclusions, all, scores, ids);
}

}  // namespace ophclip
