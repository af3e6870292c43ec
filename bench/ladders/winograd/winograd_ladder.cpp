// The rungs from a naive convolution to Winograd on 3 x 3 layers of known networks. Rates are direct-equivalent: the
// operations of the direct convolution over the time taken. A rung is timed in rounds, all rungs of a layer in turn, so
// that whatever else the machine does hits them alike; the medians are reported.
//
//   winograd_ladder [threads] [name]     HUSSAR_ISA picks the level, `name` the layers whose names contain it
//
// "predicted" is what the tactics' costs say, which choose between the kernels in whole models.
// "cold" streams the filter from memory, as in a whole model: a buffer larger than the caches is read between runs.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/winograd/winograd.h"
#include "base/thread_pool.h"
#include "graph/graph.h"
#include "tactics/tactic.h"

namespace hussar::cpu {
namespace {

struct FreeMemory {
  void operator()(float* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float[], FreeMemory>;

Floats allocate(int64_t count) {
  Floats data(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((count * 4 + 127) / 64 * 64))));
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> distribution(-1, 1);
  for (int64_t i = 0; i < count; ++i) data[i] = distribution(engine);
  return data;
}

struct Layer {
  const char* name;
  int64_t height, width, channels, filters;
};

// Stride 1, padding 1.
constexpr Layer kLayers[] = {
    {"resnet 56x56x64", 56, 56, 64, 64},         {"resnet 28x28x128", 28, 28, 128, 128},
    {"resnet 14x14x256", 14, 14, 256, 256},      {"resnet 7x7x512", 7, 7, 512, 512},
    {"vgg 56x56x256", 56, 56, 256, 256},         {"vgg 28x28x512", 28, 28, 512, 512},
    {"vgg 112x112x128", 112, 112, 128, 128},     {"opennsfw 56x56x32", 56, 56, 32, 32},
    {"yolov8n 160x160x16", 160, 160, 16, 16},    {"yolov8n 80x80x32", 80, 80, 32, 32},
    {"yolov8n 40x40x64", 40, 40, 64, 64},        {"yolov8n 20x20x128", 20, 20, 128, 128},
    {"yolov8n 80x80x64-80", 80, 80, 64, 80},     {"yolov8n 80x80x80", 80, 80, 80, 80},
    {"yolov8n 20x20x256-64", 20, 20, 256, 64},   {"ppocr 120x160x96-24", 120, 160, 96, 24},
    {"small 112x112x3-64", 112, 112, 3, 64},     {"small 56x56x16-8", 56, 56, 16, 8},
    {"alexnet 13x13x384-256", 13, 13, 384, 256},
};

// Buffers of one layer and its rungs.
class Bench {
 public:
  Bench(const Layer& layer, int threads) : layer_(layer), threads_(threads), lease_(ThreadPool::shared(), threads) {
    args_.channels = layer.channels, args_.filters = layer.filters;
    args_.in[1] = args_.out[1] = layer.height, args_.in[2] = args_.out[2] = layer.width;
    for (int axis : {1, 2}) args_.kernel[axis] = 3, args_.pad[axis] = 1;
    const int64_t pixels = layer.height * layer.width;
    input_ = allocate(pixels * layer.channels);
    output_ = allocate(pixels * layer.filters);
    bias_ = allocate(layer.filters);
    plain_ = allocate(layer.filters * layer.channels * 9);
    args_.input = input_.get(), args_.input_pitch = layer.channels;
    args_.output = output_.get(), args_.output_pitch = layer.filters;
    args_.epilogue.bias = bias_.get(), args_.epilogue.low = 0;
    direct_filter_ = allocate(panel_floats(9 * layer.channels, layer.filters));
    pack_conv_filter(plain_.get(), 1, layer.filters, layer.channels, 9, direct_filter_.get());
    int64_t scratch = tile_scratch_bytes(9 * layer.channels) / 4;
    for (int64_t output : {2, 4}) {
      Floats& filter = winograd_filters_[output / 4];
      filter = allocate(winograd_filter_floats(output, layer.channels, layer.filters));
      transform_winograd_filter(plain_.get(), output, layer.filters, layer.channels, filter.get());
      scratch = std::max(scratch, winograd_scratch_floats(output, layer.channels, layer.filters, tiles(output)));
    }
    scratch_per_share_ = scratch;
    scratch_ = allocate(scratch * threads);
  }

  double flops() const {
    return 18.0 * static_cast<double>(layer_.height * layer_.width * layer_.channels * layer_.filters);
  }
  int64_t tiles(int64_t output) const {
    return winograd_tiles(output, layer_.height) * winograd_tiles(output, layer_.width);
  }

