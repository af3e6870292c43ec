// logical_not: Not on plain tensors of bool.
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/elementwise/elementwise.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t count;
  int32_t shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Not"})) return refusal;
  if (problem.dtype(0) != DType::kBool) return "dtype";
  return all_have_layout(problem, Layout::kPlain) ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  int64_t count = prepare.outputs[0].shape.elements();
  int shares = share_count(2.0 * static_cast<double>(count) / kBytesPerMicrosecond, prepare.threads, count);
  prepare.state_as<State>() = {count, shares};
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const ElementwiseTable& table = select_elementwise_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.count, {index, state.shares});
    table.logical_not(run.inputs[0].as<uint8_t>() + range.begin, run.outputs[0].as<uint8_t>() + range.begin,
                      range.end - range.begin);
  });
  return {};
}

}  // namespace

extern const Kernel logical_not_kernel = {
    .name = "logical_not", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic logical_not_tactic = {.kernel = "logical_not", .supports = supports, .cost = cost};

}  // namespace hussar
