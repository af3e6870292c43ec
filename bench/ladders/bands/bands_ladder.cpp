// Depth-first execution of residual blocks: layer by layer over whole images beside bands of rows whose inner tensors
// stay in the L2 cache. Unlike bench/depth_first.py, which bounds the gain from plans of single bands, these bands are
// real: they read the rows around them, keep what the next band reads again and take their input from where the block
// before left it.
//
//   bands_ladder [threads] [name]        HUSSAR_ISA picks the level, `name` the chains whose names contain it
//
// A chain is several equal blocks one after the other, each with weights of its own, as in the networks. All rungs of a
// chain are timed in turn; medians of 61 rounds. "3x3" says what computes these layers: register tiles or Winograd.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/winograd/winograd.h"
#include "base/thread_pool.h"

namespace hussar::cpu {
namespace {

struct FreeMemory {
  void operator()(float* p) const { std::free(p); }
};
using Floats = std::unique_ptr<float[], FreeMemory>;

Floats allocate(int64_t count, float scale = 1) {
  Floats data(static_cast<float*>(std::aligned_alloc(64, static_cast<size_t>((count * 4 + 127) / 64 * 64))));
  std::mt19937 engine(1);
  std::uniform_real_distribution<float> distribution(-scale, scale);
  for (int64_t i = 0; i < count; ++i) data[i] = distribution(engine);
  return data;
}

struct Stage {
  int kernel;  // 1 or 3
  int64_t channels, filters;
};

struct ChainShape {
  const char* name;
  int64_t height, width;
  int blocks;
  std::vector<Stage> stages;  // the input of the block is added to the sums of the last
};

const std::vector<ChainShape> kChains = {
    {"resnet50 56x56x256", 56, 56, 3, {{1, 256, 64}, {3, 64, 64}, {1, 64, 256}}},
    {"resnet50 28x28x512", 28, 28, 4, {{1, 512, 128}, {3, 128, 128}, {1, 128, 512}}},
    {"resnet18 56x56x64", 56, 56, 2, {{3, 64, 64}, {3, 64, 64}}},
    {"yolov8n 160x160x16", 160, 160, 1, {{3, 16, 16}, {3, 16, 16}}},
    {"yolov8n 80x80x32", 80, 80, 2, {{3, 32, 32}, {3, 32, 32}}},
};

// What a rung does: `band` output rows at a time, 0 for layer by layer; winograd: 0, or the output of its tiles.
struct Rung {
  int64_t band;
  int winograd;
};

class Chain {
 public:
  Chain(const ChainShape& shape, int threads)
      : shape_(shape), threads_(threads), lease_(ThreadPool::shared(), threads) {
    const int64_t pixels = shape.height * shape.width;
    int64_t widest = 0, k = 0;
    scratch_floats_ = 0;
    for (const Stage& stage : shape.stages) {
      widest = std::max({widest, stage.channels, stage.filters});
      k = std::max(k, stage.channels * stage.kernel * stage.kernel);
      for (int64_t output : {2, 4}) {
        const int64_t tiles = winograd_tiles(output, shape.height) * winograd_tiles(output, shape.width);
        if (stage.kernel == 3)
          scratch_floats_ =
              std::max(scratch_floats_, winograd_scratch_floats(output, stage.channels, stage.filters, tiles));
      }
    }
    scratch_floats_ = std::max(scratch_floats_, tile_scratch_bytes(k) / 4) + 64;
    scratch_floats_ = (scratch_floats_ + 15) / 16 * 16;
    most_shares_ = 4 * threads;
    scratch_ = allocate(scratch_floats_ * most_shares_);
    for (Floats& image : images_) image = allocate(pixels * shape.stages[0].channels);
    for (size_t i = 0; i + 1 < shape.stages.size(); ++i) {
      inner_.push_back(allocate(pixels * shape.stages[i].filters));
      for (int t = 0; t < threads; ++t) rows_.push_back(allocate(pixels * shape.stages[i].filters));
    }
    for (int block = 0; block < shape.blocks; ++block) add_weights();
  }

  double flops() const {
    double sum = 0;
    for (const Stage& stage : shape_.stages)
      sum += 2.0 * static_cast<double>(stage.kernel * stage.kernel * stage.channels * stage.filters);
    return sum * static_cast<double>(shape_.blocks * shape_.height * shape_.width);
  }

