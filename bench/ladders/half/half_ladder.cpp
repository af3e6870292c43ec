// The FP16 and BF16 kernels beside the FP32 ones on layers of ResNet-50 and BERT-base, those that the machine has. A
// layer's kernels are timed in rounds, all in turn, so that whatever else the machine does hits them alike; the medians
// are reported, as GFLOP/s, as shares of the measured FP32 peak of the threads, and as gains over the FP32 tiles.
//
//   half_ladder [threads] [name]     `name`: the layers whose names contain it. HUSSAR_ISA=avx512fp16 leaves out AMX.
//
// "error" is the largest difference from the FP32 tiles' result, relative to its range. -DHUSSAR_EMULATE_FP16=ON builds
// one that shows the errors of FP16 anywhere; its times mean nothing.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "backends/cpu/bfloat_packing.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/half_packing.h"
#include "backends/cpu/kernels/amx/matrix_product.h"
#include "backends/cpu/kernels/bfloat/bfloat_product.h"
#include "backends/cpu/kernels/half/half_product.h"
#include "backends/cpu/matrix_packing.h"
#include "base/thread_pool.h"

namespace hussar::cpu {
namespace {

struct FreeMemory {
  void operator()(void* p) const { std::free(p); }
};
using Memory = std::unique_ptr<std::byte, FreeMemory>;

Memory allocate(int64_t bytes) {
  return Memory(static_cast<std::byte*>(std::aligned_alloc(64, static_cast<size_t>((bytes + 127) / 64 * 64))));
}

float* floats(const Memory& memory) { return reinterpret_cast<float*>(memory.get()); }
uint16_t* words(const Memory& memory) { return reinterpret_cast<uint16_t*>(memory.get()); }

Memory random_numbers(int64_t count, float size) {
  Memory memory = allocate(count * 4);
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> distribution(-size, size);
  for (int64_t i = 0; i < count; ++i) floats(memory)[i] = distribution(engine);
  return memory;
}

// A product is a convolution of kernel 1 over one line of pixels.
struct Layer {
  const char* name;
  int64_t height, width, channels, filters, kernel, stride;
};

constexpr Layer kLayers[] = {
    {"resnet 7x7s2 224 3-64", 224, 224, 3, 64, 7, 2},    {"resnet 1x1 56 64-64", 56, 56, 64, 64, 1, 1},
    {"resnet 3x3 56 64-64", 56, 56, 64, 64, 3, 1},       {"resnet 1x1 56 64-256", 56, 56, 64, 256, 1, 1},
    {"resnet 1x1 56 256-64", 56, 56, 256, 64, 1, 1},     {"resnet 3x3s2 56 128-128", 56, 56, 128, 128, 3, 2},
    {"resnet 3x3 28 128-128", 28, 28, 128, 128, 3, 1},   {"resnet 1x1 28 128-512", 28, 28, 128, 512, 1, 1},
    {"resnet 3x3 14 256-256", 14, 14, 256, 256, 3, 1},   {"resnet 1x1 14 256-1024", 14, 14, 256, 1024, 1, 1},
    {"resnet 1x1 14 1024-256", 14, 14, 1024, 256, 1, 1}, {"resnet 3x3 7 512-512", 7, 7, 512, 512, 3, 1},
    {"resnet 1x1 7 512-2048", 7, 7, 512, 2048, 1, 1},    {"resnet fc 2048-1000", 1, 1, 2048, 1000, 1, 1},
    {"bert qkv 128 768-2304", 1, 128, 768, 2304, 1, 1},  {"bert out 128 768-768", 1, 128, 768, 768, 1, 1},
    {"bert ffn1 128 768-3072", 1, 128, 768, 3072, 1, 1}, {"bert ffn2 128 3072-768", 1, 128, 3072, 768, 1, 1},
    {"bert pooler 1 768-768", 1, 1, 768, 768, 1, 1},
};

ConvArgs conv_of(const Layer& layer) {
  ConvArgs conv;
  conv.channels = layer.channels, conv.filters = layer.filters;
  conv.in[1] = layer.height, conv.in[2] = layer.width;
  for (int axis : {1, 2}) {
    const bool has_window = conv.in[axis] > 1;
    conv.kernel[axis] = has_window ? layer.kernel : 1;
    conv.stride[axis] = has_window ? layer.stride : 1;
    conv.pad[axis] = conv.kernel[axis] / 2;
    conv.out[axis] = (conv.in[axis] + conv.stride[axis] - 1) / conv.stride[axis];
  }
  conv.input_pitch = layer.channels, conv.output_pitch = layer.filters;
  conv.epilogue.low = 0;
  return conv;
}

class Bench {
 public:
  Bench(const Layer& layer, int threads)
      : conv_(conv_of(layer)), threads_(threads), lease_(ThreadPool::shared(), threads) {
    const int64_t taps = conv_.kernel[1] * conv_.kernel[2], filters = conv_.filters;
    k_ = taps * conv_.channels;
    input_ = random_numbers(conv_.in[1] * conv_.in[2] * conv_.channels, 1);
    bias_ = random_numbers(filters, 1);
    const Memory plain = random_numbers(filters * k_, 3 / std::sqrt(static_cast<float>(k_)));  // (filter, tap, channel)
    output_ = allocate(outputs() * 4);
    tile_weights_ = allocate(panel_floats(k_, filters) * 4);
    pack_panels(floats(plain), k_, filters, 1, k_, floats(tile_weights_));
    half_weights_ = allocate(half_weight_elements(k_, filters) * 2);
    pack_half_weights(floats(plain), k_, filters, 1, k_, words(half_weights_));
    bfloat_weights_ = allocate(bfloat_weight_elements(k_, filters) * 2);
    pack_bfloat_weights(floats(plain), k_, filters, 1, k_, words(bfloat_weights_));
    scratch_per_share_ = std::max(tile_scratch_bytes(k_), half_scratch_bytes(k_));
    for (int64_t parts : {1, 2}) {
      Memory& weights = matrix_weights_[parts - 1];
      weights = allocate(matrix_weight_elements(taps, conv_.channels, filters, parts) * 2);
      pack_matrix_weights(floats(plain), taps, conv_.channels, filters, 1, k_, parts, words(weights));
      scratch_per_share_ = std::max(scratch_per_share_, (matrix_scratch_bytes(conv_, parts) + 63) / 64 * 64);
    }
    scratch_ = allocate(scratch_per_share_ * threads);
    conv_.input = floats(input_), conv_.output = floats(output_), conv_.epilogue.bias = floats(bias_);
  }

