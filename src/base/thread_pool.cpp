// Workers with a mailbox each: a caller mails its region to its team, works, takes back what nobody has opened, and
// waits for the rest.
#include "base/thread_pool.h"

#include <algorithm>
#include <system_error>
#include <thread>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace hussar {
namespace {

using std::chrono::microseconds;

// How long a caller looks for the end of its region, and a worker for the next region of its lease, before they sleep.
constexpr microseconds kPatience{2000};
// A worker that has looked for so long lets others have the core in between: one of them may be its caller. ResNet-50
// on two cores of which another process keeps one busy, medians over six processes: 66 ms with this, 73 ms when workers
// yield after 400 us only; where the other process has the least priority (nice 19) 38 and 39 ms.
constexpr microseconds kInsistence{50};
// No team grows for so long after leases have asked for more than there is.
constexpr microseconds kRetry{50};
// Two callers in a loop leave each other alone for moments only. A team that grew in one of them would share a core
// with the caller that comes back.
constexpr microseconds kCrowdedFor{200};

// A worker that was woken so long ago and has not run since waits for a core that another thread has: its caller, as
// far as that one can tell. Waking takes 30 to 60 us where an idle core is a halted virtual processor.
constexpr microseconds kSlowToWake{150};

// The state of a mailbox. Only the owner of a worker mails and revokes; only the worker takes, empties and sleeps.
constexpr uint32_t kEmpty = 0;
constexpr uint32_t kMailed = 1;   // a region waits for the worker
constexpr uint32_t kTaken = 2;    // the worker is in the region
constexpr uint32_t kAwaited = 3;  // as kTaken, and the caller sleeps until it is left
constexpr uint32_t kAsleep = 4;   // as kEmpty, and the worker sleeps
constexpr uint32_t kStop = 5;

inline void pause_briefly() {
#if defined(__x86_64__)
  _mm_pause();
#endif
}

// Spins until done() or until patience ends; returns done(). After insistence it yields in between.
template <class Done>
bool spin_until(microseconds insistence, Done&& done) {
  auto end = std::chrono::steady_clock::time_point::max();
  for (;;) {
    for (int i = 0; i < 100; ++i) {
      if (done()) return true;
      pause_briefly();
    }
    auto now = std::chrono::steady_clock::now();
    if (end == std::chrono::steady_clock::time_point::max()) end = now + kPatience;
    if (now >= end) return done();
    if (now >= end - kPatience + insistence) std::this_thread::yield();
  }
}

}  // namespace

struct alignas(64) ThreadPool::Worker {
  explicit Worker(const CoreSet& all_cores) : cores(all_cores) {}

  const CoreSet& cores;
  std::atomic<uint32_t> mailbox{kEmpty};
  std::atomic<bool> is_leased{false};
  std::atomic<bool> has_run{false};  // since it was woken
  std::atomic<int> caller_core{-1};  // where its caller ran when it woke it
  // From its caller's core, until it runs; a new one from those that its maker may not run on.
  std::atomic<bool> is_kept_off{true};
  Clock::time_point woken_at;  // or made; of its owner
  Region* region = nullptr;    // written before the mailbox is
  Slice slice;
  Worker* next = nullptr;  // in the list of the pool or of a lease
  std::thread thread;

