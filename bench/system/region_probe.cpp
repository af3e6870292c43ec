// Times the fork and join of an empty parallel region: region_probe [MOST_THREADS]. Prints one JSON object.
//
// "empty_ns": one region after another with nothing to do; mostly done before any worker arrives. "met_ns": every share
// waits until all threads have arrived, so that this is the way to the workers and back. "first_met_ns": the same for
// the first region of a lease, whose workers sleep. Medians, and the 90th percentile of met_ns.
#include <immintrin.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <thread>
#include <vector>

#include "base/thread_pool.h"

namespace {

using Clock = std::chrono::steady_clock;

double nanoseconds_since(Clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(Clock::now() - begin).count();
}

double quantile(std::vector<double>& values, double share) {
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(share * static_cast<double>(values.size() - 1))];
}

// Shares that wait for each other, but not forever: nothing promises that a worker comes.
class Meeting {
 public:
  explicit Meeting(int threads) : threads_(threads) {}
  void operator()(int) {
    arrived_.fetch_add(1);
    for (int i = 0; i < 100000 && arrived_.load() < threads_; ++i) _mm_pause();
  }

 private:
  std::atomic<int> arrived_{0};
  int threads_;
};

// A clock read costs tens of nanoseconds, so a sample is the mean over a few regions.
template <class Region>
std::vector<double> regions_in_a_row(hussar::ThreadPool& pool, int threads, Region&& region) {
  constexpr int kSamples = 2000, kRegions = 16;
  std::vector<double> samples;
  hussar::ThreadPool::Lease lease(pool, threads, true);
  for (int i = 0; i < kSamples; ++i) {
    auto begin = Clock::now();
    for (int repeat = 0; repeat < kRegions; ++repeat) region(lease);
    samples.push_back(nanoseconds_since(begin) / kRegions);
  }
  return samples;
}

std::vector<double> first_regions(hussar::ThreadPool& pool, int threads) {
  constexpr int kSamples = 200;
  std::vector<double> samples;
  for (int i = 0; i < kSamples; ++i) {
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
    auto begin = Clock::now();
    hussar::ThreadPool::Lease lease(pool, threads);
    lease.run(threads, Meeting(threads));
    samples.push_back(nanoseconds_since(begin));
  }
  return samples;
}

}  // namespace

int main(int argument_count, char** arguments) {
  hussar::ThreadPool& pool = hussar::ThreadPool::shared();
  int most = argument_count > 1 ? std::atoi(arguments[1]) : pool.cores();
  std::printf("{\"cores\": %d, \"regions\": [", pool.cores());
  for (int threads = 1; threads <= most; threads *= 2) {
    auto run_empty = [&](hussar::ThreadPool::Lease& lease) { lease.run(threads, [](int) {}); };
    auto run_met = [&](hussar::ThreadPool::Lease& lease) { lease.run(threads, Meeting(threads)); };
    auto empty = regions_in_a_row(pool, threads, run_empty), met = regions_in_a_row(pool, threads, run_met);
    auto first = first_regions(pool, threads);
    std::printf(
        "%s{\"threads\": %d, \"empty_ns\": %.0f, \"met_ns\": %.0f, \"met_p90_ns\": %.0f, \"first_met_ns\": %.0f}",
        threads > 1 ? ", " : "", threads, quantile(empty, 0.5), quantile(met, 0.5), quantile(met, 0.9),
        quantile(first, 0.5));
  }
  std::printf("]}\n");
  return 0;
}
