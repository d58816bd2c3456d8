// SPDX-License-Identifier: Apache-2.0
//
// Hopper's instructions (sm_90a), each with a host body under emulation: barriers in shared memory, bulk
// tensor copies, warpgroup products, register reallocation.
#pragma once

#include <type_traits>

#include "../device.cuh"

#ifdef OPHCLIP_EMULATE
#include "emulation.h"
#define OPHCLIP_HOPPER_SHARED(name) unsigned char* name = emulation::dynamic_shared()
#define OPHCLIP_HOPPER_CODE 1
#else
#include <cuda.h>
#define OPHCLIP_HOPPER_SHARED(name) extern __shared__ __align__(1024) unsigned char name[]
#ifdef __CUDA_ARCH_FEAT_SM90_ALL
#define OPHCLIP_HOPPER_CODE 1  // elsewhere the kernels of this folder are empty and never launched
#endif
#endif

#include "accumulators.cuh"

namespace ophclip::cuda::hopper {

#ifdef OPHCLIP_EMULATE
using TensorMap = emulation::TensorMap;
#else
using TensorMap = CUtensorMap;
#endif

struct alignas(8) Barrier {
  uint64_t state;
};

OPHCLIP_DEVICE uint32_t shared_address(const void* shared) {
#ifdef OPHCLIP_EMULATE
  return emulation::shared_offset(shared);
#else
  return static_cast<uint32_t>(__cvta_generic_to_shared(shared));
#endif
}

OPHCLIP_DEVICE void init_barrier(Barrier* barrier, int arrivals) {
#ifdef OPHCLIP_EMULATE
  emulation::init_barrier(barrier, arrivals);
#else
  asm volatile("mbarrier.init.shared::cta.b64 [%0], %1;" ::"r"(shared_address(barrier)), "r"(arrivals)
               : "memory");
#endif
}

// Makes initialised barriers visible to the copy engine; a block barrier must follow for the other threads.
OPHCLIP_DEVICE void publish_barriers() {
#ifndef OPHCLIP_EMULATE
  asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
#endif
}

OPHCLIP_DEVICE void arrive(Barrier* barrier) {
#ifdef OPHCLIP_EMULATE
  emulation::arrive(barrier, 0);
#else
  asm volatile("mbarrier.arrive.shared::cta.b64 _, [%0];" ::"r"(shared_address(barrier)) : "memory");
#endif
}

// Arrives, and lets the phase end only when that many bytes have been copied as well.
OPHCLIP_DEVICE void arrive_expecting(Barrier* barrier, uint32_t bytes) {
#ifdef OPHCLIP_EMULATE
  emulation::arrive(barrier, static_cast<int>(bytes));
#else
  asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(shared_address(barrier)),
               "r"(bytes)
               : "memory");
#endif
}

// Returns once the phase of this parity is over; on a fresh barrier the phase of parity 1 is.
OPHCLIP_DEVICE void wait(Barrier* barrier, uint32_t parity) {
#ifdef OPHCLIP_EMULATE
  emulation::wait_for_phase(barrier, parity);
#else
  const uint32_t address = shared_address(barrier);
  uint32_t over = 0;
  while (!over) {
    asm volatile(
        "{\n.reg .pred p;\n"
        "mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2;\n"
        "selp.u32 %0, 1, 0, p;\n}"
        : "=r"(over)
        : "r"(address), "r"(parity)
        : "memory");
  }
#endif
}

OPHCLIP_DEVICE void prefetch_map(const TensorMap* map) {
#ifndef OPHCLIP_EMULATE
  asm volatile("prefetch.tensormap [%0];" ::"l"(map) : "memory");
#endif
}

// Copies the map's box whose first element is (row, column) to shared memory; elements outside the array
// become zero. `barrier` counts the bytes of the whole box.
OPHCLIP_DEVICE void load_box(void* shared, const TensorMap* map, Barrier* barrier, int column, int row) {
#ifdef OPHCLIP_EMULATE
  emulation::load_box(static_cast<unsigned char*>(shared), *map, barrier, column, row);
#else
  asm volatile(
      "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%3, %4}], "
      "[%2];" ::"r"(shared_address(shared)),
      "l"(map), "r"(shared_address(barrier)), "r"(column), "r"(row)
      : "memory");
#endif
}

