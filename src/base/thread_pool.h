// ThreadPool: one set of worker threads per process, shared by all sessions.
//
// A parallel region runs fn(0) .. fn(count - 1), each exactly once; the caller takes part and returns when all are
// done. Thread t of T begins with the indices from count * t / T on, in every region alike, so that steps which cut
// their rows into shares in order find the rows of the step before in their own caches. Results do not depend on how
// many workers help, and none may: a region never waits for a worker to arrive.
//
// Who gets workers: threads are never more than cores. A lease gets what it asked for while all leases together ask for
// no more than there are cores; otherwise the cores are divided evenly, and a lease without workers runs alone. That is
// looked at again at the start of every region, so that a long run makes room for one that begins.
//
// Who spins: workers between the regions of a lease, callers at the end of a region, both for a bounded time before
// they sleep in the kernel. Without a lease every worker sleeps: an idle process uses no CPU.
//
// Where workers run is left to the system, but for one case: a scheduler that puts a worker on its caller's core
// leaves it there, where it does not get to run, or keeps its caller from running while it spins. A worker that finds
// itself there, or that has not run some time after it was woken, is sent to the other cores, and may run on all of
// them again as soon as it runs.
#pragma once
#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "base/cores.h"

namespace hussar {

class ThreadPool {
 public:
  // cores: the most threads that work at once, callers included; 0: the processors that this process may use.
  explicit ThreadPool(int cores = 0);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;
  // The process-wide pool.
  static ThreadPool& shared();

  int cores() const { return cores_; }

 private:
  using Clock = std::chrono::steady_clock;

  // The indices of one thread in a region. Whoever is done with its own helps itself to what is left of the others'.
  struct alignas(64) Slice {
    std::atomic<int> next{0};
    int end = 0;
  };
  struct Worker;
  struct Region {
    void (*call)(void*, int) = nullptr;
    void* context = nullptr;
    Slice own;               // of the caller
    Worker* team = nullptr;  // list of those that have a slice
    int helpers = 0;         // how many of the list
    void drain(Slice& slice);
    void work(Slice& mine);
  };

 public:
  // The right to run regions: one per run of a session, used by one thread.
  class Lease {
   public:
    // threads: at most so many work on a region, this one included. wake: regions will follow soon, so wake workers
    // now.
    Lease(ThreadPool& pool, int threads, bool wake = false);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    // Runs fn(index) for every index in [0, count).
    template <class Function>
    void run(int count, Function&& function) {
      auto call = [](void* context, int index) { (*static_cast<std::remove_reference_t<Function>*>(context))(index); };
      run_erased(count, call, const_cast<void*>(static_cast<const void*>(&function)));
    }
    // Whether a region of more than one index has been run.
    bool has_forked() const { return has_forked_; }

   private:
    void run_erased(int count, void (*call)(void*, int), void* context);
    void settle();

    ThreadPool& pool_;
    int threads_;
    bool wake_;
    bool has_forked_ = false;
    uint64_t epoch_ = 0;     // of the pool when the team was settled
    bool is_short_ = false;  // the team is smaller than it may be: to be settled again at retry_
    Clock::time_point retry_;
    Worker* team_ = nullptr;  // list of the workers that belong to this lease
    int team_size_ = 0;
    Region region_;
  };

 private:
  void work(Worker& worker);
  void ensure_workers(int count);  // under mutex_

  const int cores_;
  const CoreSet core_set_;          // of the workers
  std::atomic<uint64_t> epoch_{1};  // raised when a lease comes or goes
  std::mutex mutex_;                // guards what follows
  int leases_ = 0;
  int demand_ = 0;  // threads that the leases ask for, at most cores_ each
  // Leases have asked for more than there is until about this time; a team that grew would soon have to shrink.
  Clock::time_point crowded_until_;
  Worker* free_ = nullptr;  // list
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace hussar
