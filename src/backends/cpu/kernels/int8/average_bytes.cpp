// average_bytes: hussar.GlobalAverageBytes of channels-last bytes, to real numbers or to bytes.
#include "backends/cpu/kernels/int8/average_bytes.h"

#include <algorithm>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/conversion.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

// Channels that are summed at a time.
constexpr int64_t kBlock = 128;

struct State {
  int64_t batch, channels, pixels, pitch, output_pitch;
  float scale, output_scale;
  int32_t zero_point, output_zero_point, shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.GlobalAverageBytes"})) return refusal;
  const DType to = problem.output()->dtype;
  if (to != DType::kFloat32 && to != DType::kUInt8) return "dtype";
  return all_have_layout(problem, Layout::kChannelsLast) ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  const Attributes& attributes = prepare.step.attributes;
  const bool fits = x.shape.rank() >= 3 && y.shape.rank() == x.shape.rank() && y.shape[0] == x.shape[0] &&
                    y.shape[1] == x.shape[1] && y.shape.elements() == x.shape[0] * x.shape[1];
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': {} is not the mean of the planes of {}",
               prepare.step.name, y.shape.to_string(), x.shape.to_string());
  State state{};
  state.batch = x.shape[0];
  state.channels = x.shape[1];
  state.pixels = x.shape.elements(2, x.shape.rank());
  state.pitch = x.pitch;
  state.output_pitch = y.pitch;
  state.scale = attributes.get_float("x_scale", 1);
  state.zero_point = static_cast<int32_t>(attributes.get_int("x_zero_point", 0));
  state.output_scale = attributes.get_float("y_scale", 1);
  state.output_zero_point = static_cast<int32_t>(attributes.get_int("y_zero_point", 0));
  const int64_t blocks = state.batch * ((state.channels + kBlock - 1) / kBlock);
  state.shares = share_count(static_cast<double>(x.shape.elements()) / kBytesPerMicrosecond, prepare.threads, blocks);
  prepare.state_as<State>() = state;
  return {};
}

// The means of `count` channels, at most kBlock.
void average_block(const State& state, const AverageTable& table, const uint8_t* x, int64_t count, float* means) {
  int64_t totals[kBlock];
  int32_t sums[kBlock];
  std::fill_n(totals, count, -state.pixels * state.zero_point);
  for (int64_t pixel = 0; pixel < state.pixels; pixel += kAveragePixels) {
    table.sum_pixels(x + pixel * state.pitch, std::min(kAveragePixels, state.pixels - pixel), state.pitch, count, sums);
    for (int64_t i = 0; i < count; ++i) totals[i] += sums[i];
  }
  const float factor = state.scale / static_cast<float>(state.pixels);
  for (int64_t i = 0; i < count; ++i) means[i] = static_cast<float>(totals[i]) * factor;
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Isa isa = usable_isa(run.isa);
  const AverageTable& table = select_average_table(isa);
  const auto quantize = select_conversion_table(isa).quantize;
  const int64_t blocks = (state.channels + kBlock - 1) / kBlock;
  const bool to_bytes = run.outputs[0].dtype == DType::kUInt8;
  run.pool.run(state.shares, [&](int share) {
    const Range range = range_of(state.batch * blocks, {share, state.shares});
    for (int64_t block = range.begin; block < range.end; ++block) {
      const int64_t image = block / blocks, channel = block % blocks * kBlock;
      const int64_t count = std::min(kBlock, state.channels - channel);
      const uint8_t* x = run.inputs[0].as<const uint8_t>() + image * state.pixels * state.pitch + channel;
      const int64_t out = image * state.output_pitch + channel;
      float means[kBlock];
      average_block(state, table, x, count, to_bytes ? means : run.outputs[0].f32_out() + out);
      if (to_bytes)
        quantize(means, run.outputs[0].as<uint8_t>() + out, count, state.output_scale, state.output_zero_point, 0);
    }
  });
  return {};
}

}  // namespace

extern const Kernel average_bytes_kernel = {
    .name = "average_bytes", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic average_bytes_tactic = {.kernel = "average_bytes", .supports = supports, .cost = cost};

}  // namespace hussar