  int64_t outputs() const { return conv_.out[1] * conv_.out[2] * conv_.filters; }
  double flops() const { return 2.0 * static_cast<double>(outputs()) * static_cast<double>(k_); }

  void tile() {
    conv_.filter = floats(tile_weights_);
    const TileTable& table = select_tile_table(active_isa());
    share(flops(), [&](Share share, void* scratch) { table.conv(conv_, share, scratch); });
  }
  void half() {
    HalfArgs args{conv_, words(half_weights_)};
    share(flops() / 2, [&](Share share, void* scratch) { avx512fp16::run_half_product(args, share, scratch); });
  }
  void bfloat() {
    BfloatArgs args{conv_, words(bfloat_weights_)};
    share(flops() / 2, [&](Share share, void* scratch) { avx512bf16::run_bfloat_product(args, share, scratch); });
  }
  void matrix_unit(int64_t parts) {
    MatrixArgs args{conv_, words(matrix_weights_[parts - 1]), parts};
    share(flops() / 3, [&](Share share, void* scratch) { amx::run_matrix_product(args, share, scratch); });
  }
  // Of what a kernel gives against tile().
  double error(const std::function<void()>& kernel) {
    tile();
    const std::vector<float> exact(floats(output_), floats(output_) + outputs());
    kernel();
    float largest = 0;
    for (int64_t i = 0; i < outputs(); ++i) {
      largest = std::max(largest, std::fabs(floats(output_)[i] - exact[static_cast<size_t>(i)]));
    }
    const auto [low, high] = std::minmax_element(exact.begin(), exact.end());
    return largest / (*high - *low);
  }

 private:
  template <class Work>
  void share(double flops, Work work) {
    const int count = share_count(flops, threads_);
    lease_.run(count, [&](int i) { work(Share{i, count}, scratch_.get() + i * scratch_per_share_); });
  }

