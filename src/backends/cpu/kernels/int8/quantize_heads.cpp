// quantize_heads: hussar.QuantizeHeads, the operands of attention on bytes by the largest magnitudes of the run.
#include <algorithm>
#include <cmath>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/head_bytes.h"
#include "base/error.h"
#include "tensor/head_scales.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  HeadColumns columns[3];
  int64_t rows[3], pitch[3];
  int64_t places[3];  // in the scratch, in floats: the magnitudes of every share, then scales, then reciprocals
  int32_t shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.QuantizeHeads"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  for (const Value* output : problem.node.outputs) {
    if (output == nullptr) return "an output is not taken";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 1.5); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  double elements = 0;
  int64_t rows = 0;
  for (size_t i = 0; i < 3; ++i) {
    const Shape& x = prepare.inputs[i].shape;
    state.columns[i] = head_columns(prepare.step.attributes, i);
    state.pitch[i] = x[2];
    state.rows[i] = x[0] * x[1];
    HUSSAR_CHECK(state.columns[i].offset + state.columns[i].count() <= x[2], ErrorCode::kPlanIncompatible,
                 "step '{}': {} has too few columns", prepare.step.name, x.to_string());
    elements += static_cast<double>(prepare.outputs[i].shape.elements());
    rows = std::max(rows, state.rows[i]);
  }
  state.shares = share_count(elements * 9 / kBytesPerMicrosecond, prepare.threads, rows);
  int64_t floats = 0;
  for (size_t i = 0; i < 3; ++i) {
    state.places[i] = floats;
    floats += state.columns[i].count() * (state.shares + 2);
  }
  prepare.scratch_bytes = static_cast<size_t>(floats) * sizeof(float);
  return {};
}

// What a share has of an operand.
ColumnsOfRows part_of(const Run& run, const State& state, size_t i, Range range) {
  return {run.inputs[i].f32() + range.begin * state.pitch[i] + state.columns[i].offset, range.end - range.begin,
          state.pitch[i], state.columns[i].count()};
}

// From the magnitudes of all shares to the output, and to scales and reciprocals per column.
void find_scales(const Run& run, const State& state, size_t i, float* places) {
  const HeadColumns& columns = state.columns[i];
  const int64_t count = columns.count();
  float* const scales = places + state.shares * count;
  for (int64_t group = 0; group < columns.scales(); ++group) {
    float most = 0;
    for (int64_t share = 0; share < state.shares; ++share) {
      const float* const magnitudes = places + share * count + group * columns.group;
      most = std::max(most, *std::max_element(magnitudes, magnitudes + columns.group));
    }
    const float scale = head_scale(most);
    run.outputs[i + 3].f32_out()[group] = scale;
    const bool is_number = !std::isnan(scale);
    std::fill_n(scales + group * columns.group, columns.group, is_number ? scale : 1);
    std::fill_n(scales + count + group * columns.group, columns.group, is_number ? 1 / scale : 0);
  }
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const HeadBytesTable& table = select_head_bytes_table(usable_isa(run.isa));
  auto* const floats = reinterpret_cast<float*>(run.scratch);
  run.pool.run(state.shares, [&](int index) {
    for (size_t i = 0; i < 3; ++i) {
      table.largest(part_of(run, state, i, range_of(state.rows[i], {index, state.shares})),
                    floats + state.places[i] + index * state.columns[i].count());
    }
  });
  for (size_t i = 0; i < 3; ++i) find_scales(run, state, i, floats + state.places[i]);
  run.pool.run(state.shares, [&](int index) {
    for (size_t i = 0; i < 3; ++i) {
      const Range range = range_of(state.rows[i], {index, state.shares});
      const int64_t count = state.columns[i].count();
      const float* const scales = floats + state.places[i] + state.shares * count;
      table.quantize(part_of(run, state, i, range), scales, scales + count,
                     run.outputs[i].as<uint8_t>() + range.begin * count);
    }
  });
  return {};
}

}  // namespace

extern const Kernel quantize_heads_kernel = {
    .name = "quantize_heads", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic quantize_heads_tactic = {.kernel = "quantize_heads", .supports = supports, .cost = cost};

}  // namespace hussar