  void wake() {
    uint32_t asleep = kAsleep;
    if (mailbox.compare_exchange_strong(asleep, kEmpty, std::memory_order_relaxed)) rouse();
  }
  void mail(Region& work) {
    region = &work;
    if (mailbox.exchange(kMailed, std::memory_order_acq_rel) == kAsleep) rouse();
  }
  // Notifies a worker that sleeps.
  void rouse() {
    caller_core.store(current_core(), std::memory_order_relaxed);
    has_run.store(false, std::memory_order_relaxed);
    woken_at = Clock::now();
    mailbox.notify_one();
  }
  // Takes the region back, or waits until the worker has left it.
  void finish() {
    uint32_t state = kMailed;
    if (mailbox.compare_exchange_strong(state, kEmpty, std::memory_order_acquire)) {
      if (has_run.load(std::memory_order_relaxed)) return;
      auto now = Clock::now();
      if (now < woken_at + kSlowToWake) return;
      woken_at = now;
      is_kept_off.store(true, std::memory_order_relaxed);
      cores.keep_off(thread.native_handle(), current_core());
      return;
    }
    if (spin_until(kPatience, [&] { return mailbox.load(std::memory_order_acquire) != kTaken; })) return;
    state = kTaken;
    if (!mailbox.compare_exchange_strong(state, kAwaited, std::memory_order_acquire)) return;
    mailbox.wait(kAwaited, std::memory_order_acquire);
  }
  void wait_for_mail() {
    bool found = spin_until(kInsistence, [&] {
      return mailbox.load(std::memory_order_acquire) != kEmpty || !is_leased.load(std::memory_order_relaxed);
    });
    uint32_t state = kEmpty;
    if (found && mailbox.load(std::memory_order_acquire) != kEmpty) return;
    if (!mailbox.compare_exchange_strong(state, kAsleep, std::memory_order_acquire)) return;
    mailbox.wait(kAsleep, std::memory_order_acquire);
    settle_on_core();
  }
  // Of a worker that begins to run: not beside its caller, and free to run anywhere from then on.
  void settle_on_core() {
    int here = current_core();
    if (here >= 0 && here == caller_core.load(std::memory_order_relaxed)) {
      is_kept_off.store(true, std::memory_order_relaxed);
      cores.keep_off(current_thread(), here);
    }
    roam();
    has_run.store(true, std::memory_order_relaxed);
  }
  // Of a worker that runs. Its caller may have sent it away just when it began to.
  void roam() {
    if (!is_kept_off.load(std::memory_order_relaxed)) return;
    is_kept_off.store(false, std::memory_order_relaxed);
    cores.release(current_thread());
  }
};

ThreadPool::ThreadPool(int cores) : cores_(cores > 0 ? cores : usable_cores()) {}

ThreadPool& ThreadPool::shared() {
  static ThreadPool pool;
  return pool;
}

ThreadPool::~ThreadPool() {
  for (auto& worker : workers_) {
    worker->mailbox.exchange(kStop, std::memory_order_acq_rel);
    worker->mailbox.notify_one();
  }
  for (auto& worker : workers_) worker->thread.join();
}

void ThreadPool::Region::drain(Slice& slice) {
  // Read before claiming: threads that look for something to do do not disturb the one that works on the slice.
  while (slice.next.load(std::memory_order_relaxed) < slice.end) {
    int index = slice.next.fetch_add(1, std::memory_order_relaxed);
    if (index < slice.end) call(context, index);
  }
}

void ThreadPool::Region::work(Slice& mine) {
  drain(mine);
  drain(own);
  Worker* worker = team;
  for (int i = 0; i < helpers; ++i, worker = worker->next) drain(worker->slice);
}

void ThreadPool::work(Worker& worker) {
  worker.settle_on_core();
  for (;;) {
    worker.wait_for_mail();
    uint32_t state = kMailed;
    if (!worker.mailbox.compare_exchange_strong(state, kTaken, std::memory_order_acquire)) {
      if (state == kStop) return;
      continue;
    }
    worker.roam();
    worker.region->work(worker.slice);
    if (worker.mailbox.exchange(kEmpty, std::memory_order_acq_rel) == kAwaited) worker.mailbox.notify_one();
  }
}

void ThreadPool::ensure_workers(int count) {
  while (static_cast<int>(workers_.size()) < count) {
    workers_.push_back(std::make_unique<Worker>(core_set_));
    Worker& worker = *workers_.back();
    worker.woken_at = Clock::now();
    worker.caller_core.store(current_core(), std::memory_order_relaxed);
    try {
      worker.thread = std::thread([this, &worker] { work(worker); });
    } catch (const std::system_error&) {
      // The system has no thread to give: fewer have to do.
      workers_.pop_back();
      return;
    }
    worker.next = free_;
    free_ = &worker;
  }
}