  ConvArgs conv_;
  const int threads_;
  ThreadPool::Lease lease_;
  int64_t k_ = 0, scratch_per_share_ = 0;
  Memory input_, output_, bias_, tile_weights_, half_weights_, bfloat_weights_, scratch_;
  Memory matrix_weights_[2];  // of one part and of two
};

// Twelve independent chains of multiply-adds on registers. Returns their number of floating point operations.
__attribute__((target("avx512f"), noinline)) double peak_loop(long rounds) {
#define HUSSAR_FMA(r) "vfmadd231ps %%zmm15, %%zmm15, %%zmm" r "\n"
  for (long i = 0; i < rounds; ++i) {
    __asm__ volatile(HUSSAR_FMA("0") HUSSAR_FMA("1") HUSSAR_FMA("2") HUSSAR_FMA("3") HUSSAR_FMA("4") HUSSAR_FMA("5")
                         HUSSAR_FMA("6") HUSSAR_FMA("7") HUSSAR_FMA("8") HUSSAR_FMA("9") HUSSAR_FMA("10")
                             HUSSAR_FMA("11")::
                                 : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",
                                   "xmm10", "xmm11", "xmm15");
  }
  return 2.0 * 16 * 12 * static_cast<double>(rounds);
#undef HUSSAR_FMA
}

// GFLOP/s of all threads together: the best of several runs of some milliseconds.
double peak_of(int threads) {
  ThreadPool::Lease lease(ThreadPool::shared(), threads);
  double best = 0;
  for (int run = 0; run < 10; ++run) {
    std::vector<double> done(static_cast<size_t>(threads));
    const auto start = std::chrono::steady_clock::now();
    lease.run(threads, [&](int i) { done[static_cast<size_t>(i)] = peak_loop(1000000); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    double flops = 0;
    for (double part : done) flops += part;
    best = std::max(best, flops / seconds * 1e-9);
  }
  return best;
}

// Median seconds of each kernel, timed in turn.
std::vector<double> time_in_turn(const std::vector<std::function<void()>>& kernels) {
  constexpr int kRounds = 41;
  std::vector<std::vector<double>> seconds(kernels.size());
  for (int round = 0; round < kRounds; ++round) {
    for (size_t i = 0; i < kernels.size(); ++i) {
      kernels[i]();
      const auto start = std::chrono::steady_clock::now();
      kernels[i]();
      seconds[i].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  std::vector<double> medians;
  for (auto& list : seconds) {
    std::nth_element(list.begin(), list.begin() + kRounds / 2, list.end());
    medians.push_back(list[kRounds / 2]);
  }
  return medians;
}

struct Named {
  const char* name;
  std::function<void()> run;
};

void report(const Layer& layer, int threads, double peak) {
  Bench bench(layer, threads);
  std::vector<Named> kernels = {{"FP32 tiles", [&] { bench.tile(); }}};
  if (active_isa() >= Isa::kAvx512Fp16) kernels.push_back({"FP16 tiles", [&] { bench.half(); }});
  if (has_avx512_bf16()) kernels.push_back({"BF16 tiles", [&] { bench.bfloat(); }});
  if (active_isa() >= Isa::kAmx) {
    kernels.push_back({"matrix unit, FP32", [&] { bench.matrix_unit(2); }});
    kernels.push_back({"matrix unit, BF16", [&] { bench.matrix_unit(1); }});
  }
  std::vector<std::function<void()>> runs;
  for (const Named& kernel : kernels) runs.push_back(kernel.run);
  const std::vector<double> seconds = time_in_turn(runs);
  for (size_t i = 0; i < kernels.size(); ++i) {
    const double rate = bench.flops() / seconds[i] * 1e-9;
    std::printf("%-24s  %-18s %8.1f us %7.1f GFLOP/s %5.0f%% of FP32's peak  x%.2f  error %.1e\n", layer.name,
                kernels[i].name, seconds[i] * 1e6, rate, 100 * rate / peak, seconds[0] / seconds[i],
                bench.error(kernels[i].run));
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace hussar::cpu

int main(int argc, char** argv) {
  using namespace hussar::cpu;
  if (active_isa() < Isa::kAvx512) {
    std::fprintf(stderr, "half_ladder: this machine has no AVX-512 (best level: %s)\n", isa_name(active_isa()));
    return 1;
  }
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  const double peak = peak_of(threads);
  std::printf("%s, %d threads, FP32 peak %.0f GFLOP/s\n", isa_name(active_isa()), threads, peak);
  for (const Layer& layer : kLayers) {
    if (argc <= 2 || std::strstr(layer.name, argv[2]) != nullptr) report(layer, threads, peak);
  }
  return 0;
}
