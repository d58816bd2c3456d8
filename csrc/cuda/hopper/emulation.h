// SPDX-License-Identifier: Apache-2.0
//
// Hopper's asynchronous units on the CPU, written from the definitions of the PTX ISA and independently of
// the code that uses them: shared-memory barriers with phases, arrival and byte counts; bulk tensor copies
// with boxes, zero fill and the 128-byte swizzle; warpgroup products that read shared memory through matrix
// descriptors. Copies and products take effect at a random moment that the rules permit, so code that reads
// early or reuses memory early computes wrong numbers.
#pragma once

#include <algorithm>

#include "../emulation.h"

namespace emulation {

// What the driver encodes into its 128 bytes.
struct alignas(64) TensorMap {
  const unsigned char* data;
  uint64_t columns, rows, pitch_bytes;
  uint32_t box_columns, box_rows;
};

struct Barrier {
  int32_t bytes;
  int16_t pending;
  uint16_t count : 15, phase : 1;
};
static_assert(sizeof(Barrier) == 8);

inline Barrier& barrier_at(void* shared) { return *static_cast<Barrier*>(shared); }

inline void end_phase_if_complete(Barrier& barrier) {
  if (barrier.pending != 0 || barrier.bytes != 0) return;
  barrier.phase ^= 1;
  barrier.pending = static_cast<int16_t>(barrier.count);
  ++machine.progress;
}

inline void init_barrier(void* shared, int count) {
  barrier_at(shared) = {0, static_cast<int16_t>(count), static_cast<uint16_t>(count), 0};
}

inline void arrive(void* shared, int bytes) {
  Barrier& barrier = barrier_at(shared);
  if (barrier.count == 0 || barrier.count == 0x7fff || barrier.pending == 0)
    fail("arrives at a barrier that is not initialised or expects no more arrivals", thread_index.x);
  barrier.bytes += bytes;
  --barrier.pending;
  end_phase_if_complete(barrier);
}

inline uint32_t shared_offset(const void* shared) {
  const auto offset = static_cast<const unsigned char*>(shared) - dynamic_shared();
  if (offset < 0 || static_cast<size_t>(offset) > machine.shared.size() * 4)
    fail("hands an address outside shared memory to an asynchronous unit", thread_index.x);
  return static_cast<uint32_t>(offset);
}

// 128-byte swizzle: bits 4 to 6 of a shared-memory address are combined with bits 7 to 9.
inline uint32_t swizzled(uint32_t address) { return address ^ (((address >> 7) & 7) << 4); }

struct BulkCopy {
  void* barrier;
  std::function<void()> land;
};
inline std::vector<BulkCopy> bulk_copies;

inline void land_copies(void* barrier) {
  for (size_t i = 0; i < bulk_copies.size();) {
    if (bulk_copies[i].barrier != barrier) {
      ++i;
      continue;
    }
    const auto land = std::move(bulk_copies[i].land);
    bulk_copies.erase(bulk_copies.begin() + static_cast<std::ptrdiff_t>(i));
    land();
  }
}

inline void copy_box(unsigned char* shared, const TensorMap& map, void* barrier, int column, int row) {
  const uint32_t target = shared_offset(shared), line = map.box_columns * 2;
  if (target % 1024 != 0)
    fail("copies a swizzled box to an address off the swizzle's period", thread_index.x);
  unsigned char* const base = dynamic_shared();
  for (uint32_t r = 0; r < map.box_rows; ++r) {
    for (uint32_t c = 0; c < map.box_columns; ++c) {
      const int64_t from_row = int64_t{row} + r, from_column = int64_t{column} + c;
      const bool inside = from_row >= 0 && from_row < static_cast<int64_t>(map.rows) && from_column >= 0 &&
                          from_column < static_cast<int64_t>(map.columns);
      unsigned char* const to = base + swizzled(target + r * line + c * 2);
      if (inside) {
        std::memcpy(to, map.data + from_row * map.pitch_bytes + from_column * 2, 2);
      } else {
        std::memset(to, 0, 2);
      }
    }
  }
  Barrier& counted = barrier_at(barrier);
  counted.bytes -= static_cast<int32_t>(line * map.box_rows);
  end_phase_if_complete(counted);
}

inline void load_box(unsigned char* shared, const TensorMap& map, void* barrier, int column, int row) {
  if (machine.random() % 2) {
    copy_box(shared, map, barrier, column, row);
  } else {
    bulk_copies.push_back({barrier, [=] { copy_box(shared, map, barrier, column, row); }});
  }
  machine.end_of_block = [] {
    if (!bulk_copies.empty()) fail("a bulk copy is never waited for", 0);
  };
}

inline void wait_for_phase(void* shared, uint32_t parity) {
  wait_until([=] {
    if (barrier_at(shared).phase == parity) land_copies(shared);
    return barrier_at(shared).phase != parity;
  });
}

// Meeting of `threads` threads; any number of meetings of one name may follow one another.
inline void meet(unsigned name, int threads) {
  static struct {
    int present;
    size_t round;
  } meetings[16];
  auto& meeting = meetings[name];
  const size_t round = meeting.round;
  ++machine.progress;
  if (++meeting.present == threads) {
    meeting.present = 0;
    ++meeting.round;
    return;
  }
  wait_until([&] { return meeting.round != round; });
}

// Address of element (mn, k) of a matrix in shared memory, by its descriptor and majorness.
inline uint32_t element_address(uint64_t descriptor, bool mn_major, uint32_t mn, uint32_t k) {
  const uint32_t start = (descriptor & 0x3fff) << 4, leading = (descriptor >> 16 & 0x3fff) << 4,
                 stride = (descriptor >> 32 & 0x3fff) << 4;
  if (descriptor >> 62 != 1 || (descriptor >> 49 & 7) != 0)
    fail("only descriptors of 128-byte swizzle at base offset 0 are emulated", thread_index.x);
  const uint32_t linear = mn_major ? mn % 64 * 2 + mn / 64 * leading + k % 8 * 128 + k / 8 * stride
                                   : mn % 8 * 128 + mn / 8 * stride + k * 2;
  return swizzled(start + linear);
}

template <typename T>
inline T element(uint32_t address) {
  if (address + 2 > machine.shared.size() * 4) fail("a descriptor leads outside shared memory", 0);
  T value;
  std::memcpy(&value, dynamic_shared() + address, sizeof(T));
  return value;
}

// One thread's share of an m64 x columns x k16 product.
template <typename T, typename ToFloat>
inline void multiply_fragment(float* sums, int columns, unsigned thread, uint64_t a, uint64_t b, bool a_mn,
                              bool b_mn, bool accumulate, ToFloat to_float) {
  const int first_row = static_cast<int>(thread % 128 / 32 * 16 + thread % 32 / 4);
  float rows[2][16];
  for (int h = 0; h < 2; ++h)
    for (int k = 0; k < 16; ++k)
      rows[h][k] = to_float(element<T>(element_address(a, a_mn, first_row + 8 * h, k)));
  for (int index = 0; index < columns / 4; ++index) {
    const int column = index / 2 * 8 + static_cast<int>(thread % 4) * 2 + index % 2;
    float factors[16];
    for (int k = 0; k < 16; ++k) factors[k] = to_float(element<T>(element_address(b, b_mn, column, k)));
    for (int h = 0; h < 2; ++h) {
      float& sum = sums[index / 2 * 4 + h * 2 + index % 2];
      if (!accumulate) sum = 0.0f;
      for (int k = 0; k < 16; ++k) sum += rows[h][k] * factors[k];
    }
  }
}

inline void issue_product(uint64_t a, uint64_t b, std::function<void()> product) {
  const auto seen = share(std::make_pair(a, b));
  if (shared_by<std::pair<uint64_t, uint64_t>>(seen, 0) != std::make_pair(a, b))
    fail("the lanes of a warp issue different products", thread_index.x);
  machine.running->open_products.push_back(std::move(product));
}

inline void run_products(std::deque<std::vector<std::function<void()>>>& groups, size_t keep) {
  for (; groups.size() > keep; groups.pop_front())
    for (const auto& product : groups.front()) product();
}

inline void commit_products() {
  Fibre& self = *machine.running;
  self.product_groups.push_back(std::move(self.open_products));
  self.open_products.clear();
  if (machine.random() % 4 == 0) run_products(self.product_groups, 0);
}

inline void wait_for_products(size_t pending) {
  if (!machine.running->open_products.empty())
    fail("waits for products before committing them", thread_index.x);
  run_products(machine.running->product_groups, pending);
}

}  // namespace emulation
