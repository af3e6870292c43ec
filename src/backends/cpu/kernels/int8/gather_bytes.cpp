// gather_bytes: rows of a table of bytes, as real numbers.
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/conversion.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int32_t kZeroPoint = 128;

struct State {
  int64_t rows, columns, indices;
  int32_t shares;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.GatherBytes"})) return refusal;
  return all_have_layout(problem, Layout::kPlain) ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) { return 0.5 + bytes_of(problem.output()) / (8e3 * problem.target.threads); }

Status prepare(Prepare& prepare) {
  const Shape& table = prepare.inputs[0].shape;
  State state{table[0], table[1], prepare.inputs[2].shape.elements(), 1};
  const double bytes = 5.0 * static_cast<double>(state.indices * state.columns);
  state.shares = share_count(bytes / kBytesPerMicrosecond, prepare.threads, state.indices);
  prepare.state_as<State>() = state;
  return {};
}

int64_t index_at(const Run& run, int64_t i) {
  const Operand& indices = run.inputs[2];
  return indices.dtype == DType::kInt64 ? indices.as<const int64_t>()[i] : indices.as<const int32_t>()[i];
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  for (int64_t i = 0; i < state.indices; ++i) {
    const int64_t index = index_at(run, i);
    HUSSAR_CHECK(index >= -state.rows && index < state.rows, ErrorCode::kRunFailed,
                 "step '{}' (Gather): index {} is out of range for {} elements", run.step.name, index, state.rows);
  }
  const auto dequantize = select_conversion_table(usable_isa(run.isa)).dequantize;
  run.pool.run(state.shares, [&](int share) {
    const Range range = range_of(state.indices, {share, state.shares});
    for (int64_t i = range.begin; i < range.end; ++i) {
      const int64_t index = index_at(run, i), row = index < 0 ? index + state.rows : index;
      dequantize(run.inputs[0].as<const uint8_t>() + row * state.columns, run.outputs[0].f32_out() + i * state.columns,
                 state.columns, run.inputs[1].f32()[row], kZeroPoint, 0);
    }
  });
  return {};
}

}  // namespace

extern const Kernel gather_bytes_kernel = {
    .name = "gather_bytes", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic gather_bytes_tactic = {.kernel = "gather_bytes", .supports = supports, .cost = cost};

}  // namespace hussar
