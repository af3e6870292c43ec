// Depthwise convolution on the layers of known networks, one thread, as GFLOP/s and as a share of this core's measured
// FMA peak, step by step. HUSSAR_ISA picks the level.
//
//   reference   one multiply-add after the other, as the operator is defined
//   patches     every window cut by the image's edge: a patch of pixels times all channels, then the next patch
//   edges       the kernel on an image that needs padding: windows inside it one vector of channels after the other, so
//               that taps stay in registers and rows in the L1 cache; windows at the edges as patches
//   padded      the same image with its padding in memory: no window leaves it
//   odd_pitch   padded, with an odd number of cache lines from pixel to pixel: neighbours in different sets of the L1
//
// What to expect: a 3x3 patch of 8 pixels is 72 multiply-adds of 16 lanes, 30 loads of inputs, 8 stores that take two
// cycles each and 16 operations of the bounds: the multiply-adds fill 90 % of the time at stride 1. At stride 2 every
// output needs 4 input vectors from L2 at 32 bytes per cycle, 8 cycles beside the 9 of its multiply-adds: 55 %.
// `patches` spends about 100 cycles per patch on its addresses: 60 % with 3 vectors of channels, less at the edges.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>

#include "backends/cpu/kernels/depthwise/depthwise.h"

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
      const double flops = active_isa() == Isa::kAvx512 ? peak_loop_512(1000000) : peak_loop_256(1000000);
      const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
      best = std::max(best, flops / seconds);
    }
    return best;
  }();
  return peak;
}

struct FloatBuffer {
  explicit FloatBuffer(int64_t count) {
    data = static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((count * 4 + 127) / 64 * 64)));
    std::mt19937 engine(1);
    std::uniform_real_distribution<float> distribution(-1, 1);
    for (int64_t i = 0; i < count; ++i) data[i] = distribution(engine);
  }
  ~FloatBuffer() { std::free(data); }
  FloatBuffer(const FloatBuffer&) = delete;
  float* data;
};

enum class Rung { kReference, kPatches, kEdges, kPadded, kOddPitch };
constexpr const char* kRungs[] = {"reference", "patches", "edges", "padded", "odd_pitch"};

// A band of `rows` output rows, as large as the blocks of a network see it in the cache.
struct Layer {
  const char* name;
  int64_t width, channels, kernel, stride, rows;
};
constexpr Layer kLayers[] = {
    {"3x3_32_112", 112, 32, 3, 1, 16},  {"3x3s2_96_112", 112, 96, 3, 2, 4}, {"3x3_144_56", 56, 144, 3, 1, 12},
    {"5x5s2_144_56", 56, 144, 5, 2, 5}, {"5x5_240_28", 28, 240, 5, 1, 14},  {"3x3_480_14", 14, 480, 3, 1, 14},
    {"5x5_672_14", 14, 672, 5, 1, 14},  {"5x5_1152_7", 7, 1152, 5, 1, 7},
};

void reference(const DepthwiseArgs& args) {
  const int64_t taps = args.kernel[0] * args.kernel[1];
  for (int64_t y = 0; y < args.out[0]; ++y) {
    for (int64_t x = 0; x < args.out[1]; ++x) {
      for (int64_t channel = 0; channel < args.channels; ++channel) {
        float sum = args.epilogue.bias[channel];
        for (int64_t tap = 0; tap < taps; ++tap) {
          const int64_t in_y = y * args.stride[0] - args.pad[0] + tap / args.kernel[1];
          const int64_t in_x = x * args.stride[1] - args.pad[1] + tap % args.kernel[1];
          if (in_y < 0 || in_y >= args.in[0] || in_x < 0 || in_x >= args.in[1]) continue;
          sum += args.input[(in_y * args.in[1] + in_x) * args.input_pitch + channel] *
                 args.weights[(channel / kPanelColumns * taps + tap) * kPanelColumns + channel % kPanelColumns];
        }
        args.output[(y * args.out[1] + x) * args.output_pitch + channel] =
            std::min(std::max(sum, args.epilogue.low), args.epilogue.high);
      }
    }
  }
}

void run(benchmark::State& state, Layer layer, Rung rung) {
  const int64_t taps = layer.kernel * layer.kernel, out_width = layer.width / layer.stride;
  const bool padded = rung == Rung::kPadded || rung == Rung::kOddPitch;
  DepthwiseArgs args;
  args.channels = layer.channels;
  const int64_t out[2] = {layer.rows, out_width};
  for (int axis : {0, 1}) {
    args.out[axis] = out[axis], args.kernel[axis] = layer.kernel, args.stride[axis] = layer.stride;
    args.pad[axis] = padded ? 0 : layer.kernel / 2;
    args.in[axis] = padded ? (out[axis] - 1) * layer.stride + layer.kernel : out[axis] * layer.stride;
  }
  const int64_t lines = panel_count(layer.channels);
  args.input_pitch = (rung == Rung::kOddPitch ? lines | 1 : lines) * kPanelColumns;
  args.output_pitch = args.input_pitch;
  FloatBuffer input(args.in[0] * args.in[1] * args.input_pitch), weights(panel_floats(taps, layer.channels));
  const int64_t outputs = args.out[0] * args.out[1] * args.output_pitch;
  FloatBuffer output(outputs), bias(layer.channels), residual(outputs);
  args.input = input.data, args.weights = weights.data, args.output = output.data;
  args.epilogue.bias = bias.data;
  args.epilogue.low = 0, args.epilogue.high = 6;
  // What is added to the sums is left to the patches.
  if (rung == Rung::kPatches) args.epilogue.residual = residual.data, args.epilogue.residual_pitch = args.output_pitch;
  const DepthwiseTable& table = select_depthwise_table(active_isa());
  for (auto _ : state) {
    if (rung == Rung::kReference) {
      reference(args);
    } else {
      table.conv(args, {0, 1});
    }
    benchmark::ClobberMemory();
  }
  const double flops = 2.0 * static_cast<double>(args.out[0] * args.out[1] * layer.channels * taps);
  state.counters["GFLOPS"] = benchmark::Counter(flops * 1e-9, benchmark::Counter::kIsIterationInvariantRate);
  state.counters["peak%"] =
      benchmark::Counter(100 * flops / peak_flops(), benchmark::Counter::kIsIterationInvariantRate);
}

void register_all() {
  for (const Layer& layer : kLayers) {
    for (int rung = 0; rung < 5; ++rung) {
      benchmark::RegisterBenchmark((std::string(layer.name) + "/" + kRungs[rung]).c_str(), run, layer,
                                   static_cast<Rung>(rung));
    }
  }
}

}  // namespace
}  // namespace hussar::cpu

int main(int argc, char** argv) {
  hussar::cpu::register_all();
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}
