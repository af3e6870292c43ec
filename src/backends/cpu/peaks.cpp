// Measuring the roofline.
#include "backends/cpu/peaks.h"

#include <algorithm>
#include <chrono>

#include "backends/cpu/cpu_identity.h"
#include "backends/cpu/kernels/peak/peak.h"
#include "base/memory.h"
#include "base/thread_pool.h"

namespace hussar::cpu {
namespace {

constexpr int64_t kKilobyte = 1024;
// Where the system does not tell: the sizes of small cores of the 2020s.
constexpr int64_t kLikelyL2 = 512 * kKilobyte, kLikelyL3 = 8192 * kKilobyte;
// More than the share that a virtual machine gets of a large L3 need not be touched to leave it.
constexpr int64_t kMostBytes = 256 * 1024 * kKilobyte;

int64_t or_likely(int64_t size, int64_t likely) { return size > 0 ? size : likely; }

// The least seconds of several runs of `work` on all threads.
template <class Work>
double least_seconds(int threads, int repeats, Work work) {
  ThreadPool::Lease lease(ThreadPool::shared(), threads);
  double least = 1e9;
  for (int i = 0; i < repeats; ++i) {
    auto begin = std::chrono::steady_clock::now();
    lease.run(threads, work);
    least = std::min(least, std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
  }
  return least;
}

// Operations per second of a loop that tells how many it did.
double compute_rate(double (*loop)(int64_t), int64_t iterations, int threads) {
  double done = 0;
  auto work = [&](int thread) {
    const double operations = loop(iterations);
    if (thread == 0) done = operations;
  };
  const double seconds = least_seconds(threads, 8, work);
  return done * threads / seconds;
}

// Every thread reads its own part again and again, `volume` bytes in all.
double read_rate(const PeakTable& table, const float* data, int64_t bytes_per_thread, int threads, double volume) {
  const int64_t floats = bytes_per_thread / 4 / 256 * 256;
  const int rounds = std::max(1, static_cast<int>(volume / static_cast<double>(bytes_per_thread)));
  auto work = [&](int thread) {
    volatile float sink = 0;
    for (int round = 0; round < rounds; ++round) sink = table.read(data + thread * floats, floats);
    static_cast<void>(sink);
  };
  double seconds = least_seconds(threads, 4, work);
  return static_cast<double>(floats) * 4 * rounds * threads / seconds;
}

}  // namespace

double Peaks::bandwidth(double bytes) const {
  static const CacheSizes caches = cache_sizes();
  if (bytes <= static_cast<double>(or_likely(caches.l2, kLikelyL2)) * threads) return l2_bytes;
  return bytes <= static_cast<double>(or_likely(caches.l3, kLikelyL3)) ? l3_bytes : memory_bytes;
}

double Peaks::microseconds(double step_flops, double bytes, DType multiplies_in) const {
  const double rate = multiplies_in == DType::kInt8 ? int8_ops : flops;
  return 1e6 * std::max(step_flops / rate, bytes / bandwidth(bytes));
}

Peaks measure_peaks(Isa isa, int threads) {
  Peaks peaks;
  peaks.threads = std::max(threads, 1);
  const PeakTable& table = select_peak_table(isa);
  peaks.flops = compute_rate(table.multiply_add, 100000, peaks.threads);
  auto* multiply_bytes = table.multiply_add_bytes;
  if (isa >= Isa::kAvx512 && has_avx512_vnni()) multiply_bytes = avx512vnni::multiply_add_bytes;
  if (isa >= Isa::kAmx) multiply_bytes = amx::multiply_add_bytes;
  peaks.int8_ops = compute_rate(multiply_bytes, isa >= Isa::kAmx ? 25000 : 100000, peaks.threads);

  const CacheSizes caches = cache_sizes();
  const int64_t l2 = or_likely(caches.l2, kLikelyL2), l3 = or_likely(caches.l3, kLikelyL3);
  const int64_t in_l3 = std::max(2 * l2, std::min<int64_t>(l3 / 4 / peaks.threads, 8 * l2));
  const int64_t beyond = std::max(std::min(2 * l3, kMostBytes) / peaks.threads, in_l3);
  AlignedMemory memory(allocate_aligned(static_cast<size_t>(beyond * peaks.threads)));
  auto* data = reinterpret_cast<float*>(memory.get());
  std::fill(data, data + beyond * peaks.threads / 4, 1.0f);
  peaks.l2_bytes = read_rate(table, data, l2 / 2, peaks.threads, 64e6);
  peaks.l3_bytes = read_rate(table, data, in_l3, peaks.threads, 64e6);
  peaks.memory_bytes = read_rate(table, data, beyond, peaks.threads, 0);
  return peaks;
}

}  // namespace hussar::cpu
