// conv_grouped: FP32 convolution in groups of few channels, channels-last, one or two spatial dimensions.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/grouped/grouped.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  ConvArgs args;
  EpilogueState epilogue;
  int shares;
  int64_t scratch_per_share;
};

Refusal supports(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_conv(problem)) return refusal;
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t group = problem.node.attributes.get_int("group", 1);
  if (group == 1) return "one group";
  if (filter.rank() > 4) return "three spatial dimensions";
  if (filter[1] == 1 && filter[0] == group) return "depthwise";
  if (filter[1] > kMostGroupChannels) return "many channels in a group";
  const Ints dilations = problem.node.attributes.get_ints("dilations");
  for (size_t axis = 0; axis < dilations.size(); ++axis) {
    const bool is_width = axis + 1 == dilations.size();
    const int64_t kernel = filter[static_cast<int>(axis) + 2], most = is_width ? kMostReachX : kMostReachY;
    if (kernel > 1 && dilations[axis] > (most - 1) / (kernel - 1)) return "the dilated kernel is too large";
  }
  return check_epilogue(problem);
}

// Whether the channels of the lanes' groups must be sorted on some level: they neither lie in one group nor together.
bool sorts_channels(int64_t filters, int64_t channels) {
  return !grouped_by_group(filters) && (kPanelColumns % filters != 0 || filters != channels);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t group = problem.node.attributes.get_int("group", 1), filters = filter[0] / group, channels = filter[1];
  const int64_t taps = filter.elements(2, filter.rank());
  const auto isa = static_cast<Isa>(problem.target.isa);
  const int64_t lanes = isa == Isa::kScalar ? 1 : isa == Isa::kAvx2 ? 8 : 16;
  double step = 1;  // input pixels per output pixel
  for (int64_t stride : problem.node.attributes.get_ints("strides")) step *= static_cast<double>(stride);
  const double flops = conv_flops(problem),
               columns = static_cast<double>(grouped_panels(group, filters) * kPanelColumns);
  const double pixels = Problem::elements(problem.output()) / static_cast<double>(filter[0]);
  // Measured on Zen 3, cycles per vector of filters: to end an output pixel, and to bring an input pixel.
  const bool broadcast = lanes == 1 || filters % lanes == 0 || grouped_by_group(filters);
  const double per_channel = broadcast ? 0.3 : sorts_channels(filters, channels) ? 6 : 1.2;
  const double per_pixel = !broadcast && sorts_channels(filters, channels) ? 35 : 10;
  const double cycles = 6 + step * (per_pixel + per_channel * static_cast<double>(channels));
  constexpr double kCyclesPerMicrosecond = 3.3e3, kMultiplying = 1.35;
  const double serial = columns / static_cast<double>(lanes) * pixels * cycles / kCyclesPerMicrosecond;
  const double waste = columns / static_cast<double>(filter[0]);
  // The rate that conv_cost knows for the scalar level is that of register tiles, which have four lanes.
  const double multiplied = flops * waste * kMultiplying * (lanes == 1 ? 4 : 1);
  return conv_cost(problem.target, multiplied, serial, static_cast<int64_t>(columns) * taps * channels);
}

Status pack(Packing& packing) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  const int64_t filters = filter.shape()[0], channels = filter.shape()[1];
  const int64_t taps = filter.shape().elements(2, filter.shape().rank());
  remember_kernel_shape(packing.node, filter.shape());
  const int64_t group = packing.node.attributes.get_int("group", 1), own_filters = filters / group;
  const int64_t matrices = grouped_by_group(own_filters) ? group : 1;
  Tensor packed(DType::kFloat32, {grouped_panels(group, own_filters) * taps * channels * kPanelColumns});
  pack_conv_filter(filter.data<float>(), matrices, filters / matrices, channels, taps, packed.data<float>());
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  ConvArgs& args = state.args;
  HUSSAR_TRY(fill_conv_geometry(prepare, args));
  HUSSAR_TRY(check_packed_weights(prepare, {args.kernel[1], args.kernel[2], args.channels,
                                            grouped_panels(args.groups, args.filters), kPanelColumns}));
  const bool fits = args.kernel[0] == 1 && prepare.inputs[0].shape.rank() <= 4 && args.channels <= kMostGroupChannels;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': not a convolution in small groups", prepare.step.name);
  HUSSAR_CHECK(reach_of(args, 1) <= kMostReachY && reach_of(args, 2) <= kMostReachX, ErrorCode::kPlanIncompatible,
               "step '{}': the dilated kernel is too large", prepare.step.name);
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input(prepare), state.epilogue, true));
  const double flops = 2.0 * static_cast<double>(args.batch * args.out[1] * args.out[2] * args.groups * args.filters) *
                       static_cast<double>(args.kernel[1] * args.kernel[2] * args.channels);
  state.shares = share_count(flops, prepare.threads);
  state.scratch_per_share = grouped_scratch_floats(args);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares) * sizeof(float);
  return {};
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  ProgramOperand operands[kProgramOperands];
  const ConvArgs args = bind_conv_args(run, state.args, state.epilogue, operands);
  const GroupedTable& table = select_grouped_table(usable_isa(run.isa));
  auto* scratch = reinterpret_cast<float*>(run.scratch);
  run.pool.run(state.shares, [&](int share) {
    table.conv(args, {share, state.shares}, scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace

extern const Kernel conv_grouped_kernel = {
    .name = "conv_grouped", .state_bytes = sizeof(State), .checks_shapes = true, .prepare = prepare, .run = run};
extern const Tactic conv_grouped_tactic = {
    .kernel = "conv_grouped", .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
