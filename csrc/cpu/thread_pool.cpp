// SPDX-License-Identifier: Apache-2.0
#include "thread_pool.h"

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

namespace ophclip {
namespace {

class Pool {
 public:
  ~Pool() {
    {
      std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake_.notify_all();
    for (auto& worker : workers_) worker.join();
  }

  void run(int64_t count, int threads, const std::function<void(int64_t)>& task) {
    std::lock_guard turn(turn_);
    const int helpers = static_cast<int>(std::min<int64_t>(threads, count)) - 1;
    {
      std::lock_guard lock(mutex_);
      while (static_cast<int>(workers_.size()) < helpers) {
        workers_.emplace_back([this, number = static_cast<int>(workers_.size())] { work(number); });
      }
      task_ = &task;
      count_ = count;
      next_ = 0;
      invited_ = helpers;
      busy_ = helpers;
      ++generation_;
    }
    wake_.notify_all();
    drain();
    std::unique_lock lock(mutex_);
    done_.wait(lock, [this] { return busy_ == 0; });
    task_ = nullptr;
  }

 private:
  void work(int number) {
    uint64_t seen = 0;
    for (;;) {
      std::unique_lock lock(mutex_);
      wake_.wait(lock, [&] { return stopping_ || (generation_ != seen && task_ != nullptr); });
      if (stopping_) return;
      seen = generation_;
      if (number >= invited_) continue;
      lock.unlock();
      drain();
      lock.lock();
      if (--busy_ == 0) done_.notify_one();
    }
  }

  void drain() {
    for (int64_t i = next_.fetch_add(1); i < count_; i = next_.fetch_add(1)) (*task_)(i);
  }

  std::mutex turn_, mutex_;
  std::condition_variable wake_, done_;
  std::vector<std::thread> workers_;
  const std::function<void(int64_t)>* task_ = nullptr;
  std::atomic<int64_t> next_ = 0;
  int64_t count_ = 0;
  int invited_ = 0, busy_ = 0;
  uint64_t generation_ = 0;
  bool stopping_ = false;
};

// A fork copies the pool but not its threads: the child leaves the copy behind and makes a pool of its own.
Pool& pool() {
  static std::mutex mutex;
  static Pool* current = nullptr;
  static pid_t owner = 0;
  std::lock_guard lock(mutex);
  if (current == nullptr || owner != getpid()) {
    current = new Pool;  // kept until the process ends: joining threads at exit can hang
    owner = getpid();
  }
  return *current;
}

}  // namespace

void parallel_for(int64_t count, int threads, const std::function<void(int64_t)>& task) {
  if (threads <= 1 || count <= 1) {
    for (int64_t i = 0; i < count; ++i) task(i);
    return;
  }
  pool().run(count, threads, task);
}

}  // namespace ophclip
