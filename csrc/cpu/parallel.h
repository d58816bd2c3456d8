// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <cstdint>
#include <functional>

namespace ophclip {

// Runs task(0) .. task(count - 1) on up to `threads` threads, this one included, and returns when all are
// done; tasks must not throw. Which thread takes which task is open; results are deterministic because each
// task writes places of its own. A process that was forked runs them all by itself.
void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task);

}  // namespace ophclip
