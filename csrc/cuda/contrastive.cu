// SPDX-License-Identifier: Apache-2.0
//
// Host side of the contrastive loss: validates, cuts the logits into blocks that fit the budget, queues the
// kernels.
#include <cmath>

#include "contrastive_blocks.h"
#include "contrastive_kernels.cuh"
#include "contrastive_reductions.h"
#include "hopper/contrastive.h"
#include "path.h"

namespace ophclip::cuda {
namespace {

int tiles_of(int64_t length) { return static_cast<int>(ceil_div(length, kTile)); }

// How the logits are cut: near-square blocks keep both gradient products well filled and re-read least.
BlockShape block_shape(const ContrastiveProblem& p, double bytes_per_logit) {
  const int64_t rows = padded(p.m, kTile), columns = padded(p.n, kTile);
  const auto tiles =
      static_cast<int64_t>(static_cast<double>(p.budget_bytes) / (bytes_per_logit * kTile * kTile));
  const int64_t side = max_of(static_cast<int64_t>(std::sqrt(static_cast<double>(tiles))), 1) * kTile;
  const int64_t width = min_of(columns, side);
  const int64_t height = min_of(rows, max_of(tiles * kTile / width, 1) * kTile);
  return {height, min_of(columns, max_of(tiles * kTile / height, 1) * kTile)};
}

struct ForwardPlan {
  BlockShape shape;
  float2 *row_parts, *column_parts;
  size_t bytes;
};

ForwardPlan plan_forward(const ContrastiveProblem& p, void* workspace) {
  ForwardPlan plan;
  plan.shape = block_shape(p, 2.0 * sizeof(float2) / kTile);
  Carver carver(workspace);
  plan.row_parts = carver.take<float2>(plan.shape.columns / kTile * plan.shape.rows);
  plan.column_parts = carver.take<float2>(plan.shape.rows / kTile * plan.shape.columns);
  plan.bytes = carver.bytes();
  return plan;
}

struct BackwardPlan {
  BlockShape shape;
  unsigned char* grad_logits;
  float *partial_a, *partial_b;  // sums from block to block; null: float gradients serve
  float* scale_parts;
  double* scale_total;
  size_t bytes;
};

BackwardPlan plan_backward(const ContrastiveProblem& p, void* workspace) {
  BackwardPlan plan;
  plan.shape = block_shape(p, static_cast<double>(element_bytes(p.dtype)));
  const bool separate = p.dtype != Dtype::kFloat32;
  Carver carver(workspace);
  plan.grad_logits =
      carver.take<unsigned char>(plan.shape.rows * plan.shape.columns * element_bytes(p.dtype));
  plan.scale_parts = carver.take<float>(plan.shape.rows / kTile * (plan.shape.columns / kTile));
  plan.scale_total = carver.take<double>(1);
  plan.partial_a = separate && plan.shape.columns < p.n ? carver.take<float>(p.m * p.d) : nullptr;
  plan.partial_b = separate && plan.shape.rows < p.m ? carver.take<float>(p.n * p.d) : nullptr;
  plan.bytes = carver.bytes();
  return plan;
}

Saved saved_of(const ContrastiveProblem& p, float* saved) {
  float2* const pairs = reinterpret_cast<float2*>(saved);
  return {pairs, symmetric(p) ? pairs + 2 * p.m : nullptr, pairs + p.m,
          saved + 4 * p.m + (symmetric(p) ? 2 * p.n : 0)};
}

Status validate(const ContrastiveProblem& p, const Workspace& workspace, size_t needed) {
  if (p.m < 0 || p.n < 0 || p.d < 0 || p.positives.count < 0) return invalid("sizes must not be negative");
  if (p.a_stride < p.d || p.b_stride < p.d) return invalid("row strides must be at least D");
  if (symmetric(p) && (p.offset < 0 || p.offset + p.m > p.n)) {
    return invalid("offset must lie in [0, N - M] = [0, %lld], got %lld", static_cast<long long>(p.n - p.m),
                   static_cast<long long>(p.offset));
  }
  if (workspace.bytes < needed || (needed && !workspace.data)) {
    return invalid("workspace must have %zu bytes, got %zu", needed, workspace.bytes);
  }
  if (reinterpret_cast<uintptr_t>(workspace.data) % 256) return invalid("workspace must be 256-byte aligned");
  return {};
}

template <typename T>
Operand<T> rows_of(const void* data, int64_t stride, int64_t first, int64_t rows, int64_t depth) {
  return make_operand(static_cast<const T*>(data) + first * stride, stride, rows, depth);
}

template <typename T>
Status forward(const ContrastiveProblem& p, Saved saved, float* loss, const ForwardPlan& plan, void* stream) {
  const Positives positives = positives_of(p);
  OPHCLIP_RETURN_IF_ERROR(for_each_block(
      p, plan.shape, kTile, kTile, [&](const LogitBlock& block, const BlockEdges& edges) -> Status {
        const auto a = rows_of<T>(p.a, p.a_stride, block.row0, block.rows, p.d);
        const auto b = rows_of<T>(p.b, p.b_stride, block.column0, block.columns, p.d);
        OPHCLIP_RETURN_IF_ERROR(launch("logits_stats", logits_stats_kernel<T>,
                                       int64_t{block.row_tiles} * block.column_tiles, kThreads, kTileBytes,
                                       stream, a, b, block, p.scale, positives, plan.row_parts,
                                       saved.columns ? plan.column_parts : nullptr, saved.dots));
        OPHCLIP_RETURN_IF_ERROR(merge_stats(plan.row_parts, block.column_tiles,
                                            int64_t{block.row_tiles} * kTile, saved.rows + block.row0,
                                            block.rows, edges.first_columns, edges.last_columns, stream));
        if (!saved.columns) return {};
        return merge_stats(plan.column_parts, block.row_tiles, int64_t{block.column_tiles} * kTile,
                           saved.columns + block.column0, block.columns, edges.first_rows, edges.last_rows,
                           stream);
      }));
  return sum_loss(positives, saved, p.reduction, p.scale, p.m, loss, stream);
}

template <typename T>
Status grad_products(const ContrastiveProblem& p, const BackwardPlan& plan, const LogitBlock& block,
                     T* grad_logits, const float* grad_loss, T* grad_a, T* grad_b, const BlockEdges& edges,
                     void* stream) {
  const int64_t pitch = int64_t{block.column_tiles} * kTile;
  const int depth_tiles = tiles_of(p.d);
  const float coefficient = 1.0f / (static_cast<float>(p.m) * kGradUnit<T>);
  const int64_t at_a = block.row0 * p.d, at_b = block.column0 * p.d;
  const auto g = make_operand<T>(grad_logits, pitch, block.rows, block.columns);
  const auto b =
      make_operand(static_cast<const T*>(p.b) + block.column0 * p.b_stride, p.b_stride, p.d, block.columns);
  float* const partial_a = plan.partial_a ? plan.partial_a + at_a : reinterpret_cast<float*>(grad_a + at_a);
  OPHCLIP_RETURN_IF_ERROR(launch("grad_a", grad_product_kernel<T, Major::kDepth>,
                                 int64_t{block.row_tiles} * depth_tiles, kThreads, kTileBytes, stream, g, b,
                                 block.row_tiles, depth_tiles, partial_a, grad_a + at_a, p.scale, grad_loss,
                                 coefficient, edges.first_columns, edges.last_columns));
  const auto g_transposed = make_operand<T>(grad_logits, pitch, block.columns, block.rows);
  const auto a =
      make_operand(static_cast<const T*>(p.a) + block.row0 * p.a_stride, p.a_stride, p.d, block.rows);
  float* const partial_b = plan.partial_b ? plan.partial_b + at_b : reinterpret_cast<float*>(grad_b + at_b);
  return launch("grad_b", grad_product_kernel<T, Major::kRows>, int64_t{block.column_tiles} * depth_tiles,
                kThreads, kTileBytes, stream, g_transposed, a, block.column_tiles, depth_tiles, partial_b,
                grad_b + at_b, p.scale, grad_loss, coefficient, edges.first_rows, edges.last_rows);
}

template <typename T>
Status backward(const ContrastiveProblem& p, Saved saved, const float* grad_loss, T* grad_a, T* grad_b,
                float* grad_scale, const BackwardPlan& plan, void* stream) {
  T* const grad_logits = reinterpret_cast<T*>(plan.grad_logits);
  return for_each_block(
      p, plan.shape, kTile, kTile, [&](const LogitBlock& block, const BlockEdges& edges) -> Status {
        const auto a = rows_of<T>(p.a, p.a_stride, block.row0, block.rows, p.d);
        const auto b = rows_of<T>(p.b, p.b_stride, block.column0, block.columns, p.d);
        const int64_t tiles = int64_t{block.row_tiles} * block.column_tiles;
        OPHCLIP_RETURN_IF_ERROR(launch("grad_logits", grad_logits_kernel<T>, tiles, kThreads, kTileBytes,
                                       stream, a, b, block, p.scale, positives_of(p), p.reduction, saved, p.m,
                                       grad_logits, plan.scale_parts));
        OPHCLIP_RETURN_IF_ERROR(sum_grad_scale(plan.scale_parts, tiles, plan.scale_total, grad_loss,
                                               1.0 / static_cast<double>(p.m),
                                               edges.first_rows && edges.first_columns,
                                               edges.last_rows && edges.last_columns, grad_scale, stream));
        return grad_products<T>(p, plan, block, grad_logits, grad_loss, grad_a, grad_b, edges, stream);
      });
}

Status path_of(const ContrastiveProblem& p, Path* path) {
  OPHCLIP_RETURN_IF_ERROR(device_path(path));
  if (!copies_in_bulk(p.dtype, p.a, p.a_stride, p.m, p.d) ||
      !copies_in_bulk(p.dtype, p.b, p.b_stride, p.n, p.d))
    *path = Path::kPortable;
  return {};
}

// An error counts as no; the call itself then reports it.
bool on_hopper(const ContrastiveProblem& p) {
  Path path;
  return path_of(p, &path).ok() && path == Path::kHopper;
}

Status clear(void* data, int64_t bytes, void* stream) {
  if (bytes == 0) return {};
  return check(cudaMemsetAsync(data, 0, bytes, static_cast<cudaStream_t>(stream)), "memset");
}

}  // namespace

size_t contrastive_saved_floats(const ContrastiveProblem& p) {
  return static_cast<size_t>(4 * p.m + (symmetric(p) ? 2 * p.n : 0) + num_dots(p));
}

size_t contrastive_forward_workspace_bytes(const ContrastiveProblem& p) {
  return on_hopper(p) ? hopper::forward_workspace_bytes(p) : plan_forward(p, nullptr).bytes;
}

size_t contrastive_backward_workspace_bytes(const ContrastiveProblem& p) {
  return on_hopper(p) ? hopper::backward_workspace_bytes(p) : plan_backward(p, nullptr).bytes;
}

Status contrastive_forward(const ContrastiveProblem& p, float* saved, float* loss, Workspace workspace,
                           void* stream) {
  Path path;
  OPHCLIP_RETURN_IF_ERROR(path_of(p, &path));
  OPHCLIP_RETURN_IF_ERROR(validate(p, workspace, contrastive_forward_workspace_bytes(p)));
  const Saved kept = saved_of(p, saved);
  OPHCLIP_RETURN_IF_ERROR(
      check(cudaMemsetAsync(kept.dots, 0xff, num_dots(p) * sizeof(float), static_cast<cudaStream_t>(stream)),
            "memset"));
  if (path == Path::kHopper) return hopper::forward(p, kept, loss, workspace.data, stream);
  const ForwardPlan plan = plan_forward(p, workspace.data);
  switch (p.dtype) {
    case Dtype::kFloat32:
      return forward<float>(p, kept, loss, plan, stream);
    case Dtype::kBFloat16:
      return forward<__nv_bfloat16>(p, kept, loss, plan, stream);
    case Dtype::kFloat16:
      return forward<__half>(p, kept, loss, plan, stream);
  }
  return invalid("unknown dtype %d", static_cast<int>(p.dtype));
}

Status contrastive_backward(const ContrastiveProblem& p, const float* saved, const float* grad_loss,
                            void* grad_a, void* grad_b, float* grad_scale, Workspace workspace,
                            void* stream) {
  Path path;
  OPHCLIP_RETURN_IF_ERROR(path_of(p, &path));
  OPHCLIP_RETURN_IF_ERROR(validate(p, workspace, contrastive_backward_workspace_bytes(p)));
  if (p.m == 0 || p.n == 0) {
    OPHCLIP_RETURN_IF_ERROR(clear(grad_a, p.m * p.d * element_bytes(p.dtype), stream));
    OPHCLIP_RETURN_IF_ERROR(clear(grad_b, p.n * p.d * element_bytes(p.dtype), stream));
    return clear(grad_scale, sizeof(float), stream);
  }
  const Saved kept = saved_of(p, const_cast<float*>(saved));
  if (path == Path::kHopper)
    return hopper::backward(p, kept, grad_loss, grad_a, grad_b, grad_scale, workspace.data, stream);
  const BackwardPlan plan = plan_backward(p, workspace.data);
  switch (p.dtype) {
    case Dtype::kFloat32:
      return backward(p, kept, grad_loss, static_cast<float*>(grad_a), static_cast<float*>(grad_b),
                      grad_scale, plan, stream);
    case Dtype::kBFloat16:
      return backward(p, kept, grad_loss, static_cast<__nv_bfloat16*>(grad_a),
                      static_cast<__nv_bfloat16*>(grad_b), grad_scale, plan, stream);
    case Dtype::kFloat16:
      return backward(p, kept, grad_loss, static_cast<__half*>(grad_a), static_cast<__half*>(grad_b),
                      grad_scale, plan, stream);
  }
  return invalid("unknown dtype %d", static_cast<int>(p.dtype));
}

}  // namespace ophclip::cuda
