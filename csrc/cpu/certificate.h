// SPDX-License-Identifier: Apache-2.0
//
// How far the score of a scan may lie from the score of the fp32 search.
//
// A base keeps x = m + s p + r for each row: m the centre of all rows, s p what is scanned (p codes of 8
// bits, or p bfloat16 and s = 1), r the residual. A query is y = t q + f likewise, without a centre. With
//   e = <y, m> + s t <q, p>   it holds that   <y, x> - e = <t q, r> + <f, x - m>,
// so by Cauchy-Schwarz |<y, x> - e| <= |t q| |r| + |f| |x - m|. The fp32 search returns c, a chain of D
// multiply-adds: |c - <y, x>| <= gamma_D |y| |x| <= gamma_D |y| (|x - m| + |m|). Together
//   |c - e| <= residual |r| + norm |x - m| + constant
// with residual = |t q|, norm = |f| + (gamma_D + gamma + g) |y| and constant = (gamma_D + g) |y| |m|. gamma
// covers the sums of a bf16 scan, whatever their order and rounding; g = 2^-16 covers the dozen roundings by
// which e and the bound itself are computed in float (each at most 2^-24 of 8 |y| (|x - m| + |m|)), and
// underflow: what is scanned has its largest magnitude in [2^-40, 2^40], in rows and queries, so |y| |x - m|
// is at least 2^-80 and a loss of 2^-126 or of whole denormals a step vanishes in it. Rows outside that range
// have s = 0 and p = 0, so that e = <y, m> and r = x - m (of norm at least 2^-40 sqrt D); queries outside it
// are searched in fp32. Norms are rounded up.
#pragma once

#include <cstdint>
#include <vector>

#include "../ops.h"

namespace ophclip {

constexpr int64_t kMaxScannedDepth = 1 << 16;  // sums of codes fit int32, and gamma_D stays small
constexpr float kMaxError = 0x1p100f;          // beyond it the fp32 search itself may overflow

struct ErrorBound {
  float scale = 1;                             // t
  float offset = 0;                            // <y, m>
  float residual = 0, norm = 0, constant = 0;  // the factors of the bound
};

// Whether the certificate covers a query.
bool is_scannable(const float* y, int64_t depth);

// Rounds a query to bfloat16 (`rounded`) or to codes (`codes`, where 127 stands for `span`), whichever the
// base holds, both [D]; the query must be scannable.
ErrorBound quantise_query(const float* y, int64_t depth, const QuantisedRows& base, double centre_norm,
                          float span, uint16_t* rounded, int16_t* codes);

double norm_of(const float* x, int64_t depth);

}  // namespace ophclip
