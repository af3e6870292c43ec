// matmul_integer: MatMulInteger and hussar.IntegerMatMul, products of matrices of bytes of which none needs to be
// constant. Zero points may come from the run. The right side is packed like the weights of other INT8 products.
#include <cmath>
#include <cstring>

#include "backends/cpu/int8_steps.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/kernels/int8/integer_operands.h"
#include "base/error.h"
#include "tensor/quant_params.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kMostBatchDims = kMaxRank - 2;
constexpr int64_t kMostColumns = int64_t{1} << 40;
constexpr int32_t kOwnInputs = 4;

struct State {
  Int8Args args;
  EpilogueState epilogue;
  // The program without the factor of its first step, which is that constant or one number of an input (-1: none).
  Program rest;
  bool has_rest;
  int32_t factor_input;
  int64_t m, n, k, batch;
  bool is_hollow;  // k is 0; the sums are those of one zero
  int batch_dims;
  int64_t batch_shape[kMostBatchDims], a_steps[kMostBatchDims], b_steps[kMostBatchDims];  // in matrices
  int64_t a_matrices, b_matrices;
  int shares;
  int64_t scratch_per_share, panels_at, left_at, corrections_at;
};

bool is_byte(DType dtype) { return dtype == DType::kUInt8 || dtype == DType::kInt8; }
uint8_t flip_of(DType dtype, DType wanted) { return dtype == wanted ? 0 : 0x80; }

Refusal supports(const Problem& problem) {
  const bool is_sum = problem.node.op == "MatMulInteger";
  if (!is_sum && problem.node.op != "hussar.IntegerMatMul") return "op";
  if (problem.node.program && (is_sum || problem.own_inputs() != kOwnInputs)) return "fused program";
  for (size_t i : {0, 1}) {
    const Value* value = problem.input(i);
    if (!is_byte(value->dtype)) return "dtype";
    if (value->layout != Layout::kPlain) return "layout is not plain";
    if (value->rank() < 1) return "unknown rank";
    const Value* zero = problem.own_inputs() > i + 2 ? problem.input(i + 2) : nullptr;
    if (zero == nullptr) continue;
    if (zero->dtype != value->dtype) return "dtype of a zero point";
    for (const Dim& dim : zero->dims ? *zero->dims : Dims{Dim(0)}) {
      if (!dim.is(1)) return "several zero points";
    }
  }
  const Dim& depth = problem.input(0)->dims->back();
  if (depth.is_constant() && depth.value() > kQuantizedDepth) return "sums may overflow";
  const Value& y = *problem.output();
  if (y.layout != Layout::kPlain) return "layout is not plain";
  if (is_sum) return y.dtype == DType::kInt32 ? Refusal() : "dtype";
  if (y.dtype != DType::kFloat32 && y.dtype != DType::kUInt8) return "dtype";
  return check_epilogue(problem);
}

double cost(const Problem& problem) {
  const Dim& depth = problem.input(0)->dims->back();
  const double k = depth.is_constant() ? static_cast<double>(depth.value()) : 64;
  const int isa = problem.target.isa;
  const double rate = isa >= static_cast<int>(Isa::kAmx) ? 8e5 : isa >= static_cast<int>(Isa::kAvx512) ? 4e5 : 1.9e5;
  const double elements = Problem::elements(problem.output());
  const double moved = bytes_of(problem.input(0)) / 2e4 + bytes_of(problem.input(1)) / 5e3;
  return (2 * elements * k / (isa > 0 ? rate : 5e3) + elements / 4e3 + moved) / problem.target.threads + 1;
}

// A dense stack of matrices: the steps from one to the next along the axes of the output's batch.
void fill_steps(const Shape& shape, State& state, int64_t* steps, int64_t& matrices) {
  const int own = std::max(shape.rank() - 2, 0);
  matrices = 1;
  for (int axis = own - 1; axis >= 0; --axis) {
    steps[state.batch_dims - own + axis] = shape[axis] == 1 ? 0 : matrices;
    matrices *= shape[axis];
  }
}

int64_t matrix_at(const State& state, const int64_t* steps, int64_t index) {
  int64_t at = 0;
  for (int axis = state.batch_dims - 1; axis >= 0; --axis) {
    at += index % state.batch_shape[axis] * steps[axis];
    index /= state.batch_shape[axis];
  }
  return at;
}