ThreadPool::Lease::Lease(ThreadPool& pool, int threads, bool wake)
    : pool_(pool), threads_(std::clamp(threads, 1, pool.cores_)), wake_(wake) {
  {
    std::lock_guard lock(pool.mutex_);
    pool.ensure_workers(threads_ - 1);
    ++pool.leases_;
    pool.demand_ += threads_;
    if (pool.demand_ > pool.cores_) pool.crowded_until_ = Clock::now() + kCrowdedFor;
    pool.epoch_.fetch_add(1, std::memory_order_relaxed);
  }
  if (wake && threads_ > 1) settle();
}

ThreadPool::Lease::~Lease() {
  std::lock_guard lock(pool_.mutex_);
  while (Worker* worker = team_) {
    team_ = worker->next;
    worker->is_leased.store(false, std::memory_order_relaxed);
    worker->next = pool_.free_;
    pool_.free_ = worker;
  }
  if (pool_.demand_ > pool_.cores_) pool_.crowded_until_ = Clock::now() + kCrowdedFor;
  --pool_.leases_;
  pool_.demand_ -= threads_;
  pool_.epoch_.fetch_add(1, std::memory_order_relaxed);
}

// Gives back the workers that this lease may not have any more, takes those that it may have.
void ThreadPool::Lease::settle() {
  std::lock_guard lock(pool_.mutex_);
  epoch_ = pool_.epoch_.load(std::memory_order_relaxed);
  int left_by_others = pool_.cores_ - (pool_.demand_ - threads_);
  int wanted = std::min(threads_, std::max({pool_.cores_ / pool_.leases_, left_by_others, 1})) - 1;
  for (; team_size_ > wanted; --team_size_) {
    Worker* worker = team_;
    team_ = worker->next;
    worker->is_leased.store(false, std::memory_order_relaxed);
    worker->next = pool_.free_;
    pool_.free_ = worker;
  }
  is_short_ = team_size_ < wanted;
  if (!is_short_) return;
  auto now = Clock::now();
  retry_ = std::max(pool_.crowded_until_, now + kRetry);
  if (now < pool_.crowded_until_) return;
  for (; team_size_ < wanted; ++team_size_) {
    Worker* worker = pool_.free_;
    if (worker == nullptr) return;
    pool_.free_ = worker->next;
    worker->is_leased.store(true, std::memory_order_relaxed);
    worker->next = team_;
    team_ = worker;
    if (wake_) worker->wake();
  }
  is_short_ = false;
}

void ThreadPool::Lease::run_erased(int count, void (*call)(void*, int), void* context) {
  has_forked_ = has_forked_ || count > 1;
  if (count > 1 && threads_ > 1) {
    bool is_stale = pool_.epoch_.load(std::memory_order_relaxed) != epoch_;
    if (is_stale || (is_short_ && Clock::now() >= retry_)) settle();
  }
  if (count <= 1 || team_ == nullptr) {
    for (int index = 0; index < count; ++index) call(context, index);
    return;
  }
  region_.call = call;
  region_.context = context;
  region_.team = team_;
  region_.helpers = std::min(team_size_, count - 1);
  auto cut = [&](Slice& slice, int64_t thread) {
    int64_t threads = region_.helpers + 1;
    slice.next.store(static_cast<int>(count * thread / threads), std::memory_order_relaxed);
    slice.end = static_cast<int>(count * (thread + 1) / threads);
  };
  cut(region_.own, 0);
  Worker* worker = team_;
  // Workers look at each other's slices, so all are cut before the first mail.
  for (int i = 0; i < region_.helpers; ++i, worker = worker->next) cut(worker->slice, i + 1);
  worker = team_;
  for (int i = 0; i < region_.helpers; ++i, worker = worker->next) worker->mail(region_);
  region_.work(region_.own);
  worker = team_;
  for (int i = 0; i < region_.helpers; ++i, worker = worker->next) worker->finish();
}

}  // namespace hussar
