// SPDX-License-Identifier: Apache-2.0
#include "candidates.h"

#include <algorithm>

namespace ophclip {
namespace {

constexpr int64_t kFewest = 256;     // candidates that gather before the first are dropped, or 4 k
constexpr int64_t kCapacity = 4096;  // candidates a query, or 4 k

bool has_higher_lower(const Bounded& x, const Bounded& y) { return x.lower > y.lower; }
bool has_higher_upper(const Bounded& x, const Bounded& y) { return x.upper > y.upper; }
bool is_better_exact(const Bounded& x, const Bounded& y) {
  return is_better({x.lower, x.id}, {y.lower, y.id});
}

// Computes the scores of the k items of highest lower bound, drops what cannot reach them, and returns the
// least of them.
float tighten(std::vector<Bounded>& items, int64_t k, int64_t query, const Rescorer& rescorer) {
  const auto kth = items.begin() + (k - 1);
  std::nth_element(items.begin(), kth, items.end(), has_higher_lower);
  rescorer.rescore(query, items.data(), items.data() + k);
  const float reach = std::min_element(items.begin(), kth + 1, [](const Bounded& x, const Bounded& y) {
                        return x.lower < y.lower;
                      })->lower;
  std::erase_if(items, [&](const Bounded& item) { return item.upper < reach; });
  return reach;
}

}  // namespace

void Best::drop() {
  std::nth_element(items_.begin(), items_.begin() + (k_ - 1), items_.end(), is_better);
  items_.resize(k_);
  reach_ = items_.back().score;
}

void write_best(std::vector<Scored>& found, int64_t k, float* scores, int64_t* ids) {
  const auto count = std::min<int64_t>(k, static_cast<int64_t>(found.size()));
  std::partial_sort(found.begin(), found.begin() + count, found.end(), is_better);
  for (int64_t place = 0; place < k; ++place) {
    scores[place] = place < count ? found[place].score : kLowest;
    ids[place] = place < count ? found[place].id : -1;
  }
}

void Rescorer::rescore(int64_t query, Bounded* first, Bounded* end) const {
  Bounded* waiting[2][kRescored];
  const float* rows[2][kRescored];
  // Fills a batch with the next items; places beyond the last repeat the rows of the batch before.
  const auto gather = [&](int batch) {
    int count = 0;
    for (; first < end && count < kRescored; ++first) {
      if (first->is_exact()) continue;
      rows[batch][count] = p_.rows + first->id * p_.d;
      waiting[batch][count++] = first;
    }
    for (int i = count; i < kRescored; ++i) rows[batch][i] = count > 0 ? rows[batch][0] : p_.rows;
    return count;
  };
  int batch = 0, count = gather(0);
  while (count > 0) {
    const int next = gather(1 - batch);
    float scores[kRescored];
    kernels_.rescore(p_.d, p_.queries + query * p_.d, rows[batch], rows[1 - batch], scores);
    for (int i = 0; i < count; ++i) waiting[batch][i]->lower = waiting[batch][i]->upper = scores[i];
    batch = 1 - batch;
    count = next;
  }
}

Candidates::Candidates(int64_t k, int64_t max_rescored) : k_(k), max_rescored_(max_rescored) {
  limit_ = first_limit();
}

size_t Candidates::first_limit() const { return std::max(kFewest, 4 * k_); }

void Candidates::fail() {
  has_failed_ = true;
  reach_ = std::numeric_limits<float>::infinity();
  items_ = {};
}

void Candidates::compact(int64_t query, const Rescorer& rescorer) {
  raise(tighten(items_, k_, query, rescorer));
  const size_t capacity = std::max(kCapacity, 4 * k_);
  if (items_.size() > capacity / 2) {
    rescored_ += static_cast<int64_t>(items_.size());
    if (rescored_ > max_rescored_) return fail();
    rescorer.rescore(query, items_.data(), items_.data() + items_.size());
    std::nth_element(items_.begin(), items_.begin() + (k_ - 1), items_.end(), is_better_exact);
    items_.resize(k_);
    raise(items_.back().lower);
  }
  limit_ = std::clamp(2 * items_.size(), first_limit(), capacity);
}

std::vector<Scored> settle(std::vector<Bounded> items, int64_t k, int64_t query, const Rescorer& rescorer) {
  const auto size = static_cast<int64_t>(items.size());
  if (size > k) tighten(items, k, query, rescorer);
  std::sort(items.begin(), items.end(), has_higher_upper);
  std::vector<Scored> best;  // a heap of k, the worst in front
  const auto offer = [&](Scored scored) {
    if (static_cast<int64_t>(best.size()) == k) {
      if (!is_better(scored, best.front())) return;
      std::pop_heap(best.begin(), best.end(), is_better);
      best.pop_back();
    }
    best.push_back(scored);
    std::push_heap(best.begin(), best.end(), is_better);
  };
  for (size_t i = 0; i < items.size(); i += kRescored) {
    if (static_cast<int64_t>(best.size()) == k && items[i].upper < best.front().score) break;
    const size_t end = std::min(i + kRescored, items.size());
    rescorer.rescore(query, items.data() + i, items.data() + end);
    for (size_t j = i; j < end; ++j) offer({items[j].lower, items[j].id});
  }
  return best;
}

}  // namespace ophclip
