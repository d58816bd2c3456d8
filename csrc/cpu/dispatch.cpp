// SPDX-License-Identifier: Apache-2.0
#include <cstdlib>
#include <stdexcept>

#include "../ops.h"
#include "kernels.h"

namespace ophclip {

namespace isa_portable {
extern const Kernels table;
}
#ifdef OPHCLIP_X86
namespace isa_avx2 {
extern const Kernels table;
}
namespace isa_avx512 {
extern const Kernels table;
}
namespace isa_avx512bf16 {
extern const WordKernels table;
}
#endif

std::vector<std::string> supported_isas() {
  std::vector<std::string> names;
#ifdef OPHCLIP_X86
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    names.push_back("avx512");
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) names.push_back("avx2");
#endif
  names.push_back("portable");
  return names;
}

std::string selected_isa() {
  const auto names = supported_isas();
  const char* wanted = std::getenv("OPHCLIP_ISA");
  if (wanted == nullptr || *wanted == '\0') return names.front();
  std::string known;
  for (const auto& name : names) {
    if (name == wanted) return name;
    known += (known.empty() ? "" : ", ") + name;
  }
  throw std::invalid_argument("OPHCLIP_ISA must be one that this CPU has (" + known + "), got " + wanted +
                              "; unset it to take the best");
}

const Kernels& kernels() {
  static const Kernels& chosen = []() -> const Kernels& {
    const std::string isa = selected_isa();
#ifdef OPHCLIP_X86
    if (isa == "avx512") return isa_avx512::table;
    if (isa == "avx2") return isa_avx2::table;
#endif
    return isa_portable::table;
  }();
  return chosen;
}

const WordKernels* bf16_kernels() {
#ifdef OPHCLIP_X86
  if (&kernels() == &isa_avx512::table && __builtin_cpu_supports("avx512bf16")) return &isa_avx512bf16::table;
#endif
  return nullptr;
}

bool multiplies_bf16() { return bf16_kernels() != nullptr; }

}  // namespace ophclip
