// SPDX-License-Identifier: Apache-2.0
#include <string>

#include "../ops.h"
#include "scan.h"

namespace ophclip {

namespace scan_portable {
extern const ScanKernels table;
}
#ifdef OPHCLIP_X86
namespace scan_avx2 {
extern const ScanKernels table;
}
namespace scan_avx512 {
extern const ScanKernels table;
}
namespace scan_avx512vnni {
extern const ScanKernels table;
}
namespace scan_avx512bf16 {
extern const ScanKernels table;
}
#endif

const ScanKernels& scan_kernels() {
  static const ScanKernels& chosen = []() -> const ScanKernels& {
    [[maybe_unused]] const std::string isa = selected_isa();
#ifdef OPHCLIP_X86
    if (isa == "avx512" && __builtin_cpu_supports("avx512vnni")) {
      return __builtin_cpu_supports("avx512bf16") ? scan_avx512bf16::table : scan_avx512vnni::table;
    }
    if (isa == "avx512") return scan_avx512::table;
    if (isa == "avx2") return scan_avx2::table;
#endif
    return scan_portable::table;
  }();
  return chosen;
}

}  // namespace ophclip
