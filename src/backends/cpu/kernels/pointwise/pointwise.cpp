// pointwise: a fused elementwise chain on FP32 data of any layout with any broadcasting.
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/pointwise/program.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kTensors = kProgramOperands + 2;  // output, register 0, operands

// The output as nested loops in memory order; the innermost has stride 1 in the output.
struct State {
  int rank;
  int tensors;
  int64_t dims[kMaxRank];
  int64_t strides[kTensors][kMaxRank];  // per tensor: output, then the step's inputs
  int64_t rows_per_block;
  int shares;
};

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  if (node.op != "hussar.Pointwise") return "op";
  for (const Value* input : node.inputs) {
    if (input == nullptr || input->dtype != DType::kFloat32) return "dtype";
    if (input->layout != problem.output()->layout && !input->is_constant()) return "mixed layouts";
  }
  return std::nullopt;
}

double cost(const Problem& problem) {
  double steps = problem.node.program ? problem.node.program->step_count : 1;
  return 1 + Problem::elements(problem.output()) * (steps + 1) / 8e3 / problem.target.threads;
}

// Logical axes in the order of memory, outermost first.
void memory_order(const Operand& output, int* order) {
  int rank = output.shape.rank();
  for (int axis = 0; axis < rank; ++axis) order[axis] = axis;
  if (output.layout != Layout::kChannelsLast || rank < 3) return;
  for (int axis = 1; axis + 1 < rank; ++axis) order[axis] = axis + 1;
  order[rank - 1] = 1;
}

// Strides of `operand` over the output's logical axes, 0 where it is broadcast.
void logical_strides(const Operand& operand, const Operand& output, int64_t* strides) {
  int rank = output.shape.rank(), own = operand.shape.rank();
  int shift = rank - own;
  int64_t mine[kMaxRank];
  if (operand.layout == Layout::kChannelsLast && own >= 3) {
    int64_t stride = operand.pitch;
    for (int axis = own - 1; axis >= 2; --axis) {
      mine[axis] = stride;
      stride *= operand.shape[axis];
    }
    mine[1] = 1;
    mine[0] = stride;
  } else {
    int64_t stride = 1;
    for (int axis = own - 1; axis >= 0; --axis) {
      mine[axis] = stride;
      stride *= operand.shape[axis];
    }
  }
  for (int axis = 0; axis < rank; ++axis) {
    bool broadcast = axis < shift || operand.shape[axis - shift] == 1;
    strides[axis] = broadcast ? 0 : mine[axis - shift];
  }
}

void collapse(State& state) {
  // Neighbouring loops that every tensor walks with one stride become one loop.
  int kept = 0;
  for (int axis = 1; axis < state.rank; ++axis) {
    bool joins = true;
    for (int t = 0; t < state.tensors; ++t) {
      joins = joins && state.strides[t][kept] == state.strides[t][axis] * state.dims[axis];
    }
    if (joins || state.dims[kept] == 1) {
      state.dims[kept] *= state.dims[axis];
      for (int t = 0; t < state.tensors; ++t) state.strides[t][kept] = state.strides[t][axis];
    } else if (state.dims[axis] != 1) {
      ++kept;
      state.dims[kept] = state.dims[axis];
      for (int t = 0; t < state.tensors; ++t) state.strides[t][kept] = state.strides[t][axis];
    }
  }
  state.rank = kept + 1;
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  const Operand& output = prepare.outputs[0];
  HUSSAR_CHECK(prepare.step.program.has_value() && prepare.inputs.size() + 1 <= kTensors, ErrorCode::kPlanIncompatible,
               "step '{}' has no program", prepare.step.name);
  state.tensors = static_cast<int>(prepare.inputs.size()) + 1;
  state.rank = std::max(output.shape.rank(), 1);
  int order[kMaxRank] = {};
  memory_order(output, order);
  for (int t = 0; t < state.tensors; ++t) {
    const Operand& operand = t == 0 ? output : prepare.inputs[static_cast<size_t>(t - 1)];
    int64_t strides[kMaxRank] = {};
    bool fits = operand.dtype == DType::kFloat32 && operand.shape.rank() <= output.shape.rank();
    int shift = output.shape.rank() - operand.shape.rank();
    for (int axis = 0; fits && axis < operand.shape.rank(); ++axis) {
      fits = operand.shape[axis] == 1 || operand.shape[axis] == output.shape[axis + shift];
    }
    HUSSAR_CHECK(fits, ErrorCode::kUsage, "step '{}': an operand of shape {} cannot be broadcast to {}",
                 prepare.step.name, operand.shape.to_string(), output.shape.to_string());
    logical_strides(operand, output, strides);
    for (int axis = 0; axis < output.shape.rank(); ++axis) state.strides[t][axis] = strides[order[axis]];
  }
  for (int axis = 0; axis < output.shape.rank(); ++axis) state.dims[axis] = output.shape[order[axis]];
  if (output.shape.rank() == 0) state.dims[0] = 1;
  collapse(state);
  // The block's columns are contiguous in every tensor or constant along the row.
  for (int t = 0; t < state.tensors; ++t) {
    int64_t inner = state.strides[t][state.rank - 1];
    HUSSAR_CHECK(inner == 0 || inner == 1 || state.dims[state.rank - 1] == 1, ErrorCode::kUsage,
                 "step '{}': an operand is strided along the rows", prepare.step.name);
  }
  int64_t total = output.shape.elements();
  state.shares = share_count(static_cast<double>(total) * prepare.step.program->step_count * 8, prepare.threads);
  return {};
}

