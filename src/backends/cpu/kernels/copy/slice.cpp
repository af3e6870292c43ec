// slice: Slice of any dtype, in any layouts, with positions that are constants or data.
#include "backends/cpu/strided_copy.h"

namespace hussar {
namespace {

using namespace cpu;

struct Plan {
  StridedCopy copy;
  int64_t input_offset;  // bytes
};

struct State {
  Plan plan;
  int32_t threads;
  bool is_planned;  // false: the positions are data, run() plans
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Slice"})) return refusal;
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return 0.5 + 2 * bytes_of(problem.output()) / (8e3 * problem.target.threads); }

Plan plan_slice(std::span<const Operand> inputs, const Operand& y) {
  const Operand& x = inputs[0];
  int rank = x.shape.rank();
  SmallInts starts = small_ints(inputs, 1), chosen = small_ints(inputs, 3), steps = small_ints(inputs, 4);
  Strides in = strides_of(x), out = strides_of(y);
  int64_t first = 0;
  for (int i = 0; i < starts.count; ++i) {
    int axis = axis_from_front(chosen.count > 0 ? chosen[i] : i, rank);
    int64_t length = x.shape[axis];
    int64_t start = starts[i] < 0 ? starts[i] + length : starts[i];
    first += std::clamp<int64_t>(start, 0, std::max<int64_t>(length - 1, 0)) * in[axis];
    // A step that is longer than the axis takes one element, however long it is.
    if (steps.count > 0) in[axis] *= std::clamp<int64_t>(steps[i], -length - 1, length + 1);
  }
  CopyAxes axes;
  for (int axis = 0; axis < rank; ++axis) axes.add(y.shape[axis], in[axis], out[axis]);
  auto size = static_cast<int64_t>(dtype_size(x.dtype));
  return {plan_copy(axes, size), first * size};
}

Status prepare(Prepare& prepare) {
  State state{};
  state.threads = prepare.threads;
  state.is_planned = have_data(prepare.inputs, 1);
  if (state.is_planned) state.plan = plan_slice(prepare.inputs, prepare.outputs[0]);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Plan plan = state.is_planned ? state.plan : plan_slice(run.inputs, run.outputs[0]);
  run_copy(plan.copy, run.inputs[0].data + plan.input_offset, run.outputs[0].data, run.pool, state.threads);
  return {};
}

}  // namespace

extern const Kernel slice_kernel = {.name = "slice", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic slice_tactic = {.kernel = "slice", .supports = supports, .cost = cost};

}  // namespace hussar
