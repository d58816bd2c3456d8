// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <new>
#include <utility>

namespace ophclip {

// Uninitialised 32-bit words. Large ones lie on large pages where the system offers them: a page is then
// cleared and mapped 2 MiB at a time, which for 64 MiB takes a tenth of the time.
//
// The largest one that a thread has given back, up to 128 MiB, is kept for its next call. In a process
// that has run for a while the system must first move memory about to make large pages: for 64 MiB that
// took 150 ms a call, a third of the whole loss.
class Buffer {
 public:
  Buffer() = default;
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { give_back(); }

  // Makes room for `count` words; what was there is lost.
  void reserve(int64_t count) {
    if (count <= words_.capacity) return;
    give_back();
    const size_t wanted = count * sizeof(float);
    if (wanted < kLargePage) {
      words_.allocate(wanted, 64);
    } else if (kept().fits(wanted)) {
      std::swap(words_, kept());
    } else {
      words_.allocate(wanted, kLargePage);
#ifdef MADV_HUGEPAGE
      madvise(words_.data, words_.num_bytes(), MADV_HUGEPAGE);
#endif
    }
  }

  float* data() { return words_.data; }
  const float* data() const { return words_.data; }

 private:
  static constexpr size_t kLargePage = size_t{2} << 20;
  static constexpr size_t kMostKept = size_t{128} << 20;

  struct Words {
    float* data = nullptr;
    int64_t capacity = 0;

    Words() = default;
    Words(Words&& other) noexcept
        : data(std::exchange(other.data, nullptr)), capacity(std::exchange(other.capacity, 0)) {}
    Words& operator=(Words&& other) noexcept {
      std::swap(data, other.data);
      std::swap(capacity, other.capacity);
      return *this;
    }
    ~Words() { std::free(data); }

    size_t num_bytes() const { return capacity * sizeof(float); }

    // A small buffer must not hold a large one's memory: the next large one would allocate anew.
    bool fits(size_t wanted) const { return wanted <= num_bytes() && num_bytes() <= 2 * wanted; }

    void allocate(size_t wanted, size_t alignment) {
      const size_t bytes = (wanted + alignment - 1) / alignment * alignment;
      data = static_cast<float*>(std::aligned_alloc(alignment, bytes));
      if (data == nullptr) throw std::bad_alloc();
      capacity = static_cast<int64_t>(bytes / sizeof(float));
    }
  };

  static Words& kept() {
    thread_local Words words;
    return words;
  }

  void give_back() {
    if (words_.num_bytes() >= kLargePage && words_.num_bytes() <= kMostKept &&
        words_.num_bytes() > kept().num_bytes()) {
      std::swap(words_, kept());
    }
    words_ = Words();
  }

  Words words_;
};

}  // namespace ophclip
