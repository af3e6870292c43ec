// split: Split of any dtype, in any layouts. Each output is one strided copy.
#include "backends/cpu/strided_copy.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int32_t axis, threads;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Split"})) return refusal;
  // The place of a part follows from the lengths of those before it.
  for (const Value* output : problem.node.outputs) {
    if (output == nullptr) return "an output that nobody uses";
  }
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  int64_t axis = prepare.step.attributes.get_int("axis", 0);
  prepare.state_as<State>() = {axis_from_front(axis, prepare.inputs[0].shape.rank()), prepare.threads};
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Operand& x = run.inputs[0];
  auto size = static_cast<int64_t>(dtype_size(x.dtype));
  Strides in = strides_of(x);
  int64_t position = 0;
  for (const Operand& y : run.outputs) {
    Strides out = strides_of(y);
    CopyAxes axes;
    for (int axis = 0; axis < y.shape.rank(); ++axis) axes.add(y.shape[axis], in[axis], out[axis]);
    run_copy(plan_copy(axes, size), x.data + position * in[state.axis] * size, y.data, run.pool, state.threads);
    position += y.shape[state.axis];
  }
  return {};
}

}  // namespace

extern const Kernel split_kernel = {.name = "split", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic split_tactic = {.kernel = "split", .supports = supports, .cost = cost};

}  // namespace hussar
