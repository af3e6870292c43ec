// The worker loop: sleep without a lease, spin (bounded) for regions with one.
#include "base/thread_pool.h"

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hussar {
namespace {

inline void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// About 50 us of pauses between two kernels before a worker gives its core back.
constexpr int kSpins = 2000;

}  // namespace

ThreadPool& ThreadPool::shared() {
  static ThreadPool pool;
  return pool;
}

ThreadPool::~ThreadPool() {
  {
    std::lock_guard lock(sleep_);
    stop_ = true;
  }
  wake_.notify_all();
  for (std::thread& worker : workers_) worker.join();
}

void ThreadPool::ensure_workers(int count) {
  while (static_cast<int>(workers_.size()) < count) {
    int index = static_cast<int>(workers_.size());
    workers_.emplace_back([this, index] { work(index); });
  }
}

void ThreadPool::work(int worker) {
  uint64_t seen = 0;
  for (;;) {
    int spins = 0;
    while (region_.load(std::memory_order_acquire) == seen) {
      bool mine = worker < leased_workers_.load(std::memory_order_relaxed);
      if (mine && ++spins < kSpins) {
        pause_briefly();
        continue;
      }
      std::unique_lock lock(sleep_);
      wake_.wait(lock, [&] { return stop_ || region_.load(std::memory_order_acquire) != seen; });
      if (stop_) return;
    }
    // Entering is announced before the region is read, so that its owner can wait for stragglers.
    active_.fetch_add(1, std::memory_order_seq_cst);
    seen = region_.load(std::memory_order_acquire);
    if (worker < leased_workers_.load(std::memory_order_acquire)) {
      int count = count_.load(std::memory_order_seq_cst);
      // Between regions the count is 0, and the next region may be resetting the counter: it must not be touched then.
      if (count > 0) {
        for (int index = next_.fetch_add(1); index < count; index = next_.fetch_add(1)) {
          call_(context_, index);
          unfinished_.fetch_sub(1, std::memory_order_acq_rel);
        }
      }
    }
    active_.fetch_sub(1, std::memory_order_acq_rel);
  }
}

ThreadPool::Lease::Lease(ThreadPool& pool, int threads) {
  if (threads <= 1 || !pool.owner_.try_lock()) return;
  pool_ = &pool;
  threads_ = threads;
  pool.ensure_workers(threads - 1);
  pool.leased_workers_.store(threads - 1, std::memory_order_release);
}

ThreadPool::Lease::~Lease() {
  if (pool_ == nullptr) return;
  pool_->leased_workers_.store(0, std::memory_order_release);
  pool_->owner_.unlock();
}

void ThreadPool::Lease::run_erased(int count, void (*call)(void*, int), void* context) {
  if (pool_ == nullptr || count <= 1) {
    for (int index = 0; index < count; ++index) call(context, index);
    return;
  }
  ThreadPool& pool = *pool_;
  pool.call_ = call;
  pool.context_ = context;
  pool.next_.store(0, std::memory_order_relaxed);
  pool.unfinished_.store(count, std::memory_order_relaxed);
  pool.count_.store(count, std::memory_order_release);
  {
    std::lock_guard lock(pool.sleep_);
    pool.region_.fetch_add(1, std::memory_order_acq_rel);
  }
  pool.wake_.notify_all();
  for (int index = pool.next_.fetch_add(1); index < count; index = pool.next_.fetch_add(1)) {
    call(context, index);
    pool.unfinished_.fetch_sub(1, std::memory_order_acq_rel);
  }
  while (pool.unfinished_.load(std::memory_order_acquire) != 0) pause_briefly();
  // No index is left, but a late worker may still be about to look: close the region before its data goes away.
  pool.count_.store(0, std::memory_order_seq_cst);
  while (pool.active_.load(std::memory_order_seq_cst) != 0) pause_briefly();
}

}  // namespace hussar
