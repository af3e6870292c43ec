// conv_depthwise: FP32 convolution with one channel per group, channels-last, one or two spatial dimensions.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/depthwise/depthwise.h"
#include "backends/cpu/work_cuts.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  DepthwiseArgs args;
  EpilogueState epilogue;
  int shares;
};

Refusal supports(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_conv(problem)) return refusal;
  const Shape& filter = problem.input(1)->constant->shape();
  if (problem.node.attributes.get_int("group", 1) != filter[0] || filter[1] != 1) return "not depthwise";
  if (filter.rank() > 4) return "three spatial dimensions";
  return check_epilogue(problem);
}

double cost(const Problem& problem) { return 1 + depthwise_cost(problem.target, conv_flops(problem)); }

std::vector<Configuration> configurations(const Problem& problem) {
  return named_configurations({"by_rows", "by_panels", "two_shares"}, problem.target.threads, cost(problem));
}

Status pack(Packing& packing) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  int64_t channels = filter.shape()[0], taps = filter.shape().elements(2, filter.shape().rank());
  remember_kernel_shape(packing.node, filter.shape());
  Tensor packed(DType::kFloat32, {panel_floats(taps, channels)});
  pack_panels(filter.data<float>(), taps, channels, 1, taps, packed.data<float>());
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  ConvArgs conv;
  HUSSAR_TRY(fill_conv_args(prepare, true, conv));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input(prepare), state.epilogue, true));
  WorkCut cut;
  HUSSAR_TRY(read_cut(prepare, cut));
  DepthwiseArgs& args = state.args;
  args.batch = conv.batch;
  args.channels = conv.groups;
  for (int axis = 0; axis < 2; ++axis) {
    args.in[axis] = conv.in[axis + 1];
    args.out[axis] = conv.out[axis + 1];
    args.kernel[axis] = conv.kernel[axis + 1];
    args.stride[axis] = conv.stride[axis + 1];
    args.dilation[axis] = conv.dilation[axis + 1];
    args.pad[axis] = conv.pad[axis + 1];
  }
  args.along = cut.along;
  args.input_pitch = conv.input_pitch;
  args.output_pitch = conv.output_pitch;
  double work = 8.0 * static_cast<double>(args.batch * args.out[0] * args.out[1] * args.channels) *
                static_cast<double>(args.kernel[0] * args.kernel[1]);
  state.shares = cut_shares(share_count(work, prepare.threads), cut);
  return {};
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  DepthwiseArgs args = state.args;
  ProgramOperand operands[kProgramOperands];
  args.input = run.inputs[0].f32();
  args.weights = run.inputs[1].f32();
  args.output = run.outputs[0].f32_out();
  args.epilogue = make_epilogue(run, state.epilogue, operands);
  const DepthwiseTable& table = select_depthwise_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int share) { table.conv(args, {share, state.shares}); });
  return {};
}

}  // namespace

extern const Kernel conv_depthwise_kernel = {
    .name = "conv_depthwise", .state_bytes = sizeof(State), .checks_shapes = true, .prepare = prepare, .run = run};
extern const Tactic conv_depthwise_tactic = {.kernel = "conv_depthwise",
                                             .supports = supports,
                                             .cost = cost,
                                             .configurations = configurations,
                                             .pack = pack,
                                             .unpack = unpack};

}  // namespace hussar