// Every warp of the warpgroup executes these.
template <int kRegisters>
OPHCLIP_DEVICE void give_registers() {
#ifndef OPHCLIP_EMULATE
  asm volatile("setmaxnreg.dec.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

template <int kRegisters>
OPHCLIP_DEVICE void take_registers() {
#ifndef OPHCLIP_EMULATE
  asm volatile("setmaxnreg.inc.sync.aligned.u32 %0;" ::"n"(kRegisters));
#endif
}

// Barrier of the 128 threads of one warpgroup; names 1 to 15 (0 is __syncthreads).
OPHCLIP_DEVICE void meet_warpgroup(int name) {
#ifdef OPHCLIP_EMULATE
  emulation::meet(name, 128);
#else
  asm volatile("bar.sync %0, 128;" ::"r"(name) : "memory");
#endif
}

// Before the first product that uses accumulators which ordinary instructions have touched.
OPHCLIP_DEVICE void fence_products() {
#ifndef OPHCLIP_EMULATE
  asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
#endif
}

OPHCLIP_DEVICE void commit_products() {
#ifdef OPHCLIP_EMULATE
  emulation::commit_products();
#else
  asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
#endif
}

template <int kPending>
OPHCLIP_DEVICE void wait_for_products() {
#ifdef OPHCLIP_EMULATE
  emulation::wait_for_products(kPending);
#else
  asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
#endif
}

#define OPHCLIP_WGMMA(type)                                                                \
  asm volatile(                                                                            \
      "{\n.reg .pred p;\nsetp.ne.b32 p, %130, 0;\n"                                        \
      "wgmma.mma_async.sync.aligned.m64n256k16.f32." type "." type " {" OPHCLIP_SUM_PLACES \
      "}, %128, %129, p, 1, 1, %131, %132;\n}"                                             \
      : OPHCLIP_SUMS                                                                       \
      : "l"(a), "l"(b), "r"(static_cast<int>(accumulate)), "n"(kRowsMajorA ? 1 : 0),       \
        "n"(kRowsMajorB ? 1 : 0))

// sums (+)= A B^T for A of 64 x 16 and B of 256 x 16 elements in shared memory. sums[4 j + 2 h + e] is row
// 16 warp + lane / 4 + 8 h, column 8 j + 2 (lane % 4) + e. kRowsMajor*: the operand's rows, not its depth,
// are contiguous. The warpgroup's 128 threads execute it together; the result is there after
// wait_for_products.
template <typename T, bool kRowsMajorA, bool kRowsMajorB>
OPHCLIP_DEVICE void multiply_add_async(float (&sums)[128], uint64_t a, uint64_t b, bool accumulate) {
#ifdef OPHCLIP_EMULATE
  float* const first = sums;
  const unsigned thread = threadIdx.x;
  emulation::issue_product(a, b, [=] {
    emulation::multiply_fragment<T>(first, 256, thread, a, b, kRowsMajorA, kRowsMajorB, accumulate,
                                    [](T value) { return to_float(value); });
  });
#else
  if constexpr (std::is_same_v<T, __half>) {
    OPHCLIP_WGMMA("f16");
  } else {
    OPHCLIP_WGMMA("bf16");
  }
#endif
}

#undef OPHCLIP_WGMMA

// Keeps the compiler from moving uses of the sums across this point: to it, a product is over when issued.
OPHCLIP_DEVICE void hold(float (&sums)[128]) {
#ifdef OPHCLIP_EMULATE
  (void)sums;
#else
  asm volatile("" : OPHCLIP_SUMS::"memory");
#endif
}

// Ends the kernel with an error.
OPHCLIP_DEVICE void stop() {
#ifdef OPHCLIP_EMULATE
  emulation::fail("stopped", threadIdx.x);
#else
  __trap();
#endif
}

}  // namespace ophclip::cuda::hopper
