// SPDX-License-Identifier: Apache-2.0
//
// Programs that break a rule of Hopper's asynchronous units, for the emulation to stop: one a name.
#include <cstdio>
#include <cstring>

#include "hopper/instructions.cuh"

using namespace ophclip::cuda::hopper;

namespace {

uint16_t array[64 * 64];
const TensorMap map{reinterpret_cast<const unsigned char*>(array), 64, 64, 128, 64, 8};
constexpr uint64_t kDescriptor = uint64_t{1} << 62 | uint64_t{64} << 32;

void run(const char* fault) {
  OPHCLIP_HOPPER_SHARED(shared);
  auto* const barrier = reinterpret_cast<Barrier*>(shared + 64 * 1024);
  if (threadIdx.x == 0) init_barrier(barrier, 1);
  __syncthreads();
  const bool first = threadIdx.x == 0;
  float sums[128];
  if (!std::strcmp(fault, "none") && first) {
    arrive_expecting(barrier, 1024);
    load_box(shared, &map, barrier, 0, 0);
    wait(barrier, 0);
  }
  if (!std::strcmp(fault, "endless wait") && first) wait(barrier, 0);
  if (!std::strcmp(fault, "missing bytes") && first) {
    arrive_expecting(barrier, 2048);
    load_box(shared, &map, barrier, 0, 0);
    wait(barrier, 0);
  }
  if (!std::strcmp(fault, "excess arrival") && first) {
    arrive_expecting(barrier, 2048);
    arrive(barrier);
  }
  if (!std::strcmp(fault, "unaligned box") && first) {
    arrive_expecting(barrier, 1024);
    load_box(shared + 128, &map, barrier, 0, 0);
    wait(barrier, 0);
  }
  if (!std::strcmp(fault, "box in flight") && first) {
    for (int i = 0; i < 64; ++i) load_box(shared, &map, barrier, 0, 0);
  }
  if (!std::strcmp(fault, "product in flight"))
    multiply_add_async<__nv_bfloat16, false, false>(sums, kDescriptor, kDescriptor, false);
  if (!std::strcmp(fault, "other descriptor"))
    multiply_add_async<__nv_bfloat16, false, false>(sums, kDescriptor + threadIdx.x, kDescriptor, false);
  if (!std::strcmp(fault, "half a warpgroup") && threadIdx.x < 64) meet_warpgroup(1);
}

}  // namespace

int main(int, char** arguments) {
  emulation::launch(dim3(1), 128, 66 * 1024, [=] { run(arguments[1]); });
  std::puts("unharmed");
}
