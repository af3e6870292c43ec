// ThreadPool: one set of worker threads per process, shared by all sessions.
//
// A parallel region runs fn(0) .. fn(count - 1), each exactly once; the caller takes part and returns when all are
// done. Workers spin only while a Lease is held (inside Session::run) and sleep otherwise: an idle process uses no CPU.
// A second caller that finds the pool leased runs its regions alone, on its own thread: results do not depend on it.
#pragma once
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

namespace hussar {

class ThreadPool {
 public:
  // The process-wide pool. It grows to the largest number of threads that a lease has asked for.
  static ThreadPool& shared();
  ~ThreadPool();

  // Exclusive use of up to `threads - 1` workers, if the pool is free.
  class Lease {
   public:
    Lease(ThreadPool& pool, int threads);
    ~Lease();
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    // Runs fn(index) for every index in [0, count).
    template <class Function>
    void run(int count, Function&& function) {
      auto call = [](void* context, int index) { (*static_cast<std::remove_reference_t<Function>*>(context))(index); };
      run_erased(count, call, const_cast<void*>(static_cast<const void*>(&function)));
    }

   private:
    void run_erased(int count, void (*call)(void*, int), void* context);
    ThreadPool* pool_ = nullptr;  // null: the pool was taken, run alone
    int threads_ = 1;
  };

 private:
  void work(int worker);
  void ensure_workers(int count);

  std::mutex owner_;  // held by the lease
  std::vector<std::thread> workers_;
  std::mutex sleep_;
  std::condition_variable wake_;
  bool stop_ = false;                   // guarded by sleep_
  std::atomic<int> leased_workers_{0};  // workers below this number spin for work
  std::atomic<uint64_t> region_{0};     // bumped when a region starts
  std::atomic<int> next_{0}, unfinished_{0}, active_{0};
  std::atomic<int> count_{0};
  void (*call_)(void*, int) = nullptr;
  void* context_ = nullptr;
};

}  // namespace hussar
