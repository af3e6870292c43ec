// FP32 tile kernels on the layers of known networks, one thread, as GFLOP/s and as a share of this core's measured FMA
// peak. HUSSAR_ISA picks the level. Run with --benchmark_filter=resnet etc.
#include <benchmark/benchmark.h>

#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/kernels/depthwise/depthwise.h"
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {
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
      const double flops = active_isa() >= Isa::kAvx512 ? peak_loop_512(1000000) : peak_loop_256(1000000);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = std::max(best, flops / seconds);
    }
    return best;
  }();
  return peak;
}

struct FloatBuffer {
  explicit FloatBuffer(int64_t count) : size(count) {
    data = static_cast<float*>(std::aligned_alloc(64, (count * 4 + 127) / 64 * 64));
    std::mt19937 engine(1);
    std::uniform_real_distribution<float> distribution(-1, 1);
    for (int64_t i = 0; i < count; ++i) data[i] = distribution(engine);
  }
  ~FloatBuffer() { std::free(data); }
  FloatBuffer(const FloatBuffer&) = delete;
  int64_t size;
  float* data;
};

void report(benchmark::State& state, double flops) {
  state.counters["GFLOPS"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["peak%"] =
      benchmark::Counter(100 * flops / peak_flops(), benchmark::Counter::kIsIterationInvariantRate);
}

void run_gemm(benchmark::State& state, int64_t m, int64_t n, int64_t k) {
  FloatBuffer a(m * k), b(panel_floats(k, n)), c(m * n), scratch(tile_scratch_bytes(k) / 4), bias(n);
  GemmArgs args;
  args.m = m, args.n = n, args.k = k;
  args.a = a.data, args.a_row_stride = k, args.b = b.data, args.c = c.data, args.c_row_stride = n;
  args.epilogue.bias = bias.data;
  const TileTable& table = select_tile_table(active_isa());
  for (auto _ : state) table.gemm(args, {0, 1}, scratch.data);
  report(state, 2.0 * m * n * k);
}

struct ConvShape {
  const char* name;
  int64_t size, channels, filters, kernel, stride;
};

void run_conv(benchmark::State& state, ConvShape s) {
  const int64_t out = (s.size + s.stride - 1) / s.stride, k = s.kernel * s.kernel * s.channels;
  FloatBuffer input(s.size * s.size * s.channels), filter(panel_floats(k, s.filters)), output(out * out * s.filters),
      scratch(tile_scratch_bytes(k) / 4), bias(s.filters);
  ConvArgs args;
  args.channels = s.channels, args.filters = s.filters;
  for (int axis : {1, 2}) {
    args.in[axis] = s.size, args.out[axis] = out, args.kernel[axis] = s.kernel, args.stride[axis] = s.stride;
    args.pad[axis] = s.kernel / 2;
  }
  args.input = input.data, args.input_pitch = s.channels, args.filter = filter.data;
  args.output = output.data, args.output_pitch = s.filters;
  args.epilogue.bias = bias.data;
  args.epilogue.low = 0;
  const TileTable& table = select_tile_table(active_isa());
  for (auto _ : state) table.conv(args, {0, 1}, scratch.data);
  report(state, 2.0 * out * out * s.filters * k);
}

constexpr ConvShape kConvs[] = {
    {"resnet50/7x7s2_3_64_224", 224, 3, 64, 7, 2},   {"resnet50/3x3_64_64_56", 56, 64, 64, 3, 1},
    {"resnet50/3x3_128_128_28", 28, 128, 128, 3, 1}, {"resnet50/3x3_256_256_14", 14, 256, 256, 3, 1},
    {"resnet50/3x3_512_512_7", 7, 512, 512, 3, 1},   {"resnet50/1x1_64_256_56", 56, 64, 256, 1, 1},
    {"resnet50/1x1_256_64_56", 56, 256, 64, 1, 1},   {"resnet50/1x1_1024_256_14", 14, 1024, 256, 1, 1},
    {"resnet50/1x1_512_2048_7", 7, 512, 2048, 1, 1}, {"mobilenet/3x3s2_3_32_224", 224, 3, 32, 3, 2},
    {"mobilenet/1x1_32_16_112", 112, 32, 16, 1, 1},  {"mobilenet/1x1_16_96_112", 112, 16, 96, 1, 1},
    {"mobilenet/1x1_144_24_56", 56, 144, 24, 1, 1},  {"mobilenet/1x1_384_64_14", 14, 384, 64, 1, 1},
    {"mobilenet/1x1_160_960_7", 7, 160, 960, 1, 1},
};

// channels = filters, one kernel each.
void run_depthwise(benchmark::State& state, ConvShape s) {
  const int64_t out = (s.size + s.stride - 1) / s.stride, taps = s.kernel * s.kernel;
  FloatBuffer input(s.size * s.size * s.channels), weights(panel_floats(taps, s.channels)),
      output(out * out * s.channels), bias(s.channels);
  DepthwiseArgs args;
  args.channels = s.channels;
  for (int axis : {0, 1}) {
    args.in[axis] = s.size, args.out[axis] = out, args.kernel[axis] = s.kernel, args.stride[axis] = s.stride;
    args.pad[axis] = s.kernel / 2;
  }
  args.input = input.data, args.input_pitch = s.channels, args.weights = weights.data;
  args.output = output.data, args.output_pitch = s.channels;
  args.epilogue.bias = bias.data;
  args.epilogue.low = 0, args.epilogue.high = 6;
  const DepthwiseTable& table = select_depthwise_table(active_isa());
  for (auto _ : state) table.conv(args, {0, 1});
  report(state, 2.0 * out * out * s.channels * taps);
  state.counters["GB"] = benchmark::Counter(4e-9 * (s.size * s.size + out * out) * s.channels,
                                            benchmark::Counter::kIsIterationInvariantRate);
}

constexpr ConvShape kDepthwise[] = {
    {"depthwise/3x3_32_112", 112, 32, 32, 3, 1},  {"depthwise/3x3s2_96_112", 112, 96, 96, 3, 2},
    {"depthwise/3x3_144_56", 56, 144, 144, 3, 1}, {"depthwise/3x3_192_28", 28, 192, 192, 3, 1},
    {"depthwise/3x3_384_14", 14, 384, 384, 3, 1}, {"depthwise/3x3_960_7", 7, 960, 960, 3, 1},
    {"depthwise/5x5_672_14", 14, 672, 672, 5, 1},
};

struct GemmShape {
  const char* name;
  int64_t m, n, k;
};

constexpr GemmShape kGemms[] = {
    {"bert/qkv_128_768_768", 128, 768, 768},    {"bert/ffn1_128_3072_768", 128, 3072, 768},
    {"bert/ffn2_128_768_3072", 128, 768, 3072}, {"square/512", 512, 512, 512},
    {"fc/1_1000_2048", 1, 1000, 2048},          {"fc/1_4096_4096", 1, 4096, 4096},
    {"fc/4_4096_4096", 4, 4096, 4096},          {"fc/8_4096_4096", 8, 4096, 4096},
};

}  // namespace
}  // namespace hussar::cpu

int main(int argc, char** argv) {
  using namespace hussar::cpu;
  for (const ConvShape& shape : kConvs) benchmark::RegisterBenchmark(shape.name, run_conv, shape);
  for (const ConvShape& shape : kDepthwise) benchmark::RegisterBenchmark(shape.name, run_depthwise, shape);
  for (const GemmShape& shape : kGemms) benchmark::RegisterBenchmark(shape.name, run_gemm, shape.m, shape.n, shape.k);
  benchmark::Initialize(&argc, argv);
  benchmark::AddCustomContext("level", isa_name(active_isa()));
  benchmark::AddCustomContext("peak_gflops", std::to_string(peak_flops() * 1e-9));
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
