// transpose: Transpose of any dtype, rank and layouts.
#include "backends/cpu/strided_copy.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  StridedCopy plan;
  int32_t threads;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Transpose"})) return refusal;
  return dtype_size(problem.dtype(0)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem, 2); }

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  int rank = x.shape.rank();
  Ints permutation = prepare.step.attributes.get_ints("perm");
  Strides in = strides_of(x), out = strides_of(y);
  CopyAxes axes;
  for (int axis = 0; axis < rank; ++axis) {
    int from = permutation.empty() ? rank - 1 - axis : static_cast<int>(permutation[static_cast<size_t>(axis)]);
    axes.add(y.shape[axis], in[from], out[axis]);
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

extern const Kernel transpose_kernel = {
    .name = "transpose", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic transpose_tactic = {.kernel = "transpose", .supports = supports, .cost = cost};

}  // namespace hussar
