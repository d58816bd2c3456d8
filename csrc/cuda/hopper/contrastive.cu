// SPDX-License-Identifier: Apache-2.0
//
// Host side of the contrastive loss on Hopper: cuts the logits into blocks, encodes what the copies may read,
// queues the kernels.
#include "../contrastive_blocks.h"
#include "../contrastive_reductions.h"
#include "../path.h"
#include "contrastive.h"
#include "loss_gradients.cuh"
#include "loss_stats.cuh"
#include "tensor_map.h"

namespace ophclip::cuda::hopper {
namespace {

int num_multiprocessors() {
  int count = 0;
  return multiprocessors(&count).ok() && count > 0 ? count : 1;
}

int steps_of(int64_t depth) { return static_cast<int>(ceil_div(depth, kDepth)); }
int64_t grid_of(int64_t tiles) { return min_of(tiles, num_multiprocessors()); }

// Time of a block of tiles, backward, in units of one 128 x 256 tile, one deep (about 11 ns): whole waves of
// tiles over the multiprocessors, and the float sums that go from block to block.
int64_t block_cost(int64_t rows, int64_t columns, int64_t d, int64_t waves_of) {
  constexpr int64_t kLaunches = 500, kBytesAUnit = 44000;  // at 4 TB/s
  const int64_t tiles = (rows + columns * kColumns / kRows) * ceil_div(d, kColumns);
  return kLaunches + ceil_div(rows * columns, waves_of) * d +
         ceil_div(tiles, waves_of) * max_of(rows * kRows, columns * kColumns) +
         (rows * kRows + columns * kColumns) * d * 8 / kBytesAUnit;
}

// Tiles that fit the budget, and tiles of the whole problem.
struct TileCounts {
  int64_t most, rows, columns;
};

TileCounts count_tiles(const ContrastiveProblem& p, int64_t bytes_per_tile) {
  return {max_of(static_cast<int64_t>(p.budget_bytes) / bytes_per_tile, 1), ceil_div(p.m, kRows),
          ceil_div(p.n, kColumns)};
}

// As square as may be; a tile is twice as wide as high.
BlockShape square_blocks(const TileCounts& tiles) {
  const auto side = static_cast<int64_t>(std::sqrt(static_cast<double>(tiles.most) / 2));
  const int64_t width = min_of(tiles.columns, max_of(side, 1));
  const int64_t height = min_of(tiles.rows, max_of(tiles.most / width, 1));
  return {height * kRows, min_of(tiles.columns, max_of(tiles.most / height, 1)) * kColumns};
}

// The cheapest blocks: whole waves of tiles matter more than square blocks. Looks at blocks of at least a
// fifth of the budget and sides within a factor of two, as far as the problem allows them.
BlockShape cheapest_blocks(const ContrastiveProblem& p, const TileCounts& tiles) {
  if (tiles.rows * tiles.columns <= tiles.most) return {tiles.rows * kRows, tiles.columns * kColumns};
  const int64_t waves_of = num_multiprocessors();
  BlockShape best = square_blocks(tiles);
  int64_t least = INT64_MAX;
  for (int64_t height = 1; height <= min_of(tiles.rows, tiles.most); ++height) {
    int64_t widest = min_of(tiles.columns, tiles.most / height);
    if (height < tiles.rows) widest = min_of(widest, height);
    if (widest < tiles.columns && widest * 4 < height) continue;
    const int64_t narrowest = max_of(max_of(height / 4, tiles.most / (5 * height)), 1);
    for (int64_t width = widest; width == widest || width >= narrowest; --width) {
      const int64_t blocks = ceil_div(tiles.rows, height) * ceil_div(tiles.columns, width);
      const int64_t cost = blocks * block_cost(height, width, p.d, waves_of);
      if (cost < least) {
        least = cost;
        best = {height * kRows, width * kColumns};
      }
    }
  }
  return best;
}

struct ForwardPlan {
  BlockShape shape;
  float2 *row_parts, *column_parts;
  size_t bytes;
};

ForwardPlan plan_forward(const ContrastiveProblem& p, void* workspace) {
  ForwardPlan plan;
  plan.shape = square_blocks(count_tiles(p, (kRows + kGroups * kColumns) * sizeof(float2)));
  Carver carver(workspace);
  plan.row_parts = carver.take<float2>(plan.shape.columns / kColumns * plan.shape.rows);
  plan.column_parts = carver.take<float2>(plan.shape.rows / kGroupRows * plan.shape.columns);
  plan.bytes = carver.bytes();
  return plan;
}

struct BackwardPlan {
  BlockShape shape;
  unsigned char* grad_logits;
  float *partial_a, *partial_b;  // sums from block to block; null where one block covers the sum
  double *scale_sums, *scale_total;
  Factors factors;
  size_t bytes;
};

int64_t num_scale_sums() { return int64_t{num_multiprocessors()} * kScaleSums; }

BackwardPlan plan_backward(const ContrastiveProblem& p, void* workspace) {
  BackwardPlan plan;
  plan.shape = cheapest_blocks(p, count_tiles(p, kRows * kColumns * element_bytes(p.dtype)));
  Carver carver(workspace);
  plan.grad_logits =
      carver.take<unsigned char>(plan.shape.rows * plan.shape.columns * element_bytes(p.dtype));
  plan.scale_sums = carver.take<double>(num_scale_sums());
  plan.scale_total = carver.take<double>(1);
  plan.factors = {carver.take<float>(p.m), carver.take<float>(p.n), carver.take<float>(2)};
  plan.partial_a = plan.shape.columns < p.n ? carver.take<float>(p.m * p.d) : nullptr;
  plan.partial_b = plan.shape.rows < p.m ? carver.take<float>(p.n * p.d) : nullptr;
  plan.bytes = carver.bytes();
  return plan;
}

struct BlockMaps {
  TensorMap a, b;  // rows of the block
};

Status describe_block(const ContrastiveProblem& p, const LogitBlock& block, BlockMaps* maps) {
  OPHCLIP_RETURN_IF_ERROR(describe_array(&maps->a, p.dtype, rows_from(p.a, p.a_stride, block.row0, p.dtype),
                                         block.rows, p.d, p.a_stride, kBox));
  return describe_array(&maps->b, p.dtype, rows_from(p.b, p.b_stride, block.column0, p.dtype), block.columns,
                        p.d, p.b_stride, kBox);
}

template <typename T>
Status forward_blocks(const ContrastiveProblem& p, const Saved& saved, const ForwardPlan& plan,
                      void* stream) {
  return for_each_block(
      p, plan.shape, kRows, kColumns, [&](const LogitBlock& block, const BlockEdges& edges) -> Status {
        BlockMaps maps;
        OPHCLIP_RETURN_IF_ERROR(describe_block(p, block, &maps));
        OPHCLIP_RETURN_IF_ERROR(launch("hopper_logits_stats", hopper_logits_stats_kernel<T>,
                                       grid_of(int64_t{block.row_tiles} * block.column_tiles), kBlockThreads,
                                       kStatsSharedBytes, stream, maps.a, maps.b, block, steps_of(p.d),
                                       p.scale, positives_of(p), plan.row_parts,
                                       saved.columns ? plan.column_parts : nullptr, saved.dots));
        OPHCLIP_RETURN_IF_ERROR(merge_stats(plan.row_parts, block.column_tiles,
                                            int64_t{block.row_tiles} * kRows, saved.rows + block.row0,
                                            block.rows, edges.first_columns, edges.last_columns, stream));
        if (!saved.columns) return {};
        return merge_stats(plan.column_parts, block.row_tiles * kGroups,
                           int64_t{block.column_tiles} * kColumns, saved.columns + block.column0,
                           block.columns, edges.first_rows, edges.last_rows, stream);
      });
}

template <typename T>
Status grad_products(const ContrastiveProblem& p, const BackwardPlan& plan, const LogitBlock& block,
                     const BlockMaps& maps, const BlockEdges& edges, const float* grad_loss, T* grad_a,
                     T* grad_b, void* stream) {
  const int64_t pitch = int64_t{block.column_tiles} * kColumns, depth_tiles = ceil_div(p.d, kColumns);
  TensorMap map_g;
  OPHCLIP_RETURN_IF_ERROR(
      describe_array(&map_g, p.dtype, plan.grad_logits, block.rows, block.columns, pitch, kBox));
  const int64_t at_a = block.row0 * p.d, at_b = block.column0 * p.d;
  const GradProduct<T> product_a{static_cast<int>(ceil_div(block.rows, kRows)),
                                 steps_of(block.columns),
                                 block.rows,
                                 plan.partial_a ? plan.partial_a + at_a : nullptr,
                                 grad_a + at_a,
                                 edges.first_columns,
                                 edges.last_columns};
  const GradProduct<T> product_b{static_cast<int>(ceil_div(block.columns, kRows)),
                                 steps_of(block.rows),
                                 block.columns,
                                 plan.partial_b ? plan.partial_b + at_b : nullptr,
                                 grad_b + at_b,
                                 edges.first_rows,
                                 edges.last_rows};
  const int64_t tiles = (product_a.row_tiles + product_b.row_tiles) * depth_tiles;
  const float coefficient = 1.0f / (static_cast<float>(p.m) * kGradUnit<T>);
  return launch("hopper_grad_products", hopper_grad_products_kernel<T>, grid_of(tiles), kBlockThreads,
                kSharedBytes, stream, map_g, maps.a, maps.b, product_a, product_b,
                static_cast<int>(depth_tiles), p.d, p.scale, grad_loss, coefficient);
}

template <typename T>
Status backward_blocks(const ContrastiveProblem& p, const Saved& saved, const float* grad_loss, T* grad_a,
                       T* grad_b, float* grad_scale, const BackwardPlan& plan, void* stream) {
  T* const grad_logits = reinterpret_cast<T*>(plan.grad_logits);
  OPHCLIP_RETURN_IF_ERROR(launch("grad_factors", grad_factors_kernel, 1, kFactorThreads, 0, stream, saved,
                                 p.m, p.n, p.offset, plan.factors));
  OPHCLIP_RETURN_IF_ERROR(check(cudaMemsetAsync(plan.scale_sums, 0, num_scale_sums() * sizeof(double),
                                                static_cast<cudaStream_t>(stream)),
                                "memset"));
  OPHCLIP_RETURN_IF_ERROR(for_each_block(
      p, plan.shape, kRows, kColumns, [&](const LogitBlock& block, const BlockEdges& edges) -> Status {
        const int64_t tiles = int64_t{block.row_tiles} * block.column_tiles;
        BlockMaps maps;
        OPHCLIP_RETURN_IF_ERROR(describe_block(p, block, &maps));
        OPHCLIP_RETURN_IF_ERROR(launch("hopper_grad_logits", hopper_grad_logits_kernel<T>, grid_of(tiles),
                                       kBlockThreads, kGradSharedBytes, stream, maps.a, maps.b, block,
                                       steps_of(p.d), p.scale, positives_of(p), p.reduction, saved,
                                       plan.factors, grad_logits, plan.scale_sums));
        return grad_products(p, plan, block, maps, edges, grad_loss, grad_a, grad_b, stream);
      }));
  return sum_grad_scale(plan.scale_sums, num_scale_sums(), plan.scale_total, grad_loss,
                        1.0 / static_cast<double>(p.m), grad_scale, stream);
}

}  // namespace

size_t forward_workspace_bytes(const ContrastiveProblem& p) { return plan_forward(p, nullptr).bytes; }
size_t backward_workspace_bytes(const ContrastiveProblem& p) { return plan_backward(p, nullptr).bytes; }

Status forward(const ContrastiveProblem& p, const Saved& saved, float* loss, void* workspace, void* stream) {
  const ForwardPlan plan = plan_forward(p, workspace);
  OPHCLIP_RETURN_IF_ERROR(p.dtype == Dtype::kFloat16 ? forward_blocks<__half>(p, saved, plan, stream)
                                                     : forward_blocks<__nv_bfloat16>(p, saved, plan, stream));
  return sum_loss(positives_of(p), saved, p.reduction, p.scale, p.m, loss, stream);
}

Status backward(const ContrastiveProblem& p, const Saved& saved, const float* grad_loss, void* grad_a,
                void* grad_b, float* grad_scale, void* workspace, void* stream) {
  const BackwardPlan plan = plan_backward(p, workspace);
  if (p.dtype == Dtype::kFloat16) {
    return backward_blocks(p, saved, grad_loss, static_cast<__half*>(grad_a), static_cast<__half*>(grad_b),
                           grad_scale, plan, stream);
  }
  return backward_blocks(p, saved, grad_loss, static_cast<__nv_bfloat16*>(grad_a),
                         static_cast<__nv_bfloat16*>(grad_b), grad_scale, plan, stream);
}

}  // namespace ophclip::cuda::hopper
