// The thread pool under stress: every index exactly once, whoever else wants the pool.
#include "base/thread_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace hussar {
namespace {

TEST(ThreadPool, EveryIndexRunsOnce) {
  ThreadPool pool;
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
  ThreadPool pool;
  ThreadPool::Lease lease(pool, 4);
  int64_t plain[4] = {};
  for (int region = 0; region < 20000; ++region) {
    lease.run(4, [&](int index) { ++plain[index]; });
    if (region % 1000 == 0) std::this_thread::sleep_for(std::chrono::microseconds(200));
  }
  for (int64_t hits : plain) EXPECT_EQ(hits, 20000);
}

TEST(ThreadPool, LeasesComeAndGo) {
  ThreadPool pool;
  int64_t sum = 0;
  for (int round = 0; round < 2000; ++round) {
    ThreadPool::Lease lease(pool, 1 + round % 5);
    std::atomic<int64_t> part{0};
    lease.run(8, [&](int index) { part.fetch_add(index); });
    sum += part.load();
  }
  EXPECT_EQ(sum, 2000 * 28);
}

TEST(ThreadPool, SecondCallerRunsAlone) {
  ThreadPool pool;
  std::atomic<int64_t> total{0};
  std::vector<std::thread> callers;
  for (int caller = 0; caller < 4; ++caller) {
    callers.emplace_back([&] {
      for (int round = 0; round < 500; ++round) {
        ThreadPool::Lease lease(pool, 3);
        std::vector<int> hits(16);
        lease.run(16, [&](int index) { ++hits[static_cast<size_t>(index)]; });
        for (int hit : hits) total.fetch_add(hit);
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(total.load(), 4 * 500 * 16);
}

}  // namespace
}  // namespace hussar
