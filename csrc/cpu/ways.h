// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <memory>

#include "contrast.h"

namespace ophclip {

std::unique_ptr<Contrast> bounded_contrast(const ContrastiveProblem& problem, float bound);
std::unique_ptr<Contrast> general_contrast(const ContrastiveProblem& problem);

}  // namespace ophclip
