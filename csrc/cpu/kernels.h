// SPDX-License-Identifier: Apache-2.0
//
// The inner loops, compiled once for each instruction set; `kernels()` gives those of this CPU.
#pragma once

#include <cstdint>

namespace ophclip {

constexpr int kPanel = 32;  // columns of a packed panel: one layout for every instruction set

struct Kernels {
  int max_rows;  // most rows of one `tile` call

  // c[r, 0..32) (+)= sum_k a[r * a_stride + k * a_step] * panel[k, 0..32) for r < rows <= max_rows, summed in
  // order of k. `accumulate` adds to c instead of overwriting it.
  void (*tile)(int rows, int64_t depth, const float* a, int64_t a_stride, int64_t a_step, const float* panel,
               float* c, int64_t c_stride, bool accumulate);

  double (*dot)(const float* x, const float* y, int64_t count);

  // x[j] becomes exp(factor * x[j] - shift), which is added to columns[j] unless that is null; returns its
  // sum.
  double (*exponentiate)(float* x, int64_t count, float factor, float shift, float* columns);
  // x[j] *= row_weight, plus column_weights[j] unless that is null.
  void (*weigh)(float* x, int64_t count, float row_weight, const float* column_weights);

  float (*max)(const float* x, int64_t count, float factor);  // max_j factor * x[j]
  double (*sum_exp)(const float* x, int64_t count, float factor,
                    float shift);  // sum_j exp(factor * x[j] - shift)

  // columns[j] = max(columns[j], factor * x[j])
  void (*max_columns)(const float* x, int64_t count, float factor, float* columns);
  // sums[j] += exp(factor * x[j] - shifts[j])
  void (*sum_exp_columns)(const float* x, int64_t count, float factor, const float* shifts, float* sums);

  // x[j] becomes g[j] = row_weight * exp(factor * x[j] - row_shift), plus, unless column_weights is null,
  // column_weights[j] * exp(factor * x[j] - shifts[j]); returns sum_j g[j] * x[j] of the old x.
  double (*softmax_gradient)(float* x, int64_t count, float factor, float row_weight, float row_shift,
                             const float* column_weights, const float* shifts);
};

const Kernels& kernels();

}  // namespace ophclip
