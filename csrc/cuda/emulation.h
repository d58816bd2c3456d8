// SPDX-License-Identifier: Apache-2.0
//
// Runs kernel sources on the CPU, for tests of indexing, synchronisation and numerics at tiny sizes.
// Every thread of a block is a fibre; blocks run one after another. The rules are stricter than the
// hardware's: shared memory starts as NaN in every block, asynchronous copies land only when they are waited
// for, warps take turns in a changing order between barriers, and a barrier that some thread never reaches,
// or a wait that nothing can end, ends the process with a message.
#pragma once

#include <setjmp.h>
#include <ucontext.h>

#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __launch_bounds__(...)
#define __grid_constant__

struct dim3 {
  unsigned x = 1, y = 1, z = 1;
  dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
struct alignas(8) float2 {
  float x, y;
};
struct alignas(16) float4 {
  float x, y, z, w;
};
struct alignas(16) uint4 {
  unsigned x, y, z, w;
};
inline float2 make_float2(float x, float y) { return {x, y}; }
inline uint4 make_uint4(unsigned x, unsigned y, unsigned z, unsigned w) { return {x, y, z, w}; }

struct __nv_bfloat16 {
  uint16_t bits;
};
struct __half {
  uint16_t bits;
};

inline float __bfloat162float(__nv_bfloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof(result));
  return result;
}

inline __nv_bfloat16 __float2bfloat16_rn(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  if (std::isnan(value)) return {0x7fff};
  bits += 0x7fff + ((bits >> 16) & 1);
  return {static_cast<uint16_t>(bits >> 16)};
}

inline float __half2float(__half value) {
  const int exponent = (value.bits >> 10) & 31;
  const int mantissa = value.bits & 1023;
  float magnitude =
      exponent ? std::ldexp(1024.0f + mantissa, exponent - 25) : std::ldexp(float(mantissa), -24);
  if (exponent == 31) magnitude = mantissa ? NAN : INFINITY;
  return value.bits & 0x8000 ? -magnitude : magnitude;
}

inline __half __float2half_rn(float value) {
  const uint16_t sign = std::signbit(value) ? 0x8000 : 0;
  const float magnitude = std::fabs(value);
  if (std::isnan(value)) return {0x7fff};
  if (magnitude == 0.0f) return {sign};
  if (magnitude >= 65520.0f) return {static_cast<uint16_t>(sign | 0x7c00)};
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  exponent = exponent < -13 ? -13 : exponent;  // subnormal numbers share the smallest exponent
  const int steps = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 11 - exponent)));
  return {static_cast<uint16_t>(sign | (((exponent + 13) << 10) + steps))};
}

using cudaError_t = int;
using cudaStream_t = void*;
enum { cudaSuccess = 0, cudaErrorNoDevice = 100, cudaErrorInsufficientDriver = 35 };
enum {
  cudaDevAttrMultiProcessorCount = 16,
  cudaDevAttrComputeCapabilityMajor = 75,
  cudaDevAttrComputeCapabilityMinor = 76
};
inline const char* cudaGetErrorString(cudaError_t) { return "emulated error"; }
inline cudaError_t cudaGetLastError() { return cudaSuccess; }
inline cudaError_t cudaGetDevice(int* device) { return *device = 0, cudaSuccess; }
inline cudaError_t cudaGetDeviceCount(int* count) { return *count = 0, cudaSuccess; }
inline cudaError_t cudaRuntimeGetVersion(int* version) { return *version = 0, cudaSuccess; }
inline cudaError_t cudaDeviceGetAttribute(int* value, int attribute, int) {
  *value = attribute == cudaDevAttrComputeCapabilityMajor ? 9
           : attribute == cudaDevAttrMultiProcessorCount  ? 2
                                                          : 0;
  return cudaSuccess;
}
inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t) {
  std::memset(data, value, bytes);
  return cudaSuccess;
}

