// average_pool_bytes: hussar.AverageBytes of channels-last bytes over 1 to 3 spatial dimensions, to real numbers or to
// bytes.
#include <algorithm>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/average_bytes.h"
#include "backends/cpu/kernels/int8/conversion.h"
#include "backends/cpu/pool_window.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

// Channels that are summed at a time.
constexpr int64_t kBlock = 128;

struct State {
  PoolArgs args;  // without the pointers
  int64_t pixels;
  float scale, output_scale;
  int32_t zero_point, output_zero_point, shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.AverageBytes"})) return refusal;
  const int rank = problem.input(0)->rank();
  if (rank < 3 || rank > 5) return "rank";
  return all_have_layout(problem, Layout::kChannelsLast) ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) {
  double taps = 1;
  for (int64_t size : problem.node.attributes.get_ints("kernel_shape")) taps *= static_cast<double>(size);
  return memory_cost(problem) + (taps + 8) * Problem::elements(problem.output()) / (3e4 * problem.target.threads);
}

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  const Attributes& attributes = prepare.step.attributes;
  State state{};
  PoolArgs& args = state.args;
  args.batch = x.shape[0];
  args.channels = x.shape[1];
  args.input_pitch = x.pitch;
  args.output_pitch = y.pitch;
  args.include_pad = attributes.get_int("count_include_pad", 0) != 0;
  read_window(attributes, x.shape, y.shape, args);
  int64_t taps = 1;
  bool fits = true;
  for (int axis = 0; axis < 3; ++axis) {
    fits = fits && args.kernel[axis] >= 1 && args.kernel[axis] <= kAveragePixels / taps;
    if (fits) taps *= args.kernel[axis];
  }
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}' averages windows of too many elements",
               prepare.step.name);
  state.pixels = y.shape.elements() == 0 ? 0 : args.batch * args.out[0] * args.out[1] * args.out[2];
  state.scale = attributes.get_float("x_scale", 1);
  state.zero_point = static_cast<int32_t>(attributes.get_int("x_zero_point", 0));
  state.output_scale = attributes.get_float("y_scale", 1);
  state.output_zero_point = static_cast<int32_t>(attributes.get_int("y_zero_point", 0));
  const double work = static_cast<double>(y.shape.elements()) * static_cast<double>(taps + 8);
  state.shares = share_count(work * 2.5e-5 + static_cast<double>(x.shape.elements()) / kBytesPerMicrosecond,
                             prepare.threads, state.pixels);
  prepare.state_as<State>() = state;
  return {};
}

// The means of `count` channels, at most kBlock, of one window.
void average_window(const State& state, const AverageTable& table, const WindowTaps (&taps)[3], const uint8_t* image,
                    int64_t count, float* means) {
  const PoolArgs& args = state.args;
  int32_t totals[kBlock], sums[kBlock];
  int64_t inside = 1, padded = 1;
  for (const WindowTaps& axis : taps) {
    inside *= axis.end - axis.begin;
    padded *= axis.padded;
  }
  std::fill_n(totals, count, static_cast<int32_t>(-inside) * state.zero_point);
  const int64_t column = taps[2].first + taps[2].begin * args.dilation[2];
  for (int64_t z = taps[0].begin; inside > 0 && z < taps[0].end; ++z) {
    for (int64_t y = taps[1].begin; y < taps[1].end; ++y) {
      const int64_t row = (taps[0].first + z * args.dilation[0]) * args.in[1] + taps[1].first + y * args.dilation[1];
      table.sum_pixels(image + (row * args.in[2] + column) * args.input_pitch, taps[2].end - taps[2].begin,
                       args.dilation[2] * args.input_pitch, count, sums);
      for (int64_t i = 0; i < count; ++i) totals[i] += sums[i];
    }
  }
  const float factor = state.scale / static_cast<float>(std::max<int64_t>(args.include_pad ? padded : inside, 1));
  for (int64_t i = 0; i < count; ++i) means[i] = static_cast<float>(totals[i]) * factor;
}

void average_pixel(const State& state, const Run& run, Isa isa, int64_t pixel) {
  const PoolArgs& args = state.args;
  const int64_t x = pixel % args.out[2], y = pixel / args.out[2] % args.out[1];
  const int64_t z = pixel / (args.out[2] * args.out[1]) % args.out[0];
  const int64_t batch = pixel / (args.out[2] * args.out[1] * args.out[0]);
  const WindowTaps taps[3] = {window_taps(args, 0, z), window_taps(args, 1, y), window_taps(args, 2, x)};
  const uint8_t* image =
      run.inputs[0].as<const uint8_t>() + batch * args.in[0] * args.in[1] * args.in[2] * args.input_pitch;
  const bool to_bytes = run.outputs[0].dtype == DType::kUInt8;
  for (int64_t channel = 0; channel < args.channels; channel += kBlock) {
    const int64_t count = std::min(kBlock, args.channels - channel), out = pixel * args.output_pitch + channel;
    float means[kBlock];
    average_window(state, select_average_table(isa), taps, image + channel, count,
                   to_bytes ? means : run.outputs[0].f32_out() + out);
    if (to_bytes)
      select_conversion_table(isa).quantize(means, run.outputs[0].as<uint8_t>() + out, count, state.output_scale,
                                            state.output_zero_point);
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Isa isa = usable_isa(run.isa);
  run.pool.run(state.shares, [&](int share) {
    const Range range = range_of(state.pixels, {share, state.shares});
    for (int64_t pixel = range.begin; pixel < range.end; ++pixel) average_pixel(state, run, isa, pixel);
  });
  return {};
}

}  // namespace

extern const Kernel average_pool_bytes_kernel = {
    .name = "average_pool_bytes", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic average_pool_bytes_tactic = {.kernel = "average_pool_bytes", .supports = supports, .cost = cost};

}  // namespace hussar