  void run(const Rung& rung) {
    for (int block = 0; block < shape_.blocks; ++block) {
      if (rung.band == 0) {
        whole(block, rung.winograd);
      } else {
        lease_.run(threads_, [&](int thread) { bands(block, rung, thread); });
      }
    }
  }
  const float* result() const { return images_[shape_.blocks % 2].get(); }
  int64_t result_floats() const { return shape_.height * shape_.width * shape_.stages.back().filters; }
  // The same input for every rung, whatever the one before left.
  void reset() {
    const int64_t floats = shape_.height * shape_.width * shape_.stages[0].channels;
    for (int64_t i = 0; i < floats; ++i) images_[0][i] = std::sin(static_cast<float>(i % 1009));
  }

 private:
  struct Weights {
    Floats direct, winograd[2], bias;
  };

  void add_weights() {
    for (const Stage& stage : shape_.stages) {
      Weights weights;
      const int64_t taps = stage.kernel * stage.kernel, floats = taps * stage.channels * stage.filters;
      const Floats plain = allocate(floats, 1 / std::sqrt(static_cast<float>(taps * stage.channels)));
      weights.bias = allocate(stage.filters, 0.1F);
      weights.direct = allocate(panel_floats(taps * stage.channels, stage.filters));
      pack_conv_filter(plain.get(), 1, stage.filters, stage.channels, taps, weights.direct.get());
      for (int64_t output : {2, 4}) {
        if (stage.kernel != 3) continue;
        Floats& filter = weights.winograd[output / 4];
        filter = allocate(winograd_filter_floats(output, stage.channels, stage.filters));
        transform_winograd_filter(plain.get(), output, stage.filters, stage.channels, filter.get());
      }
      weights_.push_back(std::move(weights));
    }
  }

  // Stage `index` of a block, for the output rows `out`. input and output hold the rows `have` and, from its first on,
  // `out`.
  void convolve(int block, size_t index, int winograd, Range out, const float* input, Range have, float* output,
                const float* residual, Share share, float* scratch) const {
    const Stage& stage = shape_.stages[index];
    const Weights& weights = weights_[static_cast<size_t>(block) * shape_.stages.size() + index];
    WinogradArgs args;
    ConvArgs& conv = args.conv;
    conv.channels = stage.channels, conv.filters = stage.filters;
    conv.in[1] = have.end - have.begin, conv.in[2] = conv.out[2] = shape_.width;
    conv.out[1] = out.end - out.begin;
    conv.kernel[1] = conv.kernel[2] = stage.kernel;
    conv.pad[2] = stage.kernel / 2;
    conv.pad[1] = stage.kernel / 2 - (out.begin - have.begin);
    conv.input = input, conv.input_pitch = stage.channels;
    conv.output = output, conv.output_pitch = stage.filters;
    conv.epilogue.bias = weights.bias.get(), conv.epilogue.low = 0;
    conv.epilogue.residual = residual, conv.epilogue.residual_pitch = residual == nullptr ? 0 : stage.filters;
    if (stage.kernel == 3 && winograd > 0) {
      args.output = winograd;
      conv.filter = weights.winograd[winograd / 4].get();
      winograd_table_.conv(args, share, scratch);
    } else {
      conv.filter = weights.direct.get();
      table_.conv(conv, share, scratch);
    }
  }

  void whole(int block, int winograd) {
    const Range all = {0, shape_.height};
    const float* from = images_[block % 2].get();
    for (size_t i = 0; i < shape_.stages.size(); ++i) {
      const Stage& stage = shape_.stages[i];
      const bool is_last = i + 1 == shape_.stages.size();
      float* const to = is_last ? images_[(block + 1) % 2].get() : inner_[i].get();
      const float* const residual = is_last ? images_[block % 2].get() : nullptr;
      const double flops = 2.0 * static_cast<double>(shape_.height * shape_.width * stage.kernel * stage.kernel *
                                                     stage.channels * stage.filters);
      const int count = std::min(share_count(flops, threads_), most_shares_);
      lease_.run(count, [&](int share) {
        convolve(block, i, winograd, all, from, all, to, residual, {share, count},
                 scratch_.get() + share * scratch_floats_);
      });
      from = to;
    }
  }

