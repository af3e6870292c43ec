// average_pool_bytes: hussar.AverageBytes of channels-last bytes over 1 to 3 spatial dimensions, to real numbers or to
// bytes.
#include <algorithm>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/average_bytes.h"
#include "backends/cpu/pool_window.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

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
  const DType to = problem.output()->dtype;
  if (to != DType::kFloat32 && to != DType::kUInt8) return "dtype";
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

// One output pixel of an image.
void average_pixel(const State& state, const AverageTable& table, const WindowTaps (&taps)[3], const uint8_t* image,
                   const MeanTarget& target) {
  const PoolArgs& args = state.args;
  ByteWindow window{};
  int64_t inside = 1, padded = 1, at = 0, pixels = 1;
  for (int axis = 2; axis >= 0; --axis) {
    window.counts[axis] = taps[axis].end - taps[axis].begin;
    window.steps[axis] = args.dilation[axis] * pixels * args.input_pitch;
    inside *= window.counts[axis];
    padded *= taps[axis].padded;
    at += (taps[axis].first + taps[axis].begin * args.dilation[axis]) * pixels;
    pixels *= args.in[axis];
  }
  // Where no tap is inside there is nothing to point to.
  window.first = inside > 0 ? image + at * args.input_pitch : image;
  window.start = static_cast<int32_t>(-inside) * state.zero_point;
  window.factor = state.scale / static_cast<float>(std::max<int64_t>(args.include_pad ? padded : inside, 1));
  table.average_window(window, args.channels, target);
}

// The output pixels [range.begin, range.end).
void average_pixels(const State& state, const Run& run, Range range) {
  const PoolArgs& args = state.args;
  const AverageTable& table = select_average_table(usable_isa(run.isa));
  const auto* input = run.inputs[0].as<const uint8_t>();
  const bool to_bytes = run.outputs[0].dtype == DType::kUInt8;
  const int64_t image = args.in[0] * args.in[1] * args.in[2] * args.input_pitch;
  for (int64_t pixel = range.begin; pixel < range.end;) {
    const int64_t line = pixel / args.out[2], y = line % args.out[1], z = line / args.out[1] % args.out[0];
    const int64_t batch = line / (args.out[1] * args.out[0]), end = std::min(range.end, (line + 1) * args.out[2]);
    WindowTaps taps[3] = {window_taps(args, 0, z), window_taps(args, 1, y), {}};
    for (; pixel < end; ++pixel) {
      taps[2] = window_taps(args, 2, pixel - line * args.out[2]);
      const int64_t out = pixel * args.output_pitch;
      average_pixel(state, table, taps, input + batch * image,
                    {to_bytes ? run.outputs[0].as<uint8_t>() + out : nullptr,
                     to_bytes ? nullptr : run.outputs[0].f32_out() + out, state.output_scale, state.output_zero_point});
    }
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  run.pool.run(state.shares, [&](int share) {
    average_pixels(state, run, range_of(state.pixels, {share, state.shares}));
  });
  return {};
}

}  // namespace

extern const Kernel average_pool_bytes_kernel = {
    .name = "average_pool_bytes", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic average_pool_bytes_tactic = {.kernel = "average_pool_bytes", .supports = supports, .cost = cost};

}  // namespace hussar
