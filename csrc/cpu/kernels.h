// SPDX-License-Identifier: Apache-2.0
//
// The inner loops, compiled once for each instruction set; `kernels()` gives those of this CPU.
//
// Matrix products run over 32-bit words: a word is one float, or two bfloat16 that follow one another in the
// depth of the product, the first in the low half. Both kinds share every layout.
#pragma once

#include <cstdint>

namespace ophclip {

constexpr int kPanel = 32;  // columns of a packed panel: one layout for every instruction set

struct WordKernels {
  int elements;  // of a word along the depth: 1 or 2

  // c[r, 0..32) (+)= sum_k a[r * a_stride + k * a_step] * panel[k, 0..32) for r < rows <= max_rows, k <
  // words, summed in order of k. Strides count words. `accumulate` adds to c instead of overwriting it.
  void (*tile)(int rows, int64_t words, const void* a, int64_t a_stride, int64_t a_step, const void* panel,
               float* c, int64_t c_stride, bool accumulate);

  // Words along a row: element j is x[j] * (row_weight + column_weights[j]); null weights: 0. A last word
  // that is not full is filled with zero.
  void (*weigh)(const float* x, int64_t count, float row_weight, const float* column_weights, void* words);

  // Words across `rows` <= elements rows: word j holds x[r * stride + j] * (row_weights[r] +
  // column_weights[j]) for each r; zero for the rows that are missing.
  void (*weigh_across)(const float* x, int64_t stride, int rows, int64_t count, const float* row_weights,
                       const float* column_weights, void* words);

  // Words across `rows` <= elements rows of a row-major matrix of elements: word j holds x[r * stride + j].
  void (*pack_across)(const void* x, int64_t stride, int rows, int64_t count, void* words);

  double (*dot)(const void* x, const float* y, int64_t count);  // of elements x with floats y
  double (*squared_length)(const void* x, int64_t count);       // of elements
};

struct Kernels : WordKernels {  // of float32
  int max_rows;                 // most rows of one `tile` call, of either kind

  // One panel of the transpose of rows [count <= 32, depth] of words, `stride` words apart: panel[k, j] =
  // rows[j, k], else zero.
  void (*pack_transposed)(const void* rows, int64_t stride, int64_t count, int64_t depth, void* panel);

  // x[j] becomes exp(factor * x[j] - shift), which is added to columns[j] unless that is null; returns its
  // sum.
  double (*exponentiate)(float* x, int64_t count, float factor, float shift, float* columns);

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
const WordKernels* bf16_kernels();  // null where the CPU does not multiply bfloat16

}  // namespace ophclip
