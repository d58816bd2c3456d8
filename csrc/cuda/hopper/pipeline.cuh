// SPDX-License-Identifier: Apache-2.0
//
// The matrix engine of sm_90a for 16-bit operands: one persistent block a multiprocessor, a producer warp
// and two warpgroups that multiply.
//
// Tiling: a 128 x 256 tile of C = A B^T, 64 deep a stage; each consumer warpgroup owns 64 x 256 of it in 128
//   accumulators a thread (wgmma m64n256k16). Operands arrive in boxes of 64 x 64 elements (8 KiB), 128 bytes
//   a line, 128-byte swizzle: two boxes of A and four of B, 48 KiB a stage, four stages in a ring.
// Layouts: an operand whose depth is contiguous in memory has boxes of 64 rows by 64 deep; one whose rows
//   (of A or of B, so columns of the array) are contiguous has boxes of 64 deep by 64 rows, read through the
//   transposing form of wgmma. Rows, columns and depths outside the arrays arrive as zeros.
// Ordering: full[slot] ends a phase when the producer has arrived and all bytes have landed; empty[slot] when
//   every consumer warp has arrived, after the products that read the slot are complete. Shared memory that
//   products or copies touch is written by copies alone, so no proxy fence is needed in the loop.
// Overlap: a warpgroup keeps one stage's products in flight while it issues the next. The first warpgroup is
//   kLead stages ahead of the second, so that one has the tensor cores while the other is in its epilogue.
// Numerics: products and sums in float32; the order of summation depends on the depth alone.
#pragma once

#include "../tiles.cuh"
#include "instructions.cuh"

namespace ophclip::cuda::hopper {

constexpr int kRows = 128, kColumns = 256, kDepth = 64;  // of a tile and of a stage
constexpr int kGroups = 2;                               // consumer warpgroups
constexpr int kBlockThreads = 128 * (kGroups + 1);
constexpr int kGroupRows = kRows / kGroups;
constexpr int kBox = 64;
constexpr int kBoxBytes = kBox * kDepth * 2;
constexpr int kBoxesA = kRows / kBox, kBoxesB = kColumns / kBox;
constexpr int kStageBytes = (kBoxesA + kBoxesB) * kBoxBytes;
constexpr int kSlots = 4;
constexpr int kLead = 3;  // stages by which the first warpgroup leads the second; 0: none
constexpr int kBarrierBytes = 128;
constexpr size_t kSharedBytes = kSlots * kStageBytes + kBarrierBytes;  // before what a kernel adds
constexpr int kProducerRegisters = 24, kConsumerRegisters = 240;       // 128 * (24 + 2 * 240) <= 65536
static_assert((2 * kSlots + 1) * sizeof(Barrier) <= kBarrierBytes);
static_assert(kLead < kSlots);

// The ring of stages as one thread walks it: producer and consumers take the same slots in the same order.
struct Ring {
  unsigned char* stages;
  Barrier *full, *empty, *lead;
  int slot = 0;
  uint32_t parity = 0, lead_parity = 0;

  OPHCLIP_DEVICE explicit Ring(unsigned char* shared)
      : stages(shared),
        full(reinterpret_cast<Barrier*>(shared + kSlots * kStageBytes)),
        empty(full + kSlots),
        lead(empty + kSlots) {}

  OPHCLIP_DEVICE unsigned char* stage() const { return stages + slot * kStageBytes; }

  OPHCLIP_DEVICE void advance() {
    if (++slot == kSlots) {
      slot = 0;
      parity ^= 1;
    }
  }

  // Producer: waits until the slot is free and announces `bytes` to come.
  OPHCLIP_DEVICE void claim(uint32_t bytes) {
    wait(&empty[slot], parity ^ 1);
    arrive_expecting(&full[slot], bytes);
  }

  // Consumer: one arrival a warp.
  OPHCLIP_DEVICE void release(int finished) {
    if (lane_id() == 0) arrive(&empty[finished]);
  }

