// Matching fused programs to the fast path of the tiles: bias, residual, clamp.
#include "backends/cpu/epilogue.h"

#include <algorithm>

#include "base/error.h"
#include "tensor/broadcast.h"

namespace hussar::cpu {
namespace {

// Steps that work on register 0 only can be peeled off the front.
bool is_plain(const ProgramStep& step) { return step.dst == 0 && step.a == 0; }

bool narrow(const ProgramStep& step, EpilogueState& state) {
  float low = -INFINITY, high = INFINITY;
  bool constant = step.source == ProgramSource::kConstant;
  if (step.op == ProgramOp::kRelu)
    low = 0;
  else if (step.op == ProgramOp::kClip)
    low = step.p0, high = step.p1;
  else if (step.op == ProgramOp::kMax && constant)
    low = step.p0;
  else if (step.op == ProgramOp::kMin && constant)
    high = step.p0;
  else
    return false;
  // Clamps compose: min(max(x, a), b) then [low, high].
  state.low = std::min(std::max(state.low, low), high);
  state.high = std::min(std::max(state.high, low), high);
  return true;
}

bool is_at(const Program& program, int position, ProgramOp op) {
  return position < program.step_count && is_plain(program.steps[position]) && program.steps[position].op == op;
}

// A hard-swish and what is multiplied with and added to it; the position behind them.
int take_hard_swish(const Program& program, int next, EpilogueState& state) {
  auto is_constant_at = [&](int position, ProgramOp op) {
    return is_at(program, position, op) && program.steps[position].source == ProgramSource::kConstant;
  };
  if (!is_at(program, next, ProgramOp::kHardSwish)) return next;
  state.hard_swish = true;
  ++next;
  if (is_constant_at(next, ProgramOp::kMul)) state.scale = program.steps[next++].p0;
  if (is_constant_at(next, ProgramOp::kAdd)) state.shift = program.steps[next++].p0;
  return next;
}

// One number per column that is multiplied, and behind a hard-swish another one that is added then.
int take_factors(const Prepare& prepare, const Cover* covers, int next, EpilogueState& state) {
  const PlanStep& step = prepare.step;
  const Program& program = *step.program;
  auto operand_at = [&](int position, ProgramOp op) -> int32_t {
    if (!is_at(program, position, op) || program.steps[position].source != ProgramSource::kOperand) return -1;
    const uint8_t operand = program.steps[position].b;
    const int32_t input = step.program_inputs + operand;
    const bool is_float = prepare.inputs[static_cast<size_t>(input)].dtype == DType::kFloat32;
    return is_float && covers[operand] == Cover::kColumn ? input : -1;
  };
  if (state.scale != 1 || state.shift != 0) return next;
  state.scales = operand_at(next, ProgramOp::kMul);
  if (state.scales >= 0) ++next;
  if (state.scales >= 0 && state.hard_swish) state.shifts = operand_at(next, ProgramOp::kAdd);
  return state.shifts >= 0 ? next + 1 : next;
}

}  // namespace

bool fit_product(const Operand& x, const Operand& y, DType weights) {
  const bool quantized = weights == DType::kInt8;
  return x.dtype == (quantized ? DType::kUInt8 : DType::kFloat32) &&
         (y.dtype == DType::kFloat32 || (quantized && y.dtype == DType::kUInt8));
}

Status prepare_epilogue(const Prepare& prepare, int32_t bias_input, EpilogueState& state, bool knows_hard_swish,
                        bool knows_bytes) {
  state = EpilogueState{};
  state.bias = bias_input;
  const PlanStep& step = prepare.step;
  if (!step.program) return {};
  const Program& program = *step.program;
  const Operand& output = prepare.outputs[0];
  Cover covers[kProgramOperands];
  for (int i = 0; i < program.operand_count; ++i) {
    const Operand& operand = prepare.inputs[static_cast<size_t>(step.program_inputs + i)];
    covers[i] = fitting_cover<int64_t>(output.shape.dims(), output.layout, operand.shape.dims(), operand.layout);
    const bool bytes = knows_bytes && operand.dtype == DType::kUInt8;
    HUSSAR_CHECK(covers[i] != Cover::kOther && (bytes || operand.dtype == DType::kFloat32), ErrorCode::kUsage,
                 "step '{}': fused operand {} of shape {} does not fit the output {}", step.name, i,
                 operand.shape.to_string(), output.shape.to_string());
    int64_t columns = output.shape.rank() == 0 ? 1 : output.shape[output.shape.rank() - 1];
    int64_t pitch = output.layout == Layout::kChannelsLast ? operand.pitch : columns;
    state.row_strides[i] = covers[i] == Cover::kFull ? pitch : covers[i] == Cover::kRow ? 1 : 0;
    state.column_strides[i] = covers[i] == Cover::kFull || covers[i] == Cover::kColumn ? 1 : 0;
  }
  int next = 0;
  auto added = [&](Cover wanted) -> int32_t {
    if (next >= program.step_count) return -1;
    const ProgramStep& entry = program.steps[next];
    bool ok = entry.op == ProgramOp::kAdd && is_plain(entry) && entry.source == ProgramSource::kOperand &&
              covers[entry.b] == wanted;
    // Kernels add bytes as a residual only.
    if (!ok || (wanted == Cover::kColumn &&
                prepare.inputs[static_cast<size_t>(step.program_inputs + entry.b)].dtype != DType::kFloat32)) {
      return -1;
    }
    ++next;
    return step.program_inputs + entry.b;
  };
  if (state.bias < 0) state.bias = added(Cover::kColumn);
  state.residual = added(Cover::kFull);
  while (next < program.step_count && is_plain(program.steps[next]) && narrow(program.steps[next], state)) ++next;
  if (knows_hard_swish) next = take_hard_swish(program, next, state);
  if (knows_bytes) next = take_factors(prepare, covers, next, state);
  if (next < program.step_count) {
    state.bias = bias_input;
    state.hard_swish = false;
    state.residual = state.scales = state.shifts = -1;
    state.low = -INFINITY;
    state.high = INFINITY;
    state.runs_program = true;
  }
  return {};
}

Epilogue make_epilogue(const Run& run, const EpilogueState& state, ProgramOperand* operands) {
  Epilogue epilogue;
  if (state.bias >= 0) epilogue.bias = run.inputs[static_cast<size_t>(state.bias)].f32();
  if (state.residual >= 0) {
    const Operand& residual = run.inputs[static_cast<size_t>(state.residual)];
    if (residual.dtype == DType::kFloat32) epilogue.residual = residual.f32();
    epilogue.residual_pitch = state.row_strides[state.residual - run.step.program_inputs];
  }
  epilogue.low = state.low;
  epilogue.high = state.high;
  epilogue.hard_swish = state.hard_swish;
  epilogue.scale = state.scale;
  epilogue.shift = state.shift;
  if (state.scales >= 0) epilogue.scales = run.inputs[static_cast<size_t>(state.scales)].f32();
  if (state.shifts >= 0) epilogue.shifts = run.inputs[static_cast<size_t>(state.shifts)].f32();
  if (!state.runs_program) return epilogue;
  epilogue.program = &*run.step.program;
  epilogue.operands = operands;
  for (int i = 0; i < run.step.program->operand_count; ++i) {
    const Operand& operand = run.inputs[static_cast<size_t>(run.step.program_inputs + i)];
    const float* data = operand.dtype == DType::kUInt8 ? nullptr : operand.f32();
    operands[i] = {data, state.row_strides[i], state.column_strides[i]};
  }
  return epilogue;
}

Refusal check_epilogue(const Problem& problem, bool knows_bytes) {
  const Node& node = problem.node;
  if (!node.program) return std::nullopt;
  const Value& output = *problem.output();
  if (!output.dims) return "fused work on an unknown shape";
  for (size_t i = problem.own_inputs(); i < node.inputs.size(); ++i) {
    const Value* operand = node.inputs[i];
    if (operand == nullptr || !operand->dims) return "fused operand";
    const bool bytes = knows_bytes && operand->dtype == DType::kUInt8;
    if (!bytes && operand->dtype != DType::kFloat32) return "fused operand";
    const Cover found = fitting_cover<Dim>(*output.dims, output.layout, *operand->dims, operand->layout);
    if (found == Cover::kOther) return "fused operand in another layout, or of general broadcasting";
  }
  return std::nullopt;
}

int share_count(double flops, int threads) {
  // A parallel region costs a few microseconds; below about twenty of work one thread is as fast.
  constexpr double kWorthSharing = 2.5e5;
  return flops < kWorthSharing ? 1 : threads;
}

}  // namespace hussar::cpu
