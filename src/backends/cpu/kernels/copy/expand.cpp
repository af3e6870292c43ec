// expand: Expand and Tile of any dtype, plain: one strided copy in which repeated axes do not move in the input.
#include "backends/cpu/strided_copy.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  StridedCopy plan;
  int32_t threads;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Expand", "Tile"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  Strides in = strides_of(x), out = strides_of(y);
  CopyAxes axes;
  int shift = y.shape.rank() - x.shape.rank();
  for (int axis = 0; axis < y.shape.rank(); ++axis) {
    int64_t wanted = y.shape[axis];
    int64_t have = axis < shift ? 1 : x.shape[axis - shift];
    // An empty output has nothing to divide.
    int64_t repeats = have > 0 ? wanted / have : 0;
    axes.add(repeats, 0, have * out[axis]);
    axes.add(have, axis < shift ? 0 : in[axis - shift], out[axis]);
  }
  prepare.state_as<State>() = {plan_copy(axes, static_cast<int64_t>(dtype_size(x.dtype))), prepare.threads};
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  run_copy(state.plan, run.inputs[0].data, run.outputs[0].data, run.pool, state.threads);
  return {};
}

}  // namespace

extern const Kernel expand_kernel = {.name = "expand", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic expand_tactic = {.kernel = "expand", .supports = supports, .cost = cost};

}  // namespace hussar