  // The rows that one thread owns, `rung.band` at a time. Inner rows that the next band reads again stay.
  void bands(int block, const Rung& rung, int thread) {
    const size_t stages = shape_.stages.size();
    const Range mine = range_of(shape_.height, {thread, threads_});
    const int64_t line = shape_.width;
    const float* const x = images_[block % 2].get();
    float* const y = images_[(block + 1) % 2].get();
    float* const scratch = scratch_.get() + thread * scratch_floats_;
    std::vector<Range> have(stages, Range{-1, -1}), need(stages);
    for (int64_t begin = mine.begin; begin < mine.end; begin += rung.band) {
      need[stages - 1] = {begin, std::min(begin + rung.band, mine.end)};
      for (size_t i = stages - 1; i > 0; --i) {
        const int64_t halo = shape_.stages[i].kernel / 2;
        need[i - 1] = {std::max<int64_t>(need[i].begin - halo, 0), std::min(need[i].end + halo, shape_.height)};
      }
      const float* input = x;
      Range input_rows = {0, shape_.height};
      for (size_t i = 0; i < stages; ++i) {
        const bool is_last = i + 1 == stages;
        const int64_t row = line * shape_.stages[i].filters;
        if (is_last) {
          convolve(block, i, rung.winograd, need[i], input, input_rows, y + need[i].begin * row,
                   x + need[i].begin * row, {0, 1}, scratch);
          break;
        }
        float* const rows = rows_[i * static_cast<size_t>(threads_) + static_cast<size_t>(thread)].get();
        const int64_t kept = std::max<int64_t>(have[i].end - need[i].begin, 0);
        if (kept > 0 && need[i].begin > have[i].begin)
          std::memmove(rows, rows + (need[i].begin - have[i].begin) * row, static_cast<size_t>(kept * row) * 4);
        const Range fresh = {need[i].begin + kept, need[i].end};
        if (fresh.begin < fresh.end)
          convolve(block, i, rung.winograd, fresh, input, input_rows, rows + kept * row, nullptr, {0, 1}, scratch);
        have[i] = need[i];
        input = rows, input_rows = have[i];
      }
    }
  }

  const ChainShape& shape_;
  const int threads_;
  int most_shares_ = 0;
  ThreadPool::Lease lease_;
  Floats images_[2], scratch_;
  std::vector<Floats> inner_, rows_;  // whole images; per stage and thread, the rows of a band
  std::vector<Weights> weights_;
  int64_t scratch_floats_ = 0;
  const TileTable& table_ = select_tile_table(active_isa());
  const WinogradTable& winograd_table_ = select_winograd_table(active_isa());
};

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// The largest difference from layer by layer, of the largest element.
double difference(const std::vector<float>& expected, const float* actual) {
  double most = 0, largest = 0;
  for (size_t i = 0; i < expected.size(); ++i) {
    most = std::max(most, std::abs(double(expected[i]) - actual[i]));
    largest = std::max(largest, std::abs(double(expected[i])));
  }
  return most / largest;
}

void report(const ChainShape& shape, int threads) {
  Chain chain(shape, threads);
  std::vector<Rung> rungs;
  for (int winograd : {0, 2, 4}) {
    for (int64_t band : {0, 4, 8, 12, 16, 28}) {
      if (band * threads <= shape.height) rungs.push_back({band, winograd});
    }
  }
  chain.reset();
  chain.run(rungs[0]);
  const std::vector<float> expected(chain.result(), chain.result() + chain.result_floats());
  std::vector<double> errors;
  for (const Rung& rung : rungs) {
    chain.reset();
    chain.run(rung);
    errors.push_back(difference(expected, chain.result()));
  }
  std::vector<std::vector<double>> seconds(rungs.size());
  for (int round = 0; round < 61; ++round) {
    for (size_t i = 0; i < rungs.size(); ++i) {
      const auto start = std::chrono::steady_clock::now();
      chain.run(rungs[i]);
      seconds[i].push_back(std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
    }
  }
  double whole = 0;
  for (size_t i = 0; i < rungs.size(); ++i) {
    const double time = median(seconds[i]);
    if (rungs[i].band == 0) whole = time;
    const std::string band = rungs[i].band == 0 ? "layers" : "bands of " + std::to_string(rungs[i].band);
    const char* const how = rungs[i].winograd == 0 ? "tiles" : rungs[i].winograd == 2 ? "F(2)" : "F(4)";
    std::printf("%-20s  %-5s  %-11s %8.1f us  %6.1f GFLOP/s  x%.3f  difference %.1e\n", shape.name, how, band.c_str(),
                time * 1e6, chain.flops() / time * 1e-9, time / whole, errors[i]);
  }
  std::fflush(stdout);
}

}  // namespace
}  // namespace hussar::cpu

int main(int argc, char** argv) {
  using namespace hussar::cpu;
  const int threads = argc > 1 ? std::max(1, std::atoi(argv[1])) : 1;
  std::printf("%s, %d threads; x: of the time layer by layer with the same 3x3 kernels\n", isa_name(active_isa()),
              threads);
  for (const ChainShape& shape : kChains) {
    if (argc <= 2 || std::strstr(shape.name, argv[2]) != nullptr) report(shape, threads);
  }
  return 0;
}