namespace emulation {

enum class State { kReady, kAtWarpBarrier, kAtBlockBarrier, kWaiting, kDone };

struct Copy {
  void* target;
  const void* source;
  int bytes, valid;
};

struct Fibre {
  ucontext_t context;
  jmp_buf resume;
  std::unique_ptr<char[]> stack;
  State state = State::kReady;
  bool started = false;
  unsigned thread = 0;
  unsigned collectives = 0;
  std::vector<Copy> open_copies;
  std::deque<std::vector<Copy>> groups;
  std::vector<std::function<void()>>
      open_products;  // asynchronous warpgroup products, see hopper/emulation.h
  std::deque<std::vector<std::function<void()>>> product_groups;
};

struct Exchange {
  alignas(16) unsigned char slots[2][32][64];
};

struct Machine {
  std::vector<Fibre> fibres;
  std::vector<Exchange> exchanges;
  std::vector<uint32_t> shared;
  std::function<void()> body;
  jmp_buf scheduler;
  Fibre* running = nullptr;
  int vote = 0;
  size_t progress = 0;                 // grows whenever a fibre does more than find its wait unfinished
  std::function<void()> end_of_block;  // checks that nothing asynchronous is left behind
  std::minstd_rand random;
};

inline Machine machine;
inline dim3 thread_index, block_index, block_size, grid_size;

inline void park(State state) {
  Fibre* self = machine.running;
  self->state = state;
  if (_setjmp(self->resume) == 0) _longjmp(machine.scheduler, 1);
}

inline void enter() {
  machine.body();
  machine.running->state = State::kDone;
  _longjmp(machine.scheduler, 1);
}

inline void advance(Fibre& fibre) {
  machine.running = &fibre;
  thread_index = dim3(fibre.thread, 0, 0);
  if (_setjmp(machine.scheduler) != 0) return;
  if (fibre.started) _longjmp(fibre.resume, 1);
  fibre.started = true;
  setcontext(&fibre.context);
}

[[noreturn]] inline void fail(const char* what, size_t thread) {
  std::fprintf(stderr, "emulation: block %u, thread %zu: %s\n", block_index.x, thread, what);
  std::abort();
}

// Returns when the condition holds; other threads run meanwhile.
template <typename Condition>
inline void wait_until(Condition condition) {
  while (!condition()) park(State::kWaiting);
  ++machine.progress;
}

// Runs one warp as far as its lanes can go; true if any lane is left.
inline bool advance_warp(size_t first, size_t last) {
  for (;;) {
    size_t at_warp = 0, waiting = 0, done = 0;
    for (size_t i = first; i < last; ++i) {
      const State before = machine.fibres[i].state;
      machine.progress += before == State::kReady;
      if (before == State::kReady || before == State::kWaiting) advance(machine.fibres[i]);
      const State state = machine.fibres[i].state;
      at_warp += state == State::kAtWarpBarrier;
      waiting += state == State::kWaiting;
      done += state == State::kDone;
    }
    if (at_warp < last - first) {
      if (at_warp > 0 && waiting == 0) fail("a warp collective is not reached by all lanes", first);
      return done < last - first;
    }
    for (size_t i = first; i < last; ++i) machine.fibres[i].state = State::kReady;
  }
}

inline void run_block() {
  const size_t threads = machine.fibres.size();
  for (;;) {
    bool any_left = false;
    const size_t warps = machine.exchanges.size(), turn = machine.random() % warps,
                 backwards = machine.random() % 2, before = machine.progress;
    for (size_t i = 0; i < warps; ++i) {
      const size_t first = (turn + (backwards ? warps - i : i)) % warps * 32;
      any_left |= advance_warp(first, first + 32 < threads ? first + 32 : threads);
    }
    if (!any_left) break;
    size_t at_block = 0;
    for (const Fibre& fibre : machine.fibres) at_block += fibre.state == State::kAtBlockBarrier;
    if (at_block == threads) {
      for (Fibre& fibre : machine.fibres) fibre.state = State::kReady;
    } else if (machine.progress == before) {
      for (const Fibre& fibre : machine.fibres) {
        if (fibre.state == State::kWaiting) fail("waits for what never comes", fibre.thread);
      }
      for (const Fibre& fibre : machine.fibres) {
        if (fibre.state == State::kDone) fail("left the block before a barrier", fibre.thread);
      }
      fail("does not move", 0);
    }
  }
  for (const Fibre& fibre : machine.fibres) {
    if (!fibre.open_products.empty() || !fibre.product_groups.empty())
      fail("leaves products unfinished", fibre.thread);
  }
  if (machine.end_of_block) machine.end_of_block();
}

inline void prepare_fibre(Fibre& fibre, unsigned thread) {
  constexpr size_t kStackBytes = 128 << 10;
  if (!fibre.stack) fibre.stack.reset(new char[kStackBytes]);
  getcontext(&fibre.context);
  fibre.context.uc_stack.ss_sp = fibre.stack.get();
  fibre.context.uc_stack.ss_size = kStackBytes;
  fibre.context.uc_link = nullptr;
  makecontext(&fibre.context, enter, 0);
  fibre.state = State::kReady;
  fibre.started = false;
  fibre.thread = thread;
  fibre.collectives = 0;
  fibre.open_copies.clear();
  fibre.groups.clear();
  fibre.open_products.clear();
  fibre.product_groups.clear();
}

constexpr uintptr_t kSharedAlignment = 1024;

inline void launch(dim3 grid, unsigned threads, size_t shared_bytes, std::function<void()> body) {
  machine.body = std::move(body);
  machine.fibres.resize(threads);
  machine.exchanges.resize((threads + 31) / 32);
  grid_size = grid;
  block_size = dim3(threads);
  for (unsigned block = 0; block < grid.x; ++block) {
    block_index = dim3(block, 0, 0);
    machine.shared.assign((shared_bytes + kSharedAlignment) / 4, 0xffffffffu);
    for (unsigned i = 0; i < threads; ++i) prepare_fibre(machine.fibres[i], i);
    run_block();
  }
}

inline unsigned char* dynamic_shared() {
  const auto address = reinterpret_cast<uintptr_t>(machine.shared.data());
  return reinterpret_cast<unsigned char*>((address + kSharedAlignment - 1) & ~(kSharedAlignment - 1));
}

// Publishes `value` to the warp and returns the table of all lanes' values, valid until the lane's next
// collective.
template <typename T>
inline const unsigned char (*share(const T& value))[64] {
  static_assert(sizeof(T) <= 64);
  Fibre* self = machine.running;
  auto& slots = machine.exchanges[self->thread / 32].slots[self->collectives++ % 2];
  std::memcpy(slots[self->thread % 32], &value, sizeof(T));
  park(State::kAtWarpBarrier);
  return slots;
}

template <typename T>
inline T shared_by(const unsigned char (*slots)[64], unsigned lane) {
  T value;
  std::memcpy(&value, slots[lane], sizeof(T));
  return value;
}

inline void copy_async(void* target, const void* source, int bytes, int valid) {
  machine.running->open_copies.push_back({target, source, bytes, valid});
}

inline void copy_async_commit() {
  machine.running->groups.push_back(std::move(machine.running->open_copies));
  machine.running->open_copies.clear();
}

inline void copy_async_wait(size_t pending) {
  auto& groups = machine.running->groups;
  for (; groups.size() > pending; groups.pop_front()) {
    for (const Copy& copy : groups.front()) {
      std::memset(copy.target, 0, copy.bytes);
      std::memcpy(copy.target, copy.source, copy.valid);
    }
  }
}

}  // namespace emulation