  void direct() {
    args_.filter = direct_filter_.get();
    share([&](Share share, float* scratch) { table_.conv(args_, share, scratch); }, flops());
  }
  void winograd(int64_t output) {
    WinogradArgs args = {args_, output};
    args.conv.filter = winograd_filters_[output / 4].get();
    share([&](Share share, float* scratch) { winograd_table_.conv(args, share, scratch); }, flops() / 3);
  }
  // The naive sums of the first rows only, scaled to all of them: seconds.
  double naive_seconds() {
    const int64_t rows = std::min<int64_t>(layer_.height, 2);
    const auto start = std::chrono::steady_clock::now();
    for (int64_t y = 0; y < rows; ++y) {
      for (int64_t x = 0; x < layer_.width; ++x) {
        for (int64_t f = 0; f < layer_.filters; ++f)
          output_[(y * layer_.width + x) * layer_.filters + f] = naive(y, x, f);
      }
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    return seconds * static_cast<double>(layer_.height) / static_cast<double>(rows);
  }

 private:
  template <class Work>
  void share(Work work, double flops) {
    const int count = share_count(flops, threads_);
    lease_.run(count, [&](int i) { work(Share{i, count}, scratch_.get() + i * scratch_per_share_); });
  }
  float naive(int64_t y, int64_t x, int64_t f) const {
    double sum = bias_[f];
    for (int64_t tap = 0; tap < 9; ++tap) {
      const int64_t in_y = y + tap / 3 - 1, in_x = x + tap % 3 - 1;
      if (in_y < 0 || in_y >= layer_.height || in_x < 0 || in_x >= layer_.width) continue;
      const float* pixel = input_.get() + (in_y * layer_.width + in_x) * layer_.channels;
      const float* filter = plain_.get() + f * layer_.channels * 9 + tap;
      for (int64_t c = 0; c < layer_.channels; ++c) sum += double(pixel[c]) * filter[c * 9];
    }
    return static_cast<float>(std::max(sum, 0.0));
  }

  const Layer layer_;
  const int threads_;
  ThreadPool::Lease lease_;
  ConvArgs args_;
  Floats input_, output_, bias_, plain_, direct_filter_, winograd_filters_[2], scratch_;
  int64_t scratch_per_share_ = 0;
  const TileTable& table_ = select_tile_table(active_isa());
  const WinogradTable& winograd_table_ = select_winograd_table(active_isa());
};

// Reads and writes more than the last level of the caches holds.
void chill() {
  static const int64_t count = 16 << 20;
  static Floats memory = allocate(count);
  for (int64_t i = 0; i < count; i += 16) memory[i] += 1;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Median seconds of each rung, timed in turn.
std::vector<double> time_in_turn(const std::vector<std::function<void()>>& rungs, bool cold) {
  const int rounds = cold ? 15 : 41;
  std::vector<std::vector<double>> seconds(rungs.size());
  for (int round = 0; round < rounds; ++round) {
    for (size_t i = 0; i < rungs.size(); ++i) {
      if (cold) {
        chill();
      } else {
        rungs[i]();
      }
      const auto start = std::chrono::steady_clock::now();
      rungs[i]();
      seconds[i].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  std::vector<double> medians;
  for (const auto& of_rung : seconds) medians.push_back(median(of_rung));
  return medians;
}

// The costs of the kernels for the layer as a node, in microseconds.
void print_predictions(const Layer& layer, int threads) {
  Graph graph;
  Value* x = graph.add_value("x", DType::kFloat32, Dims{1, layer.channels, layer.height, layer.width});
  Value* y = graph.add_value("y", DType::kFloat32, Dims{1, layer.filters, layer.height, layer.width});
  x->layout = y->layout = Layout::kChannelsLast;
  Value* w = graph.add_constant("w", Tensor(DType::kFloat32, {layer.filters, layer.channels, 3, 3}));
  Attributes attributes;
  attributes.set("pads", Ints{1, 1, 1, 1});
  const Node& node = *graph.add_node("Conv", "conv", {x, w}, {y}, attributes);
  std::printf("%-22s predicted  ", layer.name);
  for (const char* kernel : {"conv_tile", "conv_winograd2", "conv_winograd4"}) {
    for (const Tactic* tactic : all_tactics()) {
      if (tactic->kernel == kernel)
        std::printf("  %7.1f us       ", tactic->cost({node, {int(active_isa()), threads}}));
    }
  }
  std::printf("\n");
}

void report(const Layer& layer, int threads) {
  print_predictions(layer, threads);
  Bench bench(layer, threads);
  const std::vector<std::function<void()>> rungs = {[&] { bench.direct(); }, [&] { bench.winograd(2); },
                                                    [&] { bench.winograd(4); }};
  const double naive = bench.flops() / bench.naive_seconds() * 1e-9;
  for (bool cold : {false, true}) {
    const std::vector<double> seconds = time_in_turn(rungs, cold);
    std::printf("%-22s %-4s %6.2f", layer.name, cold ? "cold" : "warm", naive);
    for (double s : seconds) std::printf("  %7.1f us %6.1f", s * 1e6, bench.flops() / s * 1e-9);
    std::printf("   x%.2f x%.2f\n", seconds[0] / seconds[1], seconds[0] / seconds[2]);
    std::fflush(stdout);
  }
}

}  // namespace
}  // namespace hussar::cpu

int main(int argc, char** argv) {
  using namespace hussar::cpu;
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  std::printf("%s, %d threads, direct-equivalent GFLOP/s\n", isa_name(active_isa()), threads);
  std::printf("%-22s      %6s  %17s  %17s  %17s   speedup F2, F4\n", "layer", "naive", "direct", "F2", "F4");
  for (const Layer& layer : kLayers) {
    if (argc <= 2 || std::strstr(layer.name, argv[2]) != nullptr) report(layer, threads);
  }
  return 0;
}
