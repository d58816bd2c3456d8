// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <type_traits>
#include <utility>

namespace ophclip {

// Calls `run` with the integral constant that equals `rows`, in 1..kMost: a tile's number of rows decides
// how many registers it takes, so each has a function of its own.
template <int kMost, typename Run>
void for_rows(int rows, Run run) {
  [&]<int... kIndex>(std::integer_sequence<int, kIndex...>) {
    (void)((rows == kIndex + 1 && (run(std::integral_constant<int, kIndex + 1>()), true)) || ...);
  }(std::make_integer_sequence<int, kMost>());
}

}  // namespace ophclip
