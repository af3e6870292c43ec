// Attention on the shapes of known networks, as GFLOP/s of its two matrix products and as a share of this core's
// measured FMA peak; 2 threads count against one core, so that they can exceed 100. HUSSAR_ISA picks the level.
//
// What to expect of one head with S queries and keys of size D, in cycles of a core with one 16-lane FMA per cycle:
//   products           2 S S D / 16      S = 128, D = 64: 131072
//   exponentials       8 S S / 16        8192: a vector is 8 operations that compete with FMAs for their ports
//   mask and maximum   2 S S / 16        2048
//   packing K and V    1.5 * 2 S D / 16  1536, and as much for Q and the output
// and about 60 per row for the lanes of its maximum and sum, and for its scale: 7680. So 86 % of the peak; with D = 32
// 76 %. K and V come once from wherever the step before left them: 64 KB, 2 % of the time at 20 bytes per cycle.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/isa.h"
#include "plan/kernel.h"

namespace hussar {
namespace {

// Twelve independent chains of FMAs on registers; returns the number of floating point operations.
#define HUSSAR_FMA(r) "vfmadd231ps %%" r "15, %%" r "15, %%" r
#define HUSSAR_PEAK_LOOP(name, r, lanes, target_name)                                                                \
  __attribute__((target(target_name), noinline)) double name(long rounds) {                                          \
    for (long i = 0; i < rounds; ++i) {                                                                              \
      __asm__ volatile(HUSSAR_FMA(r) "0\n" HUSSAR_FMA(r) "1\n" HUSSAR_FMA(r) "2\n" HUSSAR_FMA(r) "3\n"             \
                       HUSSAR_FMA(r) "4\n" HUSSAR_FMA(r) "5\n" HUSSAR_FMA(r) "6\n" HUSSAR_FMA(r) "7\n"             \
                       HUSSAR_FMA(r) "8\n" HUSSAR_FMA(r) "9\n" HUSSAR_FMA(r) "10\n" HUSSAR_FMA(r) "11\n" ::        \
                           : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9", "xmm10", \
                             "xmm11", "xmm15"); \
    }                                                                                                                \
    return 2.0 * lanes * 12 * static_cast<double>(rounds);                                                           \
  }
HUSSAR_PEAK_LOOP(peak_loop_512, "zmm", 16, "avx512f")
HUSSAR_PEAK_LOOP(peak_loop_256, "ymm", 8, "avx2,fma")

// FLOP per second of back-to-back independent FMAs: the best of several runs of some milliseconds.
double peak_flops() {
  static const double peak = [] {
    double best = 0;
    for (int run = 0; run < 20; ++run) {
      const auto start = std::chrono::steady_clock::now();
      const bool wide = cpu::active_isa() >= cpu::Isa::kAvx512;
      const double flops = wide ? peak_loop_512(1000000) : peak_loop_256(1000000);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = std::max(best, flops / seconds);
    }
    return best;
  }();
  return peak;
}

enum class Form { kMerged, kSeparate, kHeadMajor };

struct Case {
  const char* name;
  int64_t batch, heads, kv_heads, queries, keys, dim;
  Form form;
  bool mask, causal;
};

struct Floats {
  Floats(const Shape& shape_given, float scale) : shape(shape_given) {
    auto bytes = static_cast<size_t>(shape.elements()) * sizeof(float);
    data = static_cast<float*>(std::aligned_alloc(64, (bytes + 127) / 64 * 64));
    std::mt19937 engine(1);
    std::normal_distribution<float> distribution(0, scale);
    for (int64_t i = 0; i < shape.elements(); ++i) data[i] = scale == 0 ? 0 : distribution(engine);
  }
  ~Floats() { std::free(data); }
  Floats(const Floats&) = delete;
  Operand operand() const { return {DType::kFloat32, shape, Layout::kPlain, 0, reinterpret_cast<std::byte*>(data)}; }
  Shape shape;
  float* data;
};

void run_case(benchmark::State& state, Case c, int threads) {
  const Kernel& kernel = *find_kernel("attention");
  PlanStep step;
  step.op = "hussar.Attention";
  step.attributes.set("heads", c.heads);
  step.attributes.set("kv_heads", c.kv_heads);
  step.attributes.set("head_dim", c.dim);
  if (c.causal) step.attributes.set("causal", int64_t{1});
  const int64_t width = c.heads * c.dim, kv_width = c.kv_heads * c.dim;
  Shape q{c.batch, c.queries, width}, kv{c.batch, c.keys, kv_width};
  if (c.form == Form::kMerged) {
    q = kv = {c.batch, c.queries, width + 2 * kv_width};
    step.attributes.set("k_offset", width);
    step.attributes.set("v_offset", width + kv_width);
  } else if (c.form == Form::kHeadMajor) {
    q = {c.batch, c.heads, c.queries, c.dim};
    kv = {c.batch, c.kv_heads, c.keys, c.dim};
    step.attributes.set("head_major", int64_t{15});
  }
  Floats a(q, 1), b(kv, 1), v(kv, 1), mask({c.batch, 1, 1, c.keys}, 0), y({c.batch, c.queries, width}, 0);
  const bool merged = c.form == Form::kMerged;
  std::vector<Operand> inputs = {a.operand(), merged ? a.operand() : b.operand(), merged ? a.operand() : v.operand()};
  if (c.mask) inputs.push_back(mask.operand());
  std::vector<Operand> outputs = {y.operand()};
  if (c.form == Form::kHeadMajor) outputs[0].shape = {c.batch, c.heads, c.queries, c.dim};
  std::vector<std::byte> memory(kernel.state_bytes + 64);
  auto* aligned = memory.data() + (64 - reinterpret_cast<uintptr_t>(memory.data()) % 64) % 64;
  Prepare prepare{step, inputs, outputs, threads, aligned};
  if (!kernel.prepare(prepare)) return state.SkipWithError("prepare");
  auto* scratch = static_cast<std::byte*>(std::aligned_alloc(64, (prepare.scratch_bytes + 127) / 64 * 64));
  ThreadPool::Lease lease(ThreadPool::shared(), threads);
  for (auto _ : state) {
    if (!kernel.run({step, inputs, outputs, aligned, scratch, lease})) return state.SkipWithError("run");
  }
  std::free(scratch);
  double pairs = static_cast<double>(c.batch * c.heads * c.queries * c.keys) * (c.causal ? 0.5 : 1);
  const double flops = 4 * pairs * static_cast<double>(c.dim);
  state.counters["GFLOPS"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["peak%"] =
      benchmark::Counter(100 * flops / peak_flops(), benchmark::Counter::kIsIterationInvariantRate);
}

constexpr Case kCases[] = {
    {"minilm/16", 1, 12, 12, 16, 16, 32, Form::kMerged, true, false},
    {"minilm/16_batch8", 8, 12, 12, 16, 16, 32, Form::kMerged, true, false},
    {"minilm/128", 1, 12, 12, 128, 128, 32, Form::kMerged, true, false},
    {"bert/16", 1, 12, 12, 16, 16, 64, Form::kMerged, true, false},
    {"bert/128", 1, 12, 12, 128, 128, 64, Form::kMerged, true, false},
    {"bert/128_separate", 1, 12, 12, 128, 128, 64, Form::kSeparate, false, false},
    {"bert/512", 1, 12, 12, 512, 512, 64, Form::kMerged, true, false},
    {"vit/197", 1, 12, 12, 197, 197, 64, Form::kMerged, false, false},
    {"whisper/1500", 1, 8, 8, 1500, 1500, 64, Form::kSeparate, false, false},
    {"whisper/cross_16_1500", 1, 8, 8, 16, 1500, 64, Form::kSeparate, false, false},
    {"sam/4096", 1, 2, 2, 4096, 4096, 64, Form::kHeadMajor, false, false},
    {"llama/512_causal", 1, 32, 8, 512, 512, 128, Form::kHeadMajor, false, true},
    {"llama/decode_1_1024", 1, 32, 8, 1, 1024, 128, Form::kHeadMajor, false, false},
};

}  // namespace
}  // namespace hussar

int main(int argc, char** argv) {
  using namespace hussar;
  for (int threads : {1, 2}) {
    for (const Case& c : kCases) {
      std::string name = std::string(c.name) + (threads == 1 ? "/1_thread" : "/2_threads");
      benchmark::RegisterBenchmark(name.c_str(), run_case, c, threads)->UseRealTime();
    }
  }
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("level", cpu::isa_name(cpu::active_isa()));
  benchmark::AddCustomContext("peak_gflops", std::to_string(peak_flops() * 1e-9));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
