// dynamic_quantize: DynamicQuantizeLinear and hussar.DynamicFakeQuantize, in any layout without gaps. The range first,
// then the bytes.
#include <cmath>

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/conversion.h"
#include "backends/cpu/kernels/reduce/reduce.h"
#include "base/error.h"
#include "tensor/dynamic_quantize.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t total;
  int32_t shares;
  bool to_bytes;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"DynamicQuantizeLinear", "hussar.DynamicFakeQuantize"})) return refusal;
  if (problem.dtype(0) != DType::kFloat32) return "dtype";
  if (problem.output() == nullptr) return "output 0 is not taken";
  if (problem.input(0)->layout != problem.output()->layout) return "mixed layouts";
  if (problem.input(0)->slice_of != nullptr || problem.output()->slice_of != nullptr) return "a slice";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 1.5); }

bool has_gaps(const Operand& operand) {
  return operand.layout == Layout::kChannelsLast && operand.pitch != operand.shape[1];
}

Status prepare(Prepare& prepare) {
  HUSSAR_CHECK(!has_gaps(prepare.inputs[0]) && !has_gaps(prepare.outputs[0]), ErrorCode::kPlanIncompatible,
               "step '{}': a slice of another tensor", prepare.step.name);
  State state{};
  state.total = prepare.inputs[0].shape.elements();
  state.to_bytes = prepare.step.op == "DynamicQuantizeLinear";
  state.shares = share_count(static_cast<double>(state.total) * 5 / kBytesPerMicrosecond, prepare.threads, state.total);
  prepare.scratch_bytes = static_cast<size_t>(state.shares) * 2 * sizeof(float);
  prepare.state_as<State>() = state;
  return {};
}

// Bytes and back, a piece at a time.
void fake_quantize(const ConversionTable& table, const float* x, float* y, int64_t count, const QuantParams& params) {
  constexpr int64_t kPiece = 1024;
  uint8_t bytes[kPiece];
  for (int64_t i = 0; i < count; i += kPiece) {
    const int64_t part = std::min(kPiece, count - i);
    table.quantize(x + i, bytes, part, params.scale, params.zero_point, 0);
    table.dequantize(bytes, y + i, part, params.scale, params.zero_point, 0);
  }
}

QuantParams params_of(const Run& run, const State& state, Isa isa) {
  const ReduceTable& table = select_reduce_table(isa);
  auto* const ends = reinterpret_cast<float*>(run.scratch);
  const float* const x = run.inputs[0].f32();
  run.pool.run(state.shares, [&](int index) {
    const Range range = range_of(state.total, {index, state.shares});
    const int64_t count = range.end - range.begin;
    ends[2 * index] = table.row[static_cast<int>(ReduceKind::kMin)](x + range.begin, count);
    ends[2 * index + 1] = table.row[static_cast<int>(ReduceKind::kMax)](x + range.begin, count);
  });
  float lowest = 0, highest = 0;
  for (int i = 0; i < state.shares; ++i) {
    lowest = std::min(lowest, ends[2 * i]);
    highest = std::max(highest, ends[2 * i + 1]);
  }
  return dynamic_params(lowest, highest);
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Isa isa = usable_isa(run.isa);
  const ConversionTable& table = select_conversion_table(isa);
  const QuantParams params = params_of(run, state, isa);
  run.pool.run(state.shares, [&](int index) {
    const Range range = range_of(state.total, {index, state.shares});
    const float* const x = run.inputs[0].f32() + range.begin;
    const int64_t count = range.end - range.begin;
    if (state.to_bytes) {
      table.quantize(x, run.outputs[0].as<uint8_t>() + range.begin, count, params.scale, params.zero_point, 0);
    } else {
      fake_quantize(table, x, run.outputs[0].f32_out() + range.begin, count, params);
    }
  });
  if (!state.to_bytes) return {};
  if (run.outputs.size() > 1 && run.outputs[1].present()) *run.outputs[1].f32_out() = params.scale;
  if (run.outputs.size() > 2 && run.outputs[2].present())
    *run.outputs[2].as<uint8_t>() = static_cast<uint8_t>(params.zero_point);
  return {};
}

}  // namespace

extern const Kernel dynamic_quantize_kernel = {
    .name = "dynamic_quantize", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic dynamic_quantize_tactic = {.kernel = "dynamic_quantize", .supports = supports, .cost = cost};

}  // namespace hussar
