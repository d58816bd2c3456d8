// SPDX-License-Identifier: Apache-2.0
//
// The small reductions of the contrastive loss, which follow the tile kernels of either path.
#pragma once

#include "contrastive_problem.cuh"

namespace ophclip::cuda {

// total[i] = parts[0][i], parts[1][i], ... in order, after the total of the blocks before unless `first`.
// After the `last` block the sum becomes its logarithm.
Status merge_stats(const float2* parts, int64_t num_parts, int64_t pitch, float2* total, int64_t length,
                   bool first, bool last, void* stream);

// The loss, and saved.row_positives.
Status sum_loss(const Positives& positives, const Saved& saved, Reduction reduction, const float* scale,
                int64_t m, float* loss, void* stream);

// total += parts; after the `last` block grad_scale = total * coefficient * grad_loss.
Status sum_grad_scale(const float* parts, int64_t count, double* total, const float* grad_loss,
                      double coefficient, bool first, bool last, float* grad_scale, void* stream);

// The same from partial sums of all blocks.
Status sum_grad_scale(const double* parts, int64_t count, double* total, const float* grad_loss,
                      double coefficient, float* grad_scale, void* stream);

}  // namespace ophclip::cuda
