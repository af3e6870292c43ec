// conv_transpose_tile: FP32 transposed convolution on channels-last data, by one ordinary convolution per phase of the
// stride.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/tile/tile.h"
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

// Every phase of the stride costs a little, whatever the size of the filter. Real models stay far below.
constexpr int64_t kMostPhases = 4096;

bool has_few_phases(const Ints& strides) {
  int64_t phases = 1;
  for (int64_t stride : strides) {
    if (stride < 1 || stride > kMostPhases / phases) return false;
    phases *= stride;
  }
  return true;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_conv_transpose(problem)) return refusal;
  if (!has_few_phases(problem.node.attributes.get_ints("strides"))) return "stride";
  return check_epilogue(problem);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  double flops = 2.0 * Problem::elements(problem.input(0)) * static_cast<double>(filter.elements(1, filter.rank()));
  flops *= static_cast<double>(panel_count(filter[1]) * kPanelColumns) / static_cast<double>(filter[1]);
  return 1 + flops / (4e4 * problem.target.threads);
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Tensor& filter = *node.inputs[1]->constant;
  int64_t group = node.attributes.get_int("group", 1);
  int64_t channels = filter.shape()[0] / group, filters = filter.shape()[1];
  int spatial = filter.shape().rank() - 2;
  int64_t kernel[3] = {1, 1, 1}, stride[3] = {1, 1, 1}, dilation[3] = {1, 1, 1};
  Ints strides = node.attributes.get_ints("strides", Ints(static_cast<size_t>(spatial), 1));
  Ints dilations = node.attributes.get_ints("dilations", Ints(static_cast<size_t>(spatial), 1));
  HUSSAR_CHECK(static_cast<int>(strides.size()) == spatial && static_cast<int>(dilations.size()) == spatial,
               ErrorCode::kInvalidModel, "{}: strides or dilations do not match the filter", describe(node));
  for (int axis = 0; axis < spatial; ++axis) {
    kernel[3 - spatial + axis] = filter.shape()[2 + axis];
    stride[3 - spatial + axis] = strides[axis];
    dilation[3 - spatial + axis] = dilations[axis];
  }
  node.attributes.set("kernel_shape", Ints(filter.shape().begin() + 2, filter.shape().end()));
  node.attributes.set("hussar_channels", channels);
  int64_t taps = kernel[0] * kernel[1] * kernel[2];
  Tensor packed(DType::kFloat32, {group * panel_floats(taps * channels, filters)});
  pack_conv_transpose_filter(filter.data<float>(), group, filters, channels, kernel, stride, dilation,
                             packed.data<float>());
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  HUSSAR_TRY(fill_conv_args(prepare, false, state.args));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input(prepare), state.epilogue, true));
  const ConvArgs& args = state.args;
  HUSSAR_CHECK(has_few_phases({std::begin(args.stride), std::end(args.stride)}), ErrorCode::kPlanIncompatible,
               "step '{}': malformed convolution attributes", prepare.step.name);
  int64_t taps = args.kernel[0] * args.kernel[1] * args.kernel[2];
  double flops = 2.0 * static_cast<double>(args.batch * args.in[0] * args.in[1] * args.in[2] * args.groups) *
                 static_cast<double>(args.filters * args.channels * taps);
  state.shares = share_count(flops, prepare.threads);
  state.scratch_per_share = tile_scratch_bytes(taps * args.channels);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  ProgramOperand operands[kProgramOperands];
  const ConvArgs args = bind_conv_args(run, state.args, state.epilogue, operands);
  const TileTable& table = select_tile_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int share) {
    table.conv_transpose(args, {share, state.shares}, run.scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace

extern const Kernel conv_transpose_tile_kernel = {
    .name = "conv_transpose_tile", .state_bytes = sizeof(State), .checks_shapes = true, .prepare = prepare, .run = run};
extern const Tactic conv_transpose_tile_tactic = {
    .kernel = "conv_transpose_tile", .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