#define threadIdx (emulation::thread_index)
#define blockIdx (emulation::block_index)
#define blockDim (emulation::block_size)
#define gridDim (emulation::grid_size)

inline void __syncthreads() { emulation::park(emulation::State::kAtBlockBarrier); }

inline int __syncthreads_or(int vote) {
  emulation::machine.vote |= vote;
  __syncthreads();
  const int result = emulation::machine.vote;
  __syncthreads();
  emulation::machine.vote = 0;
  __syncthreads();
  return result;
}

inline void __syncwarp() { emulation::share(0); }

template <typename T>
inline T __shfl_xor_sync(unsigned, T value, int mask) {
  const auto slots = emulation::share(value);
  return emulation::shared_by<T>(slots, (threadIdx.x % 32) ^ mask);
}

template <typename T>
inline T __shfl_sync(unsigned, T value, int lane) {
  const auto slots = emulation::share(value);
  return emulation::shared_by<T>(slots, lane % 32);
}

inline int __ffs(int value) { return __builtin_ffs(value); }

inline int atomicAdd(int* target, int value) {
  const int before = *target;
  *target += value;
  return before;
}

inline unsigned __ballot_sync(unsigned, int vote) {
  const auto slots = emulation::share(vote);
  unsigned result = 0;
  for (unsigned lane = 0; lane < 32; ++lane)
    result |= (emulation::shared_by<int>(slots, lane) ? 1u : 0u) << lane;
  return result;
}
