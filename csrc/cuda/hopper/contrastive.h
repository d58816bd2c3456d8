// SPDX-License-Identifier: Apache-2.0
//
// The contrastive loss on Hopper: the same contracts as in cuda_ops.h, for validated problems with rows that
// bulk copies can read.
#pragma once

#include "../contrastive_problem.cuh"

namespace ophclip::cuda::hopper {

size_t forward_workspace_bytes(const ContrastiveProblem& problem);
size_t backward_workspace_bytes(const ContrastiveProblem& problem);

Status forward(const ContrastiveProblem& problem, const Saved& saved, float* loss, void* workspace,
               void* stream);

Status backward(const ContrastiveProblem& problem, const Saved& saved, const float* grad_loss, void* grad_a,
                void* grad_b, float* grad_scale, void* workspace, void* stream);

}  // namespace ophclip::cuda::hopper
