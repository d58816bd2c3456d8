// SPDX-License-Identifier: Apache-2.0
#include "candidates.h"

#include <algorithm>
#include <functional>

namespace ophclip {
namespace {

constexpr size_t kCapacity = 4096;  // candidates a query, or 4 k if that is more

bool has_higher_upper(const Bounded& x, const Bounded& y) { return x.upper > y.upper; }

}  // namespace

void Best::offer(Scored scored) {
  if (is_full()) {
    if (k_ == 0 || !is_better(scored, heap_.front())) return;
    std::pop_heap(heap_.begin(), heap_.end(), is_better);
    heap_.pop_back();
  }
  heap_.push_back(scored);
  std::push_heap(heap_.begin(), heap_.end(), is_better);
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
  const float* rows[kRescored];
  Bounded* waiting[kRescored];
  int count = 0;
  const auto flush = [&] {
    float scores[kRescored];
    for (int i = count; i < kRescored; ++i) rows[i] = rows[0];
    kernels_.rescore(p_.d, p_.queries + query * p_.d, rows, scores);
    for (int i = 0; i < count; ++i) waiting[i]->lower = waiting[i]->upper = scores[i];
    count = 0;
  };
  for (Bounded* item = first; item < end; ++item) {
    if (item->is_exact()) continue;
    rows[count] = p_.rows + item->id * p_.d;
    waiting[count++] = item;
    if (count == kRescored) flush();
  }
  if (count > 0) flush();
}

float drop_hopeless(std::vector<Bounded>& items, int64_t k) {
  if (static_cast<int64_t>(items.size()) < k) return kLowest;
  std::vector<float> lowers(items.size());
  std::transform(items.begin(), items.end(), lowers.begin(), [](const Bounded& item) { return item.lower; });
  std::nth_element(lowers.begin(), lowers.begin() + (k - 1), lowers.end(), std::greater<>());
  const float reach = lowers[k - 1];
  std::erase_if(items, [&](const Bounded& item) { return item.upper < reach; });
  return reach;
}

Candidates::Candidates(int64_t k, int64_t max_rescored)
    : k_(k),
      max_rescored_(max_rescored),
      limit_(std::max<size_t>(256, 4 * k)),
      capacity_(std::max<size_t>(kCapacity, 4 * k)) {}

bool Candidates::add(Bounded candidate, int64_t query, const Rescorer& rescorer) {
  items_.push_back(candidate);
  if (items_.size() < limit_) return false;
  compact(query, rescorer);
  return true;
}

void Candidates::fail() {
  has_failed_ = true;
  reach_ = std::numeric_limits<float>::infinity();
  items_ = {};
}

void Candidates::compact(int64_t query, const Rescorer& rescorer) {
  reach_ = drop_hopeless(items_, k_);
  if (items_.size() > capacity_ / 2) {
    rescored_ += static_cast<int64_t>(items_.size());
    if (rescored_ > max_rescored_) return fail();
    rescorer.rescore(query, items_.data(), items_.data() + items_.size());
    const auto is_before = [](const Bounded& x, const Bounded& y) {
      return is_better({x.lower, x.id}, {y.lower, y.id});
    };
    std::nth_element(items_.begin(), items_.begin() + (k_ - 1), items_.end(), is_before);
    items_.resize(k_);
    reach_ = items_.back().lower;
  }
  limit_ = std::clamp(2 * items_.size(), std::max<size_t>(256, 4 * k_), capacity_);
}

std::vector<Scored> settle(std::vector<Bounded> items, int64_t k, int64_t query, const Rescorer& rescorer) {
  drop_hopeless(items, k);
  Best best(k);
  const auto look_at = [&](size_t first, size_t end) {
    rescorer.rescore(query, items.data() + first, items.data() + end);
    for (size_t i = first; i < end; ++i) best.offer({items[i].lower, items[i].id});
  };
  // The k most promising first: with their scores, most of the others are out before they need sorting.
  const size_t likely = std::min<size_t>(k, items.size());
  std::nth_element(items.begin(), items.begin() + likely, items.end(), has_higher_upper);
  look_at(0, likely);
  items.erase(items.begin(), items.begin() + likely);
  std::erase_if(items, [&](const Bounded& item) { return item.upper < best.reach(); });
  std::sort(items.begin(), items.end(), has_higher_upper);
  for (size_t i = 0; i < items.size() && items[i].upper >= best.reach(); i += kRescored) {
    look_at(i, std::min(i + kRescored, items.size()));
  }
  return best.heap();
}

}  // namespace ophclip
