// The thread pool under stress: every index exactly once, whoever else wants the pool.
#include "base/thread_pool.h"

#include <gtest/gtest.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <thread>
#include <vector>

namespace hussar {
namespace {

TEST(ThreadPool, EveryIndexRunsOnce) {
  ThreadPool pool(8);
  for (int threads : {1, 2, 4, 7}) {
    ThreadPool::Lease lease(pool, threads);
    for (int count : {0, 1, 2, 3, 8, 100, 1000}) {
      std::vector<std::atomic<int>> hits(static_cast<size_t>(count));
      lease.run(count, [&](int index) { hits[static_cast<size_t>(index)].fetch_add(1); });
      for (const auto& hit : hits) ASSERT_EQ(hit.load(), 1);
    }
  }
}

// Many short regions: workers arrive early, late, and between regions.
TEST(ThreadPool, ShortRegionsLoseNothing) {
  ThreadPool pool(8);
  ThreadPool::Lease lease(pool, 4);
  int64_t plain[4] = {};
  for (int region = 0; region < 20000; ++region) {
    lease.run(4, [&](int index) { ++plain[index]; });
    if (region % 1000 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  for (int64_t hits : plain) EXPECT_EQ(hits, 20000);
}

TEST(ThreadPool, LeasesComeAndGo) {
  ThreadPool pool(8);
  int64_t sum = 0;
  for (int round = 0; round < 2000; ++round) {
    ThreadPool::Lease lease(pool, 1 + round % 5);
    std::atomic<int64_t> part{0};
    lease.run(8, [&](int index) { part.fetch_add(index); });
    sum += part.load();
  }
  EXPECT_EQ(sum, 2000 * 28);
}

// Four callers with three threads each on five cores: teams shrink and grow while regions run.
TEST(ThreadPool, CallersShareTheWorkers) {
  ThreadPool pool(5);
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        ThreadPool::Lease lease(pool, 3, round % 2 == 0);
        std::vector<int> hits(16);
        for (int region = 0; region < 4; ++region) {
          lease.run(16, [&](int index) { ++hits[static_cast<size_t>(index)]; });
        }
        for (int hit : hits) total.fetch_add(hit);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 4 * 500 * 4 * 16);
}

// A share that takes long lets the caller fall asleep, and its end has to wake it.
TEST(ThreadPool, CallerSleepsUntilTheLastShareIsDone) {
  ThreadPool pool(2);
  ThreadPool::Lease lease(pool, 2, true);
  for (int region = 0; region < 50; ++region) {
    std::atomic<int> done{0};
    lease.run(2, [&](int index) {
      if (index == 1) std::this_thread::sleep_for(std::chrono::milliseconds(1));
      done.fetch_add(1);
    });
    ASSERT_EQ(done.load(), 2);
  }
}

std::set<std::thread::id> threads_that_work(ThreadPool::Lease& lease, int regions) {
  std::mutex mutex;
  std::set<std::thread::id> threads;
  for (int region = 0; region < regions; ++region) {
    lease.run(16, [&](int) {
      std::this_thread::sleep_for(std::chrono::microseconds(100));
      std::lock_guard lock(mutex);
      threads.insert(std::this_thread::get_id());
    });
  }
  return threads;
}

TEST(ThreadPool, NoMoreThreadsThanCoresOrThanAskedFor) {
  ThreadPool pool(3);
  {
    ThreadPool::Lease lease(pool, 64);
    EXPECT_LE(threads_that_work(lease, 20).size(), 3U);
  }
  ThreadPool::Lease lease(pool, 2);
  EXPECT_LE(threads_that_work(lease, 20).size(), 2U);
}

// While two leases ask for two threads each on two cores, both run alone; the one that is left gets the worker back.
TEST(ThreadPool, ALeaseMakesRoomForAnother) {
  ThreadPool pool(2);
  ThreadPool::Lease lease(pool, 2);
  EXPECT_EQ(threads_that_work(lease, 100).size(), 2U);
  {
    ThreadPool::Lease second(pool, 2);
    EXPECT_EQ(threads_that_work(lease, 20).size(), 1U);
    EXPECT_EQ(threads_that_work(second, 20).size(), 1U);
  }
  EXPECT_EQ(threads_that_work(lease, 200).size(), 2U);
}

// A lease that asks for little leaves the rest to the others.
TEST(ThreadPool, CoresThatNobodyElseAskedForAreShared) {
  ThreadPool pool(4);
  ThreadPool::Lease small(pool, 1);
  ThreadPool::Lease large(pool, 4);
  EXPECT_EQ(threads_that_work(small, 20).size(), 1U);
  auto threads = threads_that_work(large, 200);
  EXPECT_LE(threads.size(), 3U);
  EXPECT_GE(threads.size(), 2U);
}

#if defined(__linux__)

// The caller is kept to one core after the other: the worker inherits that core or slept there, and would wake beside
// its caller.
TEST(ThreadPool, WorkersThatLeaveTheirCallersCoreMayRunAnywhereAgain) {
  cpu_set_t all;
  ASSERT_EQ(sched_getaffinity(0, sizeof all, &all), 0);
  if (CPU_COUNT(&all) < 2) GTEST_SKIP() << "there is one core only";
  ThreadPool pool(2);
  int core = 0;
  for (int repeat = 0; repeat < 10; ++repeat) {
    do core = (core + 1) % CPU_SETSIZE;
    while (!CPU_ISSET(core, &all));
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(core, &here);
    ASSERT_EQ(sched_setaffinity(0, sizeof here, &here), 0);
    const auto self = std::this_thread::get_id();
    std::atomic<bool> has_come{false};
    ThreadPool::Lease lease(pool, 2, true);
    while (!has_come) {  // for ever if the worker could not leave or stayed confined
      lease.run(2, [&](int) {
        cpu_set_t allowed;
        if (std::this_thread::get_id() == self) {
          std::this_thread::sleep_for(std::chrono::microseconds(100));
        } else if (sched_getaffinity(0, sizeof allowed, &allowed) == 0 && CPU_EQUAL(&allowed, &all)) {
          has_come = true;
        }
      });
    }
  }
  sched_setaffinity(0, sizeof all, &all);
}

#endif

}  // namespace
}  // namespace hussar
