// conv_tile: FP32 convolution of 1 to 3 spatial dimensions on channels-last data, any stride, dilation, padding, group.
#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/work_cuts.h"

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
  return check_epilogue(problem);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t group = std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1);
  const int64_t filters = filter[0] / group, k = filter.elements(1, filter.rank());
  const double flops = conv_flops(problem), tiles = tile_conv_cost(problem.target, flops, group, filters, k);
  if (group == 1 || filter[1] % kPanelColumns == 0) return tiles;
  // Few channels of every tap are gathered one by one: measured on Zen 3, cycles per group and output pixel.
  const double taps = static_cast<double>(k / filter[1]),
               pixels = Problem::elements(problem.output()) / static_cast<double>(filters);
  return tiles + pixels * (20 + 11 * taps) / 3.3e3 / share_count(flops, problem.target.threads);
}

std::vector<Configuration> configurations(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t group = std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1);
  const auto rows = static_cast<int64_t>(Problem::elements(problem.output())) / filter[0];
  const ProductSize size = {group,
                            rows,
                            panel_count(filter[0] / group),
                            filter.elements(1, filter.rank()),
                            float_tile_rows(problem.target.isa),
                            kBlockFloats};
  return cut_configurations(size, share_count(conv_flops(problem), problem.target.threads), cost(problem));
}

Status pack(Packing& packing) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  int64_t group = packing.node.attributes.get_int("group", 1);
  int64_t filters = filter.shape()[0] / group, channels = filter.shape()[1];
  int64_t taps = filter.shape().elements(2, filter.shape().rank());
  remember_kernel_shape(packing.node, filter.shape());
  Tensor packed(DType::kFloat32, {group * panel_floats(taps * channels, filters)});
  pack_conv_filter(filter.data<float>(), group, filters, channels, taps, packed.data<float>());
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  HUSSAR_TRY(fill_conv_args(prepare, false, state.args));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input(prepare), state.epilogue, true));
  HUSSAR_TRY(read_cut(prepare, state.args.cut));
  const ConvArgs& args = state.args;
  int64_t taps = args.kernel[0] * args.kernel[1] * args.kernel[2];
  int64_t pixels = args.batch * args.out[0] * args.out[1] * args.out[2];
  double flops =
      2.0 * static_cast<double>(pixels * args.groups * args.filters) * static_cast<double>(taps * args.channels);
  state.shares = cut_shares(share_count(flops, prepare.threads), args.cut);
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
    table.conv(args, {share, state.shares}, run.scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace

extern const Kernel conv_tile_kernel = {
    .name = "conv_tile", .state_bytes = sizeof(State), .checks_shapes = true, .prepare = prepare, .run = run};
extern const Tactic conv_tile_tactic = {.kernel = "conv_tile",
                                        .supports = supports,
                                        .cost = cost,
                                        .configurations = configurations,
                                        .pack = pack,
                                        .unpack = unpack};

}  // namespace hussar