// Runs rows [begin, end) of the output, a row being the innermost loop.
void run_rows(const Run& run, const State& state, const ProgramTable& table, int64_t begin, int64_t end) {
  const Program& program = *run.step.program;
  int inner = state.rank - 1;
  int64_t columns = state.dims[inner];
  int64_t rows = inner > 0 ? state.dims[inner - 1] : 1;
  auto first = static_cast<size_t>(run.step.program_inputs);
  for (int64_t row = begin; row < end;) {
    int64_t count = std::min(end - row, rows - row % rows);
    int64_t offsets[kTensors] = {};
    int64_t index = row;
    for (int axis = inner - 1; axis >= 0; --axis) {
      for (int t = 0; t < state.tensors; ++t) offsets[t] += index % state.dims[axis] * state.strides[t][axis];
      index /= state.dims[axis];
    }
    auto row_stride = [&](int t) { return inner > 0 ? state.strides[t][inner - 1] : 0; };
    ProgramOperand operands[kProgramOperands];
    for (int i = 0; i < program.operand_count; ++i) {
      int t = static_cast<int>(first) + i + 1;
      operands[i] = {run.inputs[first + static_cast<size_t>(i)].f32() + offsets[t], row_stride(t),
                     columns == 1 ? 0 : state.strides[t][inner]};
    }
    float* output = run.outputs[0].f32_out() + offsets[0];
    const float* input = first > 0 ? run.inputs[0].f32() + offsets[1] : output;
    ProgramBlock block{input, output, first > 0 ? row_stride(1) : row_stride(0), row_stride(0), 0, 0, count, columns};
    table.run(program, operands, block);
    row += count;
  }
}

// One long row (everything collapsed) is cut along its columns.
void run_columns(const Run& run, const State& state, const ProgramTable& table, int64_t begin, int64_t end) {
  const Program& program = *run.step.program;
  auto first = static_cast<size_t>(run.step.program_inputs);
  ProgramOperand operands[kProgramOperands];
  for (int i = 0; i < program.operand_count; ++i) {
    int t = static_cast<int>(first) + i + 1;
    operands[i] = {run.inputs[first + static_cast<size_t>(i)].f32(), 0, state.strides[t][0]};
  }
  float* output = run.outputs[0].f32_out() + begin;
  const float* input = first > 0 ? run.inputs[0].f32() + begin : output;
  table.run(program, operands, {input, output, 0, 0, 0, begin, 1, end - begin});
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  const ProgramTable& table = select_program_table(usable_isa(run.isa));
  bool one_row = state.rank == 1;
  int64_t total = 1;
  for (int axis = 0; axis < state.rank - (one_row ? 0 : 1); ++axis) total *= state.dims[axis];
  run.pool.run(state.shares, [&](int share) {
    int64_t begin = total * share / state.shares, end = total * (share + 1) / state.shares;
    if (one_row && state.shares > 1) {
      // Cache-line boundaries, so that two threads never write one line.
      begin = begin / 16 * 16;
      end = share + 1 == state.shares ? total : end / 16 * 16;
    }
    if (begin >= end) return;
    if (one_row)
      run_columns(run, state, table, begin, end);
    else
      run_rows(run, state, table, begin, end);
  });
  return {};
}

}  // namespace

extern const Kernel pointwise_kernel = {
    .name = "pointwise", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic pointwise_tactic = {.kernel = "pointwise", .supports = supports, .cost = cost};

}  // namespace hussar
