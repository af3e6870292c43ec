// layer_norm: LayerNormalization and RMSNormalization in FP32 over the last axes.
#include "backends/cpu/kernels/norm/norm.h"

#include "backends/cpu/kernel_support.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t rows, length;
  float epsilon;
  int32_t shares;
  bool center;
  int8_t mean_output, deviation_output;  // which outputs these are; -1: none
};

constexpr std::string_view kLayer = "LayerNormalization";

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {kLayer, "RMSNormalization"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  for (size_t i = 0; i < problem.node.inputs.size(); ++i) {
    if (problem.input(i) != nullptr && problem.dtype(i) != DType::kFloat32) return "dtype";
  }
  for (const Value* output : problem.node.outputs) {
    if (output != nullptr && output->dtype != DType::kFloat32) return "dtype";
  }
  int rank = problem.input(0)->rank();
  if (rank < 1) return "rank";
  int axis = axis_from_front(problem.node.attributes.get_int("axis", -1), rank);
  const Dims normalized(problem.input(0)->dims->begin() + axis, problem.input(0)->dims->end());
  for (size_t i : {size_t{1}, size_t{2}}) {
    const Value* value = problem.input(i);
    if (value == nullptr) continue;
    if (!value->dims) return "rank of scale or bias";
    // Leading ones do not matter; anything else would be a broadcast within a row.
    Dims dims = *value->dims;
    while (dims.size() > normalized.size() && dims.front().is(1)) dims.erase(dims.begin());
    if (!(dims == normalized)) return "scale or bias of another shape than the rows";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.inputs[0].shape;
  const PlanStep& step = prepare.step;
  int axis = axis_from_front(step.attributes.get_int("axis", -1), shape.rank());
  State state{shape.elements(0, axis),
              shape.elements(axis, shape.rank()),
              step.attributes.get_float("epsilon", 1e-5f),
              1,
              step.op == kLayer,
              -1,
              -1};
  auto wanted = [&](size_t i) { return i < prepare.outputs.size() && prepare.outputs[i].present(); };
  if (wanted(1)) state.mean_output = 1;
  if (wanted(2)) state.deviation_output = 2;
  state.shares = share_count(5e-4 * static_cast<double>(shape.elements()), prepare.threads, state.rows);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  auto optional_input = [&](size_t i) {
    return i < run.inputs.size() && run.inputs[i].present() ? run.inputs[i].f32() : nullptr;
  };
  auto statistic = [&](int output) {
    return output < 0 ? nullptr : run.outputs[static_cast<size_t>(output)].f32_out();
  };
  NormRows all{run.inputs[0].f32(),
               run.outputs[0].f32_out(),
               state.length,
               state.length,
               state.rows,
               state.length,
               optional_input(1),
               optional_input(2),
               state.epsilon,
               state.center,
               statistic(state.mean_output),
               statistic(state.deviation_output)};
  const NormTable& table = select_norm_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.rows, {index, state.shares});
    NormRows part = all;
    part.input += range.begin * state.length;
    part.output += range.begin * state.length;
    part.rows = range.end - range.begin;
    if (part.mean != nullptr) part.mean += range.begin;
    if (part.inverse_deviation != nullptr) part.inverse_deviation += range.begin;
    table.rows(part);
  });
  return {};
}

}  // namespace

extern const Kernel layer_norm_kernel = {
    .name = "layer_norm", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic layer_norm_tactic = {.kernel = "layer_norm", .supports = supports, .cost = cost};

}  // namespace hussar
