// copy: operators that only move a tensor to other memory: hussar.Reformat between any layouts, and Identity, Reshape
// and their kin where the compiler could not make the output a view of the input. Any dtype.
#include "backends/cpu/strided_copy.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  StridedCopy plan;
  int32_t threads;
};

constexpr std::string_view kReformat = "hussar.Reformat";

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {kReformat, "Identity", "Reshape", "Flatten", "Squeeze", "Unsqueeze"})) {
    return refusal;
  }
  const Value* x = problem.input(0);
  const Value* y = problem.output();
  if (x->dtype != y->dtype || dtype_size(x->dtype) == 0) return "dtype";
  bool both = x->layout == Layout::kChannelsLast && y->layout == Layout::kChannelsLast;
  bool same_shape = problem.node.op == kReformat || problem.node.op == "Identity";
  if (!both || same_shape) return std::nullopt;
  bool same_channels =
      x->rank() >= 2 && y->rank() >= 2 && (*x->dims)[0] == (*y->dims)[0] && (*x->dims)[1] == (*y->dims)[1];
  return same_channels ? Refusal() : Refusal("both are channels-last and of different channels");
}

double cost(const Problem& problem) { return 0.5 + 2 * bytes_of(problem.output()) / (8e3 * problem.target.threads); }

Status prepare(Prepare& prepare) {
  Operand x = prepare.inputs[0];
  Operand y = prepare.outputs[0];
  // Both hold the same elements in the same logical order, so the plain one may be read under the other's shape.
  if (x.layout == Layout::kPlain) {
    x.shape = y.shape;
  } else if (y.layout == Layout::kPlain) {
    y.shape = x.shape;
  } else {
    // The same channels of the same pixels, whose shape does not matter.
    const bool fits = x.shape.rank() >= 2 && y.shape.rank() >= 2 && x.shape[0] == y.shape[0] &&
                      x.shape[1] == y.shape[1] && x.shape.elements() == y.shape.elements();
    HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': {} has not the channels of {}", prepare.step.name,
                 x.shape.to_string(), y.shape.to_string());
    x.shape = y.shape = {x.shape[0], x.shape[1], x.shape.elements(2, x.shape.rank())};
  }
  prepare.state_as<State>() = {plan_whole_copy(x, y), prepare.threads};
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  run_copy(state.plan, run.inputs[0].data, run.outputs[0].data, run.pool, state.threads);
  return {};
}

}  // namespace

extern const Kernel copy_kernel = {.name = "copy", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic copy_tactic = {.kernel = "copy", .supports = supports, .cost = cost};

}  // namespace hussar
