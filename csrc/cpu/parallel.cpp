// SPDX-License-Identifier: Apache-2.0
//
// OpenMP, because torch uses it too: both then share one runtime, whose threads wait in turn for either. A
// pool of our own had to fight for its cores with torch's threads, which spin for a while after each of
// torch's calls: in a training step that made small problems take twice as long.
#include "parallel.h"

#include <pthread.h>

#include <algorithm>
#include <atomic>

namespace ophclip {
namespace {

// A fork copies the runtime's records of its threads, but not the threads: it would wait for them for ever.
std::atomic<bool> is_forked = false;
[[maybe_unused]] const int registered =
    pthread_atfork(nullptr, nullptr, [] { is_forked.store(true, std::memory_order_relaxed); });

}  // namespace

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task) {
  const int team = static_cast<int>(std::min<int64_t>(threads, count));
  if (team <= 1 || is_forked.load(std::memory_order_relaxed)) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
#pragma omp parallel for schedule(dynamic, 1) num_threads(team)
  for (int64_t i = 0; i < count; ++i) task(i);
}

}  // namespace ophclip