  // Consumer: lets stages pass that only the other warpgroup reads. It must not jump over them: a wait tells
  // phases apart by parity alone, so no thread may be two phases away from a barrier's.
  OPHCLIP_DEVICE void pass(int steps) {
    for (int step = 0; step < steps; ++step) {
      wait(&full[slot], parity);
      release(slot);
      advance();
    }
  }
};

// Starts the block's two roles. Every consumer warp takes part in every stage.
template <typename Produce, typename Consume>
OPHCLIP_DEVICE void run_roles(unsigned char* shared, Produce produce, Consume consume) {
  Ring ring(shared);
  if (threadIdx.x == 0) {
    if (shared_address(shared) % 1024 != 0) stop();  // the swizzle's period
    for (int slot = 0; slot < kSlots; ++slot) {
      init_barrier(&ring.full[slot], 1);
      init_barrier(&ring.empty[slot], kGroups * 4);
    }
    init_barrier(ring.lead, 4);
    publish_barriers();
  }
  __syncthreads();
  const int group = threadIdx.x / 128;
  if (group == kGroups) {
    give_registers<kProducerRegisters>();
    if (threadIdx.x % 128 == 0) produce(ring);
  } else {
    take_registers<kConsumerRegisters>();
    consume(ring, group);
  }
}

// Brings rows [row0, row0 + 64 * kBoxes) and depth [k0, k0 + 64) of an operand to shared memory.
template <Major kMajor, int kBoxes>
OPHCLIP_DEVICE void load_rows(unsigned char* target, const TensorMap* map, Barrier* barrier, int row0,
                              int k0) {
#pragma unroll
  for (int box = 0; box < kBoxes; ++box) {
    const int row = row0 + box * kBox;
    load_box(target + box * kBoxBytes, map, barrier, kMajor == Major::kDepth ? k0 : row,
             kMajor == Major::kDepth ? row : k0);
  }
}

template <Major kMajorA, Major kMajorB>
OPHCLIP_DEVICE void produce_tile(Ring& ring, const TensorMap* a, int row0, const TensorMap* b, int column0,
                                 int steps) {
  for (int step = 0; step < steps; ++step) {
    ring.claim(kStageBytes);
    unsigned char* const stage = ring.stage();
    load_rows<kMajorA, kBoxesA>(stage, a, &ring.full[ring.slot], row0, step * kDepth);
    load_rows<kMajorB, kBoxesB>(stage + kBoxesA * kBoxBytes, b, &ring.full[ring.slot], column0,
                                step * kDepth);
    ring.advance();
  }
}

// Matrix descriptor of a run of boxes. Depth-major: lines are rows, 1024 bytes from 8 rows to the next 8.
// Row-major: lines are depths, 1024 bytes from 8 depths to the next 8, a box from 64 rows to the next 64.
template <Major kMajor>
OPHCLIP_DEVICE uint64_t describe(const unsigned char* boxes) {
  constexpr uint64_t kSwizzle128 = uint64_t{1} << 62;
  constexpr uint64_t kStride = 1024 / 16, kLeading = kMajor == Major::kDepth ? 1 : kBoxBytes / 16;
  return kSwizzle128 | kStride << 32 | kLeading << 16 | (shared_address(boxes) & 0x3ffff) >> 4;
}

// In units of 16 bytes, from 16 depths to the next 16 within a box.
template <Major kMajor>
constexpr uint64_t kDescriptorStep = kMajor == Major::kDepth ? 32 / 16 : 16 * 128 / 16;

// Lets the first warpgroup lead: the second starts a tile when the first has issued kLead of its stages. Only
// for tiles of at least kSlots stages: the ring then keeps the first from leading by two tiles, whose phases
// one parity would confuse.
OPHCLIP_DEVICE void follow(Ring& ring, int steps, int group) {
  if (kLead == 0 || steps < kSlots || group == 0) return;
  wait(ring.lead, ring.lead_parity);
  ring.lead_parity ^= 1;
}

OPHCLIP_DEVICE void allow_following(Ring& ring, int steps, int group, int step) {
  if (kLead == 0 || steps < kSlots || group != 0 || step != kLead - 1) return;
  if (lane_id() == 0) arrive(ring.lead);
}

// Multiplies `steps` stages into `sums`, which are complete on return. kTogether: both warpgroups take the
// tile, 64 rows each; otherwise this one alone, the first 64 rows.
template <typename T, Major kMajorA, Major kMajorB, bool kTogether>
OPHCLIP_DEVICE void consume_tile(float (&sums)[128], Ring& ring, int steps, int group) {
  if (kTogether) follow(ring, steps, group);
  const int first_box = kTogether ? group * kGroupRows / kBox : 0;
  int before = 0;
  hold(sums);
  for (int step = 0; step < steps; ++step) {
    wait(&ring.full[ring.slot], ring.parity);
    const unsigned char* const stage = ring.stage();
    const uint64_t a = describe<kMajorA>(stage + first_box * kBoxBytes);
    const uint64_t b = describe<kMajorB>(stage + kBoxesA * kBoxBytes);
    fence_products();
#pragma unroll
    for (int part = 0; part < kDepth / 16; ++part) {
      multiply_add_async<T, kMajorA == Major::kRows, kMajorB == Major::kRows>(
          sums, a + part * kDescriptorStep<kMajorA>, b + part * kDescriptorStep<kMajorB>, step + part > 0);
    }
    commit_products();
    if (kTogether) allow_following(ring, steps, group, step);
    if (step > 0) {
      wait_for_products<1>();
      ring.release(before);
    }
    before = ring.slot;
    ring.advance();
  }
  wait_for_products<0>();
  hold(sums);
  ring.release(before);
}

// Where this thread's sums lie in the tile: sums[4 j + 2 h + e] at row(h), column(j) + e.
struct Fragment {
  int first_row, first_column;

  OPHCLIP_DEVICE explicit Fragment(int group_row)
      : first_row(group_row + threadIdx.x % 128 / 32 * 16 + lane_id() / 4), first_column(lane_id() % 4 * 2) {}
  OPHCLIP_DEVICE int row(int h) const { return first_row + 8 * h; }
  OPHCLIP_DEVICE int column(int j) const { return first_column + 8 * j; }
};

// Tiles in flight together cover about a square, 16 tiles high, and share operands in L2.
OPHCLIP_DEVICE TileIndex tile_at(int id, int row_tiles, int column_tiles) {
  constexpr int kHeight = 16;
  const int first = id / (kHeight * column_tiles) * kHeight;
  const int left = row_tiles - first, height = left < kHeight ? left : kHeight;
  const int within = id - first * column_tiles;
  return {first + within % height, within / height};
}

}  // namespace ophclip::cuda::hopper
