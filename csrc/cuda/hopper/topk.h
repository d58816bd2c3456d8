// SPDX-License-Identifier: Apache-2.0
//
// Top-k on Hopper: the same contract as in cuda_ops.h, for validated problems with rows that bulk copies can
// read.
#pragma once

#include "../cuda_ops.h"

namespace ophclip::cuda::hopper {

size_t topk_workspace_bytes(const TopkProblem& problem);

Status topk(const TopkProblem& problem, float* scores, int64_t* ids, int32_t* nonfinite, void* workspace,
            void* stream);

}  // namespace ophclip::cuda::hopper
