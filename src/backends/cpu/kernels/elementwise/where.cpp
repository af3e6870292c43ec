// where: Where on elements of any size with broadcasting, plain tensors.
#include "backends/cpu/broadcast.h"
#include "backends/cpu/kernels/elementwise/elementwise.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  BroadcastPlan plan;
  int32_t size, shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Where"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  return dtype_size(problem.dtype(1)) == 0 ? Refusal("dtype") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  const Operand& y = prepare.outputs[0];
  State state{plan_broadcast(prepare.inputs, 3, y), static_cast<int32_t>(dtype_size(y.dtype)), 1};
  double bytes = static_cast<double>(y.shape.elements() * (3 * state.size + 1));
  state.shares = share_count(bytes / kBytesPerMicrosecond, prepare.threads, state.plan.units);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const ElementwiseTable& table = select_elementwise_table(usable_isa(run.isa));
  const auto* condition = run.inputs[0].as<uint8_t>();
  const BroadcastPlan& plan = state.plan;
  auto select = table.select[state.size == 1 ? 0 : state.size == 2 ? 1 : state.size == 4 ? 2 : 3];
  // One condition for a whole line: every element comes from the same side, which a condition of ones selects.
  static constexpr int64_t kOnes = 1024;
  static constexpr auto ones = [] {
    struct {
      uint8_t values[kOnes];
    } result{};
    for (uint8_t& value : result.values) value = 1;
    return result;
  }();
  run.pool.run(state.shares, [&](int index) {
    for_each_line(
        plan, range_of(plan.units, {index, state.shares}), [&](const int64_t* offsets, int64_t out, int64_t count) {
          std::byte* y = run.outputs[0].data + out * state.size;
          const std::byte* a = run.inputs[1].data + offsets[1] * state.size;
          const std::byte* b = run.inputs[2].data + offsets[2] * state.size;
          if (plan.moves[0]) {
            return select(condition + offsets[0], a, b, y, count, plan.moves[1], plan.moves[2]);
          }
          bool yes = condition[offsets[0]] != 0;
          const std::byte* side = yes ? a : b;
          bool moves = plan.moves[yes ? 1 : 2];
          for (int64_t first = 0; first < count; first += kOnes) {
            const std::byte* from = side + (moves ? first * state.size : 0);
            select(ones.values, from, from, y + first * state.size, std::min(kOnes, count - first), moves, moves);
          }
        });
  });
  return {};
}

}  // namespace

extern const Kernel where_kernel = {.name = "where", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic where_tactic = {.kernel = "where", .supports = supports, .cost = cost};

}  // namespace hussar