Status fill_sizes(const Prepare& prepare, State& state) {
  const Shape &a = prepare.inputs[0].shape, &b = prepare.inputs[1].shape, &y = prepare.outputs[0].shape;
  const int lists = (a.rank() == 1 ? 1 : 0) + (b.rank() == 1 ? 1 : 0);
  state.batch_dims = std::max(y.rank() - 2 + lists, 0);
  state.m = a.rank() == 1 ? 1 : a[a.rank() - 2];
  state.k = a[a.rank() - 1];
  state.n = b.rank() == 1 ? 1 : b[b.rank() - 1];
  const int64_t height = b[std::max(b.rank() - 2, 0)];
  HUSSAR_CHECK(height == state.k && state.k <= kQuantizedDepth && state.n <= kMostColumns, ErrorCode::kUsage,
               "step '{}': {} cannot be multiplied by {}", prepare.step.name, a.to_string(), b.to_string());
  state.is_hollow = state.k == 0;
  state.k = std::max<int64_t>(state.k, 1);
  state.batch = 1;
  for (int axis = 0; axis < state.batch_dims; ++axis) {
    state.batch_shape[axis] = y[axis];
    state.batch *= y[axis];
  }
  fill_steps(a, state, state.a_steps, state.a_matrices);
  fill_steps(b, state, state.b_steps, state.b_matrices);
  // One right side for all: the whole batch is one tall matrix.
  if (state.b_matrices == 1 && state.a_matrices == state.batch) {
    state.m *= state.batch;
    state.batch = state.a_matrices = 1;
    state.batch_dims = 0;
  }
  return {};
}

// A factor that the program begins with is that of the columns.
Status prepare_program(const Prepare& prepare, State& state) {
  state.factor_input = -1;
  HUSSAR_TRY(prepare_epilogue(prepare, -1, state.epilogue, true, true));
  if (!prepare.step.program) return {};
  PlanStep rest = program_alone(prepare.step);
  Program& program = *rest.program;
  const ProgramStep first = program.steps[0];
  if (first.op != ProgramOp::kMul || first.dst != 0 || first.a != 0) return {};
  if (first.source == ProgramSource::kOperand) {
    const int32_t input = rest.program_inputs + first.b;
    if (prepare.inputs[static_cast<size_t>(input)].shape.elements() != 1) return {};
    state.factor_input = input;
  } else if (first.source == ProgramSource::kConstant && std::isfinite(first.p0)) {
    state.args.input_scale = first.p0;
  } else {
    return {};
  }
  drop_first(program);
  state.has_rest = true;
  if (program.step_count == 0) {
    state.epilogue = EpilogueState{};
    return {};
  }
  HUSSAR_TRY(prepare_epilogue({rest, prepare.inputs, prepare.outputs, prepare.threads, prepare.state}, -1,
                              state.epilogue, true, true));
  state.rest = program;
  return {};
}

int64_t aligned(int64_t bytes) { return (bytes + 63) / 64 * 64; }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  HUSSAR_TRY(fill_sizes(prepare, state));
  HUSSAR_TRY(prepare_program(prepare, state));
  ConvArgs& conv = state.args.conv;
  conv.channels = conv.input_pitch = state.k;
  conv.filters = conv.output_pitch = state.n;
  conv.in[2] = conv.out[2] = state.m;
  state.args.output_scale = prepare.step.attributes.get_float("y_scale", 1);
  state.args.output_zero_point = static_cast<int32_t>(prepare.step.attributes.get_int("y_zero_point", 0));
  const double products = static_cast<double>(prepare.outputs[0].shape.elements()) * static_cast<double>(state.k);
  state.shares = cpu::share_count(products, prepare.threads);
  state.scratch_per_share = int8_scratch_bytes(state.k);
  const int64_t rows = state.a_matrices * state.m;
  const bool copies = prepare.inputs[0].dtype == DType::kInt8 || state.is_hollow;
  state.panels_at = state.scratch_per_share * state.shares;
  state.left_at = state.panels_at + aligned(state.b_matrices * int8_weight_bytes(state.k, state.n));
  state.corrections_at = state.left_at + (copies ? aligned(rows * state.k) : 0);
  prepare.scratch_bytes = static_cast<size_t>(state.corrections_at + rows * 4);
  return {};
}

// One number, and less 128 where the bytes are moved by so much, or the other way.
int32_t zero_of(const Run& run, size_t input, DType wanted) {
  const DType dtype = run.inputs[input].dtype;
  int32_t zero = 0;
  if (input + 2 < run.inputs.size() && run.inputs[input + 2].present()) {
    const Operand& value = run.inputs[input + 2];
    zero = dtype == DType::kUInt8 ? *value.as<const uint8_t>() : *value.as<const int8_t>();
  }
  if (dtype == wanted) return zero;
  return dtype == DType::kUInt8 ? zero - 128 : zero + 128;
}

