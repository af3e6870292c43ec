// arg_extreme: ArgMax and ArgMin in FP32, along any axis of plain tensors and along the channels of channels-last ones.
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/reduce/reduce.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t outer, length, inner;
  int64_t input_pitch, output_pitch;  // from row to row when inner is 1
  int32_t shares;
  bool is_max, last;
};

constexpr int64_t kColumns = 64;  // handled together when inner is not 1

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"ArgMax", "ArgMin"})) return refusal;
  if (problem.dtype(0) != DType::kFloat32) return "dtype";
  int rank = problem.input(0)->rank();
  if (rank < 1) return "rank";
  if (all_have_layout(problem, Layout::kPlain)) return std::nullopt;
  bool is_channel = axis_from_front(problem.node.attributes.get_int("axis", 0), rank) == 1;
  return problem.input(0)->layout == Layout::kChannelsLast && is_channel ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) { return memory_cost(problem, 4); }

Status prepare(Prepare& prepare) {
  const Attributes& attributes = prepare.step.attributes;
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  int axis = axis_from_front(attributes.get_int("axis", 0), x.shape.rank());
  AxisBlock block = block_around(x.shape, axis, axis + 1);
  State state{block.outer,
              block.length,
              block.inner,
              block.length,
              1,
              1,
              prepare.step.op == "ArgMax",
              attributes.get_int("select_last_index", 0) != 0};
  if (x.layout == Layout::kChannelsLast) {
    state.outer *= state.inner;
    state.inner = 1;
    state.input_pitch = x.pitch;
    if (y.layout == Layout::kChannelsLast) state.output_pitch = y.pitch;
  }
  if (y.shape.elements() == 0) state.outer = 0;
  int64_t units = state.outer * (state.inner == 1 ? 1 : (state.inner + kColumns - 1) / kColumns);
  state.shares = share_count(1e-3 * static_cast<double>(x.shape.elements()), prepare.threads, units);
  prepare.state_as<State>() = state;
  return {};
}

bool is_better(const State& state, float candidate, float champion) {
  return (state.is_max ? candidate > champion : candidate < champion) || (state.last && candidate == champion);
}

int64_t best_of_row(const State& state, const ReduceTable& table, const float* x) {
  auto kind = static_cast<int>(state.is_max ? ReduceKind::kMax : ReduceKind::kMin);
  float best = table.row[kind](x, state.length);
  if (best != best) {
    // A NaN loses against its successors only as the first element, where nothing beats it.
    int64_t champion = 0;
    for (int64_t i = 1; i < state.length; ++i) champion = is_better(state, x[i], x[champion]) ? i : champion;
    return champion;
  }
  int64_t at = state.last ? state.length - 1 : 0, step = state.last ? -1 : 1;
  while (x[at] != best) at += step;
  return at;
}

// The columns [begin, begin + count) of [length][inner].
void best_of_columns(const State& state, const float* x, int64_t* y, int64_t count) {
  float champions[kColumns];
  std::copy(x, x + count, champions);
  std::fill(y, y + count, 0);
  for (int64_t i = 1; i < state.length; ++i) {
    const float* row = x + i * state.inner;
    for (int64_t c = 0; c < count; ++c) {
      bool better = is_better(state, row[c], champions[c]);
      champions[c] = better ? row[c] : champions[c];
      y[c] = better ? i : y[c];
    }
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const ReduceTable& table = select_reduce_table(active_isa());
  const float* x = run.inputs[0].f32();
  auto* y = run.outputs[0].as<int64_t>();
  int64_t pieces = state.inner == 1 ? 1 : (state.inner + kColumns - 1) / kColumns;
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.outer * pieces, {index, state.shares});
    for (int64_t unit = range.begin; unit < range.end; ++unit) {
      if (state.inner == 1) {
        y[unit * state.output_pitch] = best_of_row(state, table, x + unit * state.input_pitch);
        continue;
      }
      int64_t outer = unit / pieces, first = unit % pieces * kColumns;
      best_of_columns(state, x + outer * state.length * state.inner + first, y + outer * state.inner + first,
                      std::min(kColumns, state.inner - first));
    }
  });
  return {};
}

}  // namespace

extern const Kernel arg_extreme_kernel = {
    .name = "arg_extreme", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic arg_extreme_tactic = {.kernel = "arg_extreme", .supports = supports, .cost = cost};

}  // namespace hussar
