// SPDX-License-Identifier: Apache-2.0
//
// What a kernel needs of the device, with a host body for each instruction that C++ cannot express, so that
// the same source runs under emulation.h.
#pragma once

#ifdef OPHCLIP_EMULATE
#include "emulation.h"
#define OPHCLIP_DEVICE inline
#define OPHCLIP_DYNAMIC_SHARED(name) unsigned char* name = emulation::dynamic_shared()
#else
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <cuda_runtime.h>
#define OPHCLIP_DEVICE __device__ __forceinline__
#define OPHCLIP_DYNAMIC_SHARED(name) extern __shared__ __align__(16) unsigned char name[]
#endif

#include <cstdint>

namespace ophclip::cuda {

constexpr unsigned kAllLanes = 0xffffffffu;

OPHCLIP_DEVICE float to_float(float value) { return value; }
OPHCLIP_DEVICE float to_float(__half value) { return __half2float(value); }
OPHCLIP_DEVICE float to_float(__nv_bfloat16 value) { return __bfloat162float(value); }

OPHCLIP_DEVICE void store_rounded(float* target, float value) { *target = value; }
OPHCLIP_DEVICE void store_rounded(__half* target, float value) { *target = __float2half_rn(value); }
OPHCLIP_DEVICE void store_rounded(__nv_bfloat16* target, float value) {
  *target = __float2bfloat16_rn(value);
}

OPHCLIP_DEVICE uint32_t bits_of(float value) {
#ifdef OPHCLIP_EMULATE
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
#else
  return __float_as_uint(value);
#endif
}

OPHCLIP_DEVICE float float_of(uint32_t bits) {
#ifdef OPHCLIP_EMULATE
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
#else
  return __uint_as_float(bits);
#endif
}

constexpr float kInfinity = __builtin_huge_valf();

// exp for arguments up to 0; about 2 ulp near 0, where softmax terms matter.
OPHCLIP_DEVICE float exp_fast(float value) {
#ifdef OPHCLIP_EMULATE
  return std::exp(value);
#else
  return __expf(value);
#endif
}

// Copies 16 (or 4) bytes from global to shared memory without registers; bytes past `valid` become zero.
OPHCLIP_DEVICE void copy_async_16(void* shared, const void* global, int valid) {
#ifdef OPHCLIP_EMULATE
  emulation::copy_async(shared, global, 16, valid);
#else
  const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(target), "l"(global), "r"(valid)
               : "memory");
#endif
}

OPHCLIP_DEVICE void copy_async_4(void* shared, const void* global, int valid) {
#ifdef OPHCLIP_EMULATE
  emulation::copy_async(shared, global, 4, valid);
#else
  const unsigned target = static_cast<unsigned>(__cvta_generic_to_shared(shared));
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(target), "l"(global), "r"(valid)
               : "memory");
#endif
}

OPHCLIP_DEVICE void copy_async_commit() {
#ifdef OPHCLIP_EMULATE
  emulation::copy_async_commit();
#else
  asm volatile("cp.async.commit_group;" ::: "memory");
#endif
}

template <int kPending>
OPHCLIP_DEVICE void copy_async_wait() {
#ifdef OPHCLIP_EMULATE
  emulation::copy_async_wait(kPending);
#else
  asm volatile("cp.async.wait_group %0;" ::"n"(kPending) : "memory");
#endif
}

// Four 8x8 matrices of 16-bit elements. Lane l names row l % 8 of matrix l / 8; lane t receives from each
// matrix the elements (t / 4, 2 * (t % 4) + {0, 1}), or, transposed, (2 * (t % 4) + {0, 1}, t / 4).
template <bool kTransposed>
OPHCLIP_DEVICE void load_matrices(uint32_t (&out)[4], const void* row) {
#ifdef OPHCLIP_EMULATE
  const auto rows = emulation::share(static_cast<const uint16_t*>(row));
  const int major = threadIdx.x % 32 / 4, minor = threadIdx.x % 4 * 2;
  for (int i = 0; i < 4; ++i) {
    uint32_t element[2];
    for (int e = 0; e < 2; ++e) {
      const int from_row = kTransposed ? minor + e : major;
      const int from_column = kTransposed ? major : minor + e;
      element[e] = emulation::shared_by<const uint16_t*>(rows, i * 8 + from_row)[from_column];
    }
    out[i] = element[0] | element[1] << 16;
  }
#else
  const unsigned source = static_cast<unsigned>(__cvta_generic_to_shared(row));
  if constexpr (kTransposed) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(source)
                 : "memory");
  } else {
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(out[0]), "=r"(out[1]), "=r"(out[2]), "=r"(out[3])
                 : "r"(source)
                 : "memory");
  }
#endif
}

#ifdef OPHCLIP_EMULATE
template <typename T>
struct MmaFragments {
  T a[8], b[4];
};

template <typename T>
inline void emulated_mma(float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4], uint32_t b0,
                         uint32_t b1) {
  MmaFragments<T> mine;
  const uint32_t b[2] = {b0, b1};
  std::memcpy(mine.a, a, sizeof(mine.a));
  std::memcpy(mine.b, b, sizeof(mine.b));
  const auto warp = emulation::share(mine);
  const int row = threadIdx.x % 32 / 4, column = threadIdx.x % 4 * 2;
  float* const c[2][2] = {{&c0, &c1}, {&c2, &c3}};
  for (int k = 0; k < 16; ++k) {
    const int owner = k % 8 / 2, slot = k % 2, upper = k / 8;
    const auto from_row = emulation::shared_by<MmaFragments<T>>(warp, row * 4 + owner);
    for (int j = 0; j < 2; ++j) {
      const auto from_column = emulation::shared_by<MmaFragments<T>>(warp, (column + j) * 4 + owner);
      const float factor = to_float(from_column.b[upper * 2 + slot]);
      for (int i = 0; i < 2; ++i) *c[i][j] += to_float(from_row.a[upper * 4 + i * 2 + slot]) * factor;
    }
  }
}
#endif

#define OPHCLIP_MMA(type)                                                             \
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32." type "." type                 \
               ".f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};" \
               : "+f"(c0), "+f"(c1), "+f"(c2), "+f"(c3)                               \
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1))

// c += a * b for a 16 x 16 and b 16 x 8; c0, c1 in row lane / 4, c2, c3 eight rows below, columns 2 * (lane %
// 4) + {0, 1}.
template <typename T>
OPHCLIP_DEVICE void multiply_add(float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4],
                                 uint32_t b0, uint32_t b1);

template <>
OPHCLIP_DEVICE void multiply_add<__half>(float& c0, float& c1, float& c2, float& c3, const uint32_t (&a)[4],
                                         uint32_t b0, uint32_t b1) {
#ifdef OPHCLIP_EMULATE
  emulated_mma<__half>(c0, c1, c2, c3, a, b0, b1);
#else
  OPHCLIP_MMA("f16");
#endif
}

template <>
OPHCLIP_DEVICE void multiply_add<__nv_bfloat16>(float& c0, float& c1, float& c2, float& c3,
                                                const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
#ifdef OPHCLIP_EMULATE
  emulated_mma<__nv_bfloat16>(c0, c1, c2, c3, a, b0, b1);
#else
  OPHCLIP_MMA("bf16");
#endif
}

#undef OPHCLIP_MMA

}  // namespace ophclip::cuda