// Packs the right side, and finds out what its zero point takes from the rows.
void prepare_operands(const Run& run, const State& state, Int8Args& args) {
  auto* const panels = reinterpret_cast<int8_t*>(run.scratch + state.panels_at);
  args.weights = panels;
  if (state.is_hollow) {
    std::memset(run.scratch + state.panels_at, 0, static_cast<size_t>(state.corrections_at - state.panels_at));
    args.input = reinterpret_cast<uint8_t*>(run.scratch + state.left_at);
    return;
  }
  const IntegerOperandsTable& table = select_integer_operands_table(usable_isa(run.isa));
  const Operand &a = run.inputs[0], &b = run.inputs[1];
  const int32_t right_zero = zero_of(run, 1, DType::kInt8);
  args.input_zero_point = zero_of(run, 0, DType::kUInt8);
  const bool copies = a.dtype == DType::kInt8, corrects = right_zero != 0;
  const LeftBytes left = {a.as<const uint8_t>(),
                          state.k,
                          flip_of(a.dtype, DType::kUInt8),
                          copies ? reinterpret_cast<uint8_t*>(run.scratch + state.left_at) : nullptr,
                          reinterpret_cast<int32_t*>(run.scratch + state.corrections_at),
                          args.input_zero_point,
                          right_zero};
  const int64_t rows = state.a_matrices * state.m, count = int8_panel_count(state.n);
  run.pool.run(state.shares, [&](int index) {
    const Share share = {index, state.shares};
    const Range some = range_of(state.b_matrices * count, share);
    for (int64_t at = some.begin; at < some.end;) {
      const int64_t matrix = at / count, first = at % count, end = std::min(count, first + some.end - at);
      table.pack_right({b.as<const uint8_t>() + matrix * state.k * state.n, state.k, state.n,
                        flip_of(b.dtype, DType::kInt8), panels + matrix * int8_weight_bytes(state.k, state.n)},
                       first, end);
      at += end - first;
    }
    const Range part = range_of(rows, share);
    if (copies || corrects) table.prepare_left(left, part.begin, part.end);
  });
  args.input = copies ? left.copy : left.a;
  args.row_corrections = corrects ? left.corrections : nullptr;
}

// What belongs to matrix `index` of the output.
struct Item {
  Int8Args args;
  ProgramOperand operands[kProgramOperands];
};

void select_item(const Run& run, const State& state, const Int8Args& all, int64_t index, Item& item) {
  item.args = all;
  Int8Args& args = item.args;
  const int64_t a = matrix_at(state, state.a_steps, index), row = index * state.m;
  args.input += a * state.m * state.k;
  args.weights += matrix_at(state, state.b_steps, index) * int8_weight_bytes(state.k, state.n);
  if (args.row_corrections != nullptr) args.row_corrections += a * state.m;
  if (args.reals != nullptr) args.reals += row * state.n;
  if (args.bytes != nullptr) args.bytes += row * state.n;
  if (args.sums != nullptr) args.sums += row * state.n;
  Epilogue& epilogue = args.conv.epilogue;
  epilogue = make_epilogue(run, state.epilogue, item.operands);
  if (epilogue.residual != nullptr) epilogue.residual += row * epilogue.residual_pitch;
  if (epilogue.program == nullptr) return;
  if (state.has_rest) epilogue.program = &state.rest;
  for (int i = 0; i < run.step.program->operand_count; ++i) item.operands[i].data += row * item.operands[i].row_stride;
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  if (run.outputs[0].shape.elements() == 0) return {};
  Int8Args args = state.args;
  prepare_operands(run, state, args);
  if (state.factor_input >= 0) args.input_scale = *run.inputs[static_cast<size_t>(state.factor_input)].f32();
  const DType to = run.outputs[0].dtype;
  if (to == DType::kFloat32) args.reals = run.outputs[0].f32_out();
  if (to == DType::kUInt8) args.bytes = run.outputs[0].as<uint8_t>();
  if (to == DType::kInt32) args.sums = run.outputs[0].as<int32_t>();
  const Int8Function multiply = int8_product(usable_isa(run.isa));
  // A share has whole matrices, where there are enough.
  const bool by_matrix = state.batch >= state.shares;
  run.pool.run(state.shares, [&](int index) {
    const Share share = {index, state.shares};
    const Range range = by_matrix ? range_of(state.batch, share) : Range{0, state.batch};
    Item item;
    for (int64_t at = range.begin; at < range.end; ++at) {
      select_item(run, state, args, at, item);
      multiply(item.args, by_matrix ? Share{0, 1} : share, run.scratch + index * state.scratch_per_share);
    }
  });
  return {};
}

}  // namespace

extern const Kernel matmul_integer_kernel = {.name = "matmul_integer",
                                             .state_bytes = sizeof(State),
                                             .multiplies_in = DType::kInt8,
                                             .prepare = prepare,
                                             .run = run};
extern const Tactic matmul_integer_tactic = {.kernel = "matmul_integer", .supports = supports, .cost = cost};

}  // namespace hussar
