// depth_to_space: DepthToSpace and SpaceToDepth of any dtype, in any layouts.
#include "backends/cpu/strided_copy.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  StridedCopy plan;
  int32_t threads;
};

constexpr std::string_view kToSpace = "DepthToSpace";

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {kToSpace, "SpaceToDepth"})) return refusal;
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem, 2); }

Status prepare(Prepare& prepare) {
  const Attributes& attributes = prepare.step.attributes;
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  bool to_space = prepare.step.op == kToSpace;
  int64_t block = attributes.get_int("blocksize", 1);
  // `deep` has block * block times as many channels as `wide`. In DCR order channels are [y][x][c], in CRD [c][y][x].
  const Shape& wide = to_space ? y.shape : x.shape;
  const Shape& deep = to_space ? x.shape : y.shape;
  bool blocks_first = !to_space || attributes.get_string("mode", "DCR") != "CRD";
  int64_t channels = wide[1];
  int64_t channel_step = blocks_first ? 1 : block * block;
  int64_t across = blocks_first ? channels : 1, down = across * block;  // channels per step in x and in y
  Strides wide_strides = strides_of(to_space ? y : x), deep_strides = strides_of(to_space ? x : y);
  CopyAxes axes;
  auto add = [&](int64_t size, int64_t deep_stride, int64_t wide_stride) {
    axes.add(size, to_space ? deep_stride : wide_stride, to_space ? wide_stride : deep_stride);
  };
  add(wide[0], deep_strides[0], wide_strides[0]);
  add(block, down * deep_strides[1], wide_strides[2]);
  add(block, across * deep_strides[1], wide_strides[3]);
  add(channels, channel_step * deep_strides[1], wide_strides[1]);
  add(deep[2], deep_strides[2], block * wide_strides[2]);
  add(deep[3], deep_strides[3], block * wide_strides[3]);
  prepare.state_as<State>() = {plan_copy(axes, static_cast<int64_t>(dtype_size(x.dtype))), prepare.threads};
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  run_copy(state.plan, run.inputs[0].data, run.outputs[0].data, run.pool, state.threads);
  return {};
}

}  // namespace

extern const Kernel depth_to_space_kernel = {
    .name = "depth_to_space", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic depth_to_space_tactic = {.kernel = "depth_to_space", .supports = supports, .cost = cost};

}  // namespace hussar
