// SPDX-License-Identifier: Apache-2.0
//
// Every CUDA entry point on one screen. Plain functions on raw device addresses: no torch, no exceptions, no
// hidden allocation, no synchronisation. Work is queued on `stream`; a Status that is not ok() says which
// call failed and why. Shape letters: M rows of a, N rows of b (or of the base), D embedding, P positives, Q
// queries, K neighbours.
#pragma once

#include <cstddef>
#include <cstdint>

namespace ophclip::cuda {

enum class Dtype : int { kFloat32 = 0, kBFloat16 = 1, kFloat16 = 2 };
enum class Reduction : int { kLogSum = 0, kMeanLog = 1 };  // MIL-NCE, SupCon

struct Status {
  int code = 0;  // 0 is success
  char message[240] = "";
  bool ok() const { return code == 0; }
};

// Compressed rows on the device. An entry outside its range is ignored by top-k and turns the loss into NaN;
// it never leads to an access outside the arrays.
struct SparseRows {
  const int64_t* indptr = nullptr;   // [rows + 1]; null: no sparse rows
  const int64_t* indices = nullptr;  // [count]
  const float* weights = nullptr;    // [count]; null: all ones
  int64_t count = 0;
};

struct Workspace {
  void* data = nullptr;  // device memory, 256-byte aligned
  size_t bytes = 0;
};

// Logits s[i, j] = scale * <a[i], b[j]>.
// Without positives (symmetric): row i matches column i + offset, 0 <= offset <= N - M, and
//   loss = 1/(2M) * sum_i [lse_j s[i, j] - s[i, i+offset]] + 1/(2M) * sum_i [lse_i' s[i', i+offset] - s[i,
//   i+offset]].
// With positives (one-directional): loss = 1/M * sum_i [lse_j s[i, j] - numerator_i], where numerator_i is
//   kLogSum: log sum_p w_p exp(s[i, p]);  kMeanLog: sum_p w_p s[i, p] / sum_p w_p.
// M = 0 gives loss 0. A row without positives gives the limit of its formula (inf, NaN).
struct ContrastiveProblem {
  const void* a = nullptr;       // [M, D], rows a_stride elements apart
  const void* b = nullptr;       // [N, D], rows b_stride elements apart
  const float* scale = nullptr;  // [1], on the device
  int64_t m = 0, n = 0, d = 0;
  int64_t a_stride = 0, b_stride = 0;
  Dtype dtype = Dtype::kFloat32;  // of a, b and their gradients
  int64_t offset = 0;             // symmetric only
  SparseRows positives;
  Reduction reduction = Reduction::kLogSum;
  size_t budget_bytes = 64 << 20;  // cap on the part of the workspace that would grow with M * N
};

size_t contrastive_saved_floats(
    const ContrastiveProblem& problem);  // kept from forward for backward: O(M + N + P)
size_t contrastive_forward_workspace_bytes(const ContrastiveProblem& problem);
size_t contrastive_backward_workspace_bytes(const ContrastiveProblem& problem);

Status contrastive_forward(const ContrastiveProblem& problem,
                           float* saved,  // out [saved_floats], 8-byte aligned
                           float* loss,   // out [1]
                           Workspace workspace, void* stream);

Status contrastive_backward(const ContrastiveProblem& problem, const float* saved,
                            const float* grad_loss,  // [1]
                            void* grad_a,            // out [M, D], contiguous, dtype of a
                            void* grad_b,            // out [N, D], contiguous, dtype of b
                            float* grad_scale,       // out [1]
                            Workspace workspace, void* stream);

// The K base rows of largest inner product with each query, best first; equal scores: lower id first. Missing
// places (K > N, or everything excluded) hold score -inf and id -1. A NaN score is never chosen.
struct TopkProblem {
  const void* queries = nullptr;  // [Q, D], rows query_stride elements apart
  const void* base = nullptr;     // [N, D], rows base_stride elements apart; N < 2^32
  int64_t q = 0, n = 0, d = 0, k = 0;
  int64_t query_stride = 0, base_stride = 0;
  Dtype dtype = Dtype::kFloat32;  // of queries and base
  SparseRows exclude;             // per query, base ids to leave out; weights unused
};

size_t topk_workspace_bytes(const TopkProblem& problem);  // depends on the current device

Status topk(const TopkProblem& problem,
            float* scores,       // out [Q, K]
            int64_t* ids,        // out [Q, K]
            int32_t* nonfinite,  // out [1]: 1 if any score, excluded or not, is NaN or infinite, else 0
            Workspace workspace, void* stream);

Status device_count(int* count);        // 0 without a driver or a device is a success
Status runtime_version(int* version);   // 1000 * major + 10 * minor
Status kernel_path(const char** name);  // "hopper" or "portable": what serves operands that allow either
const char* compiled_architectures();   // such as "800,900" for sm_80 and sm_90

}  // namespace ophclip::cuda
