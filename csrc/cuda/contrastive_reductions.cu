// SPDX-License-Identifier: Apache-2.0
//
// The small reductions of the contrastive loss, which follow the tile kernels of either path.
#include "contrastive_reductions.h"
#include "launch.h"
#include "stats.cuh"

namespace ophclip::cuda {

// total[i] = pairs of all tiles, then of the blocks before; after the last block the sum becomes its
// logarithm.
__global__ void __launch_bounds__(kThreads)
    merge_stats_kernel(const float2* parts, int64_t tiles, int64_t pitch, float2* total, int64_t length,
                       bool first, bool last) {
  const int64_t index = int64_t{blockIdx.x} * kThreads + threadIdx.x;
  if (index >= length) return;
  float2 sum = first ? make_float2(-kInfinity, 0.0f) : total[index];
#pragma unroll 8  // the loads of eight pairs in flight together
  for (int64_t tile = 0; tile < tiles; ++tile) sum = combine_stats(sum, parts[tile * pitch + index]);
  if (last) sum.y = logf(sum.y);
  total[index] = sum;
}

// lse - numerator of one row, and what backward needs of its positives.
OPHCLIP_DEVICE float row_loss(const Positives& positives, const Saved& saved, Reduction reduction,
                              float scale, int64_t row) {
  const float2 stats = saved.rows[row];
  if (saved.columns) {
    const float logit = scale * saved.dots[row];
    const float2 column = saved.columns[row + positives.offset];
    return 0.5f * ((stats.x - logit) + stats.y) + 0.5f * ((column.x - logit) + column.y);
  }
  const int64_t begin = positives.begin(row), end = positives.end(row);
  if (reduction == Reduction::kMeanLog) {
    float weights = 0.0f, sum = 0.0f;
    for (int64_t entry = begin; entry < end; ++entry) {
      weights += positives.weight(entry);
      sum += positives.weight(entry) * (stats.x - scale * saved.dots[entry]);
    }
    saved.row_positives[row] = make_float2(1.0f / weights, 0.0f);
    return sum / weights + stats.y;
  }
  float max = -kInfinity, sum = 0.0f;
  for (int64_t entry = begin; entry < end; ++entry) {
    if (positives.weight(entry) > 0.0f) max = fmaxf(max, scale * saved.dots[entry]);
  }
  for (int64_t entry = begin; entry < end; ++entry) {
    const float weight = positives.weight(entry);
    if (weight != 0.0f) sum += weight * expf(scale * saved.dots[entry] - finite_or_zero(max));
  }
  saved.row_positives[row] = make_float2(max, logf(sum));
  return (stats.x - finite_or_zero(max)) + (stats.y - logf(sum));
}

constexpr int kLossThreads = 1024;  // one block: enough rows in flight to hide the latency of their loads

__global__ void __launch_bounds__(kLossThreads)
    loss_kernel(Positives positives, Saved saved, Reduction reduction, const float* scale, int64_t m,
                float* loss) {
  __shared__ double scratch[kLossThreads];
  double sum = 0.0;
  for (int64_t row = threadIdx.x; row < m; row += kLossThreads)
    sum += row_loss(positives, saved, reduction, *scale, row);
  sum = block_sum<kLossThreads>(sum, scratch);
  if (threadIdx.x == 0) *loss = m ? static_cast<float>(sum / static_cast<double>(m)) : 0.0f;
}

template <typename Part>
__global__ void __launch_bounds__(kThreads)
    grad_scale_kernel(const Part* parts, int64_t count, double* total, const float* grad_loss,
                      double coefficient, bool first, bool last, float* grad_scale) {
  __shared__ double scratch[kThreads];
  double sum = 0.0;
  for (int64_t index = threadIdx.x; index < count; index += kThreads) sum += parts[index];
  sum = block_sum<kThreads>(sum, scratch);
  if (threadIdx.x != 0) return;
  if (!first) sum += *total;
  *total = sum;
  if (last) *grad_scale = static_cast<float>(sum * coefficient * *grad_loss);
}

Status merge_stats(const float2* parts, int64_t num_parts, int64_t pitch, float2* total, int64_t length,
                   bool first, bool last, void* stream) {
  return launch("merge_stats", merge_stats_kernel, ceil_div(length, kThreads), kThreads, 0, stream, parts,
                num_parts, pitch, total, length, first, last);
}

Status sum_loss(const Positives& positives, const Saved& saved, Reduction reduction, const float* scale,
                int64_t m, float* loss, void* stream) {
  return launch("loss", loss_kernel, 1, kLossThreads, 0, stream, positives, saved, reduction, scale, m, loss);
}

Status sum_grad_scale(const float* parts, int64_t count, double* total, const float* grad_loss,
                      double coefficient, bool first, bool last, float* grad_scale, void* stream) {
  return launch("grad_scale", grad_scale_kernel<float>, 1, kThreads, 0, stream, parts, count, total,
                grad_loss, coefficient, first, last, grad_scale);
}

Status sum_grad_scale(const double* parts, int64_t count, double* total, const float* grad_loss,
                      double coefficient, float* grad_scale, void* stream) {
  return launch("grad_scale", grad_scale_kernel<double>, 1, kThreads, 0, stream, parts, count, total,
                grad_loss, coefficient, true, true, grad_scale);
}

}  // namespace ophclip::cuda
