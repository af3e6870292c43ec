// concat: Concat of any dtype, in any layouts. Each input is one strided copy into its place.
#include "backends/cpu/strided_copy.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int32_t axis, threads;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Concat"})) return refusal;
  return dtype_size(problem.output()->dtype) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  int64_t axis = prepare.step.attributes.get_int("axis", 0);
  prepare.state_as<State>() = {axis_from_front(axis, prepare.outputs[0].shape.rank()), prepare.threads};
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Operand& y = run.outputs[0];
  auto size = static_cast<int64_t>(dtype_size(y.dtype));
  Strides out = strides_of(y);
  int64_t position = 0;
  for (const Operand& x : run.inputs) {
    Strides in = strides_of(x);
    CopyAxes axes;
    for (int axis = 0; axis < x.shape.rank(); ++axis) axes.add(x.shape[axis], in[axis], out[axis]);
    run_copy(plan_copy(axes, size), x.data, y.data + position * out[state.axis] * size, run.pool, state.threads);
    position += x.shape[state.axis];
  }
  return {};
}

}  // namespace

extern const Kernel concat_kernel = {.name = "concat", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic concat_tactic = {.kernel = "concat", .supports = supports, .cost = cost};

}  // namespace hussar
