// pointwise: a fused elementwise chain on FP32 data, or bytes that stand for it, of any layout with any broadcasting.
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/pointwise/byte_program.h"
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
  // What bytes stand for.
  bool has_bytes;
  ProgramBytes input, operand;
  float output_scale;
  int32_t output_zero_point;
};

bool is_bytes(const Operand& operand) { return operand.dtype == DType::kUInt8; }
bool is_real_or_bytes(DType dtype) { return dtype == DType::kFloat32 || dtype == DType::kUInt8; }

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  if (node.op != "hussar.Pointwise") return "op";
  for (const Value* input : node.inputs) {
    if (input == nullptr || !is_real_or_bytes(input->dtype)) return "dtype";
    if (input->layout != problem.output()->layout && !input->is_constant()) return "mixed layouts";
  }
  return std::nullopt;
}

double cost(const Problem& problem) {
  double steps = problem.node.program ? problem.node.program->step_count : 1;
  // Of real numbers it is the memory that takes the time of a step.
  if (problem.output()->dtype == DType::kUInt8) steps -= 0.5;
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
    bool fits = is_real_or_bytes(operand.dtype) && operand.shape.rank() <= output.shape.rank();
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
  const Attributes& attributes = prepare.step.attributes;
  state.input.scale = attributes.get_float("x_scale", 1);
  state.input.zero_point = static_cast<int32_t>(attributes.get_int("x_zero_point", 0));
  state.operand.scale = attributes.get_float("operand_scale", 1);
  state.operand.zero_point = static_cast<int32_t>(attributes.get_int("operand_zero_point", 0));
  state.output_scale = attributes.get_float("y_scale", 1);
  state.output_zero_point = static_cast<int32_t>(attributes.get_int("y_zero_point", 0));
  state.has_bytes = is_bytes(output) || std::any_of(prepare.inputs.begin(), prepare.inputs.end(), is_bytes);
  int64_t total = output.shape.elements();
  state.shares = share_count(static_cast<double>(total) * prepare.step.program->step_count * 8, prepare.threads);
  return {};
}

// The elements from `offset` on; null where they are of the other kind.
const float* floats_at(const Operand& operand, int64_t offset) {
  return is_bytes(operand) ? nullptr : operand.f32() + offset;
}
ProgramBytes bytes_at(const Operand& operand, int64_t offset, ProgramBytes meaning) {
  meaning.data = is_bytes(operand) ? operand.as<const uint8_t>() + offset : nullptr;
  return meaning;
}

// A rectangle of the output, whose first elements lie at `offsets` of the tensors. The columns' strides are those of
// the innermost loop, or 0 where there is one column.
void run_block(const Run& run, const State& state, const int64_t* offsets, const int64_t* row_strides, bool one_column,
               ProgramBlock block) {
  const Program& program = *run.step.program;
  const Isa isa = usable_isa(run.isa);
  const auto first = static_cast<size_t>(run.step.program_inputs);
  const Operand& output = run.outputs[0];
  ByteForms forms;
  ProgramOperand operands[kProgramOperands];
  for (int i = 0; i < program.operand_count; ++i) {
    const int t = static_cast<int>(first) + i + 1;
    const Operand& operand = run.inputs[first + static_cast<size_t>(i)];
    operands[i] = {floats_at(operand, offsets[t]), row_strides[t], one_column ? 0 : state.strides[t][state.rank - 1]};
    forms.operands[i] = bytes_at(operand, offsets[t], state.operand);
  }
  if (is_bytes(output)) {
    forms.output = output.as<uint8_t>() + offsets[0];
    forms.output_scale = state.output_scale;
    forms.output_zero_point = state.output_zero_point;
  } else {
    block.output = output.f32_out() + offsets[0];
  }
  // Without an input nothing reads it.
  block.input = block.output;
  if (first > 0) {
    block.input = floats_at(run.inputs[0], offsets[1]);
    forms.input = bytes_at(run.inputs[0], offsets[1], state.input);
  }
  block.output_pitch = row_strides[0];
  block.input_pitch = row_strides[first > 0 ? 1 : 0];
  if (state.has_bytes) {
    select_byte_program_table(isa).run(program, operands, block, forms);
  } else {
    select_program_table(isa).run(program, operands, block);
  }
}

// Runs rows [begin, end) of the output, a row being the innermost loop.
void run_rows(const Run& run, const State& state, int64_t begin, int64_t end) {
  int inner = state.rank - 1;
  int64_t columns = state.dims[inner];
  int64_t rows = inner > 0 ? state.dims[inner - 1] : 1;
  int64_t row_strides[kTensors] = {};
  for (int t = 0; t < state.tensors && inner > 0; ++t) row_strides[t] = state.strides[t][inner - 1];
  for (int64_t row = begin; row < end;) {
    int64_t count = std::min(end - row, rows - row % rows);
    int64_t offsets[kTensors] = {};
    int64_t index = row;
    for (int axis = inner - 1; axis >= 0; --axis) {
      for (int t = 0; t < state.tensors; ++t) offsets[t] += index % state.dims[axis] * state.strides[t][axis];
      index /= state.dims[axis];
    }
    ProgramBlock block{};
    block.rows = count;
    block.columns = columns;
    run_block(run, state, offsets, row_strides, columns == 1, block);
    row += count;
  }
}

// One long row (everything collapsed) is cut along its columns.
void run_columns(const Run& run, const State& state, int64_t begin, int64_t end) {
  int64_t offsets[kTensors] = {begin, begin};
  const int64_t row_strides[kTensors] = {};
  // Operands count from the block's column on.
  if (run.step.program_inputs == 0) offsets[1] = 0;
  ProgramBlock block{};
  block.column = begin;
  block.rows = 1;
  block.columns = end - begin;
  run_block(run, state, offsets, row_strides, false, block);
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
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
      run_columns(run, state, begin, end);
    else
      run_rows(run, state, begin, end);
  });
  return {};
}

}  // namespace

extern const Kernel pointwise_kernel = {
    .name = "pointwise", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic pointwise_tactic = {.kernel = "pointwise", .supports = supports, .cost = cost};

}  // namespace hussar
