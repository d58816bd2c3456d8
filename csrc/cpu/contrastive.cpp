// SPDX-License-Identifier: Apache-2.0
//
// Contrastive loss and its gradients in one call, without an M x N array unless it fits the workspace.
//
// With raw products t = a b^T and logits s = scale * t, row log-sums R_i and (symmetric) column log-sums C_j:
//   dL/ds_ij = u e^(s_ij - R_i) + v_j e^(s_ij - C_j) - q_ij / M,
// where u = 1/(2M) and v_j = 1/(2M) for matched columns in the symmetric case, u = 1/M and v = 0 otherwise,
// and q_ij are the shares of row i's positives (q = 1 for the one match). Then grad_a = scale * G b, grad_b =
// scale * G^T a and grad_scale = sum G * t.
//
// Where |s| <= |scale| max|a_i| max|b_j| = sigma <= 40, as for unit rows at usual temperatures, E = e^(s -
// sigma) neither overflows nor loses digits, so one exponential a logit serves all: R and C are logarithms of
// sums of E, G is E times (u / row sum + v / column sum), and grad_scale = <a, G b> (bounded.cpp). Otherwise
// each row and column is shifted by its own maximum (general.cpp).
//
// The products are cut into blocks of at most the workspace. Pass 1 computes each block and adds to the sums
// of its rows and columns; pass 2 computes it again, unless there is but one block, and multiplies G: 3
// matrix products if all fits, 4 otherwise. Sums over many terms are flushed to double. bfloat16 inputs are
// multiplied as such, and G is rounded to bfloat16 for its products; logits, sums and gradients are float32.
// Every number is computed by one task in a fixed order, so results do not depend on the number of threads.
#include <cmath>
#include <cstring>
#include <stdexcept>

#include "ways.h"

namespace ophclip {
namespace {

constexpr double kMaxBound = 40;      // e^-80 is a normal float
constexpr double kLeastScale = 1e-6;  // the bounded way divides by the scale

void check(const ContrastiveProblem& p) {
  if (p.m < 0 || p.n < 0 || p.d < 0) throw std::invalid_argument("sizes must not be negative");
  if (p.bf16 && bf16_kernels() == nullptr) throw std::invalid_argument("this CPU does not multiply bfloat16");
  if (p.bf16 && p.d % 2 != 0) throw std::invalid_argument("rows of bfloat16 must have even length");
  if (p.m > 0 && (p.grad_a == nullptr) != (p.grad_b == nullptr)) {
    throw std::invalid_argument("want both gradients or none");
  }
  if (p.positives.indptr == nullptr) {
    if (p.offset < 0 || p.offset + p.m > p.n) {
      throw std::invalid_argument("offset + M must lie in [0, N]: every row must match a row of b");
    }
    return;
  }
  const int64_t* indptr = p.positives.indptr;
  if (indptr[0] != 0 || indptr[p.m] != p.positives.count)
    throw std::invalid_argument("indptr must rise from 0 to P");
  for (int64_t i = 0; i < p.m; ++i) {
    if (indptr[i + 1] <= indptr[i]) throw std::invalid_argument("every row must have at least one positive");
  }
  for (int64_t e = 0; e < p.positives.count; ++e) {
    if (p.positives.indices[e] < 0 || p.positives.indices[e] >= p.n) {
      throw std::invalid_argument("indices of positives must lie in [0, N)");
    }
  }
}

ContrastiveResult solve(const ContrastiveProblem& p) {
  const double scale = std::abs(static_cast<double>(p.scale));
  const WordKernels& kind = kind_of(p);
  const double bound =
      scale * longest_row(p.a, p.m, p.d, kind, p.threads) * longest_row(p.b, p.n, p.d, kind, p.threads);
  const bool is_bounded = bound <= kMaxBound && scale >= kLeastScale;  // not for NaN
  return (is_bounded ? bounded_contrast(p, static_cast<float>(bound)) : general_contrast(p))->run();
}

}  // namespace

std::vector<ContrastiveResult> contrastive(const std::vector<ContrastiveProblem>& levels) {
  for (const auto& level : levels) check(level);
  std::vector<ContrastiveResult> results;
  for (const auto& level : levels) {
    if (level.m > 0) {
      results.push_back(solve(level));
      continue;
    }
    if (level.grad_b != nullptr)
      std::memset(level.grad_b, 0, level.n * level.d * 4 / kind_of(level).elements);
    results.emplace_back();
  }
  return results;
}

}  // namespace ophclip
