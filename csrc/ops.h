// SPDX-License-Identifier: Apache-2.0
//
// Every CPU entry point on one screen. Raw pointers to contiguous row-major float32, unless said: no torch.
// Invalid arguments throw std::invalid_argument. Shape letters: M rows of a, N rows of b or of the base, D
// embedding, P positives, Q queries, K neighbours.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace ophclip {

// Lists of column ids, one a row: row i holds indices[indptr[i]] .. indices[indptr[i + 1] - 1].
struct SparseRows {
  const int64_t* indptr = nullptr;   // [rows + 1]; null: none
  const int64_t* indices = nullptr;  // [count]
  const float* weights = nullptr;    // [count]; null: all ones
  int64_t count = 0;
};

// Logits s[i, j] = scale * <a[i], b[j]>.
// Without positives (symmetric): row i matches column i + offset, 0 <= offset <= N - M, and
//   loss = 1/(2M) sum_i (lse_j s[i, j] - s[i, i+offset]) + 1/(2M) sum_i (lse_i' s[i', i+offset] - s[i,
//   i+offset]).
// With positives (one direction): loss = 1/M sum_i (lse_j s[i, j] - numerator_i), where numerator_i is
//   log sum_p w_p exp(s[i, p]), or with mean_log: sum_p w_p s[i, p] / sum_p w_p.
struct ContrastiveProblem {
  const void* a = nullptr;  // [M, D]
  const void* b = nullptr;  // [N, D]
  bool bf16 = false;        // a and b hold bfloat16, D even; only where `multiplies_bf16()`
  float scale = 1;
  int64_t m = 0, n = 0, d = 0;
  int64_t offset = 0;
  SparseRows positives;
  bool mean_log = false;
  size_t workspace_bytes = size_t{64} << 20;  // bound on what grows with M * N
  int threads = 1;
  void* grad_a = nullptr;  // [M, D], of the type of a; overwritten with the gradient of the loss
  void* grad_b = nullptr;  // [N, D], likewise; both null: not wanted
};

struct ContrastiveResult {
  double loss = 0;
  double grad_scale = 0;
};

// The levels of a hierarchical loss, one after the other on one pool of threads.
std::vector<ContrastiveResult> contrastive(const std::vector<ContrastiveProblem>& levels);

// Rows rounded to bfloat16 or to codes of 8 bits, which a search scans first; csrc/cpu/certificate.h says
// what the numbers mean. Null panels: none.
struct QuantisedRows {
  const uint32_t* panels = nullptr;  // [ceil(N / 32), words, 32]: two bfloat16 or four codes a word
  const float* facts = nullptr;      // [ceil(N / 32), 3, 32]: scale, residual norm and norm of each row
  const float* centre = nullptr;     // [D]
  bool is_int8 = false;
};

// The K base rows of largest inner product with each query, best first; equal scores: lower id first. Places
// that exclusions leave empty hold score -inf and id -1. The base is row-major rows [N, D], or panels
// [ceil(N / 32), D, 32] of 32 rows each, the last filled with zeros. With quantised rows beside the rows, the
// result is the same, bit for bit.
struct TopkProblem {
  const float* queries = nullptr;  // [Q, D]
  const float* rows = nullptr;     // [N, D], or null
  const float* panels = nullptr;   // [ceil(N / 32), D, 32], or null
  QuantisedRows quantised;         // needs rows
  int64_t q = 0, n = 0, d = 0, k = 0;
  SparseRows exclude;  // per query; weights unused
  int threads = 1;
};

void topk(const TopkProblem& problem, float* scores /* [Q, K] */, int64_t* ids /* [Q, K] */);

std::vector<std::string> supported_isas();  // of this CPU, best first: "avx512", "avx2", "portable"
bool multiplies_bf16();                     // by the selected instruction set
std::string selected_isa();                 // the best, or what the environment's OPHCLIP_ISA names

}  // namespace ophclip
