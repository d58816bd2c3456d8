// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>

namespace ophclip {

// Uninitialised 32-bit words. Large ones lie on large pages where the system offers them: a page is then
// cleared and mapped 2 MiB at a time, which for 64 MiB takes a tenth of the time.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { std::free(data_); }

  // Makes room for `count` words; what was there is lost.
  void reserve(int64_t count) {
    if (count <= capacity_) return;
    std::free(data_);
    data_ = nullptr;
    const size_t wanted = count * sizeof(float);
    const size_t alignment = wanted >= kLargePage ? kLargePage : 64;
    const size_t bytes = (wanted + alignment - 1) / alignment * alignment;
    data_ = static_cast<float*>(std::aligned_alloc(alignment, bytes));
    if (data_ == nullptr) throw std::bad_alloc();
#ifdef MADV_HUGEPAGE
    if (alignment == kLargePage) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
    capacity_ = count;
  }

  float* data() { return data_; }
  const float* data() const { return data_; }

 private:
  static constexpr size_t kLargePage = size_t{2} << 20;
  float* data_ = nullptr;
  int64_t capacity_ = 0;
};

}  // namespace ophclip
