#include "backends/cpu/int8_steps.h"

#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/sparse_packing.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"
#include "tensor/dynamic_quantize.h"
#include "tensor/fake_quantize.h"
#include "tensor/row_term.h"

namespace hussar::cpu {

Int8Function int8_product(Isa isa) {
  if (isa >= Isa::kAmx) return amx::run_int8_product;
  if (isa >= Isa::kAvx512 && has_avx512_vnni()) return avx512vnni::run_int8_product;
  return select_int8_table(isa).product;
}

Int8Function int8_sparse(Isa isa) {
  if (isa >= Isa::kAmx) return amx::run_int8_sparse;
  if (isa >= Isa::kAvx512 && has_avx512_vnni()) return avx512vnni::run_int8_sparse;
  return select_int8_table(isa).sparse;
}

Int8Function int8_depthwise(Isa isa) {
  if (isa >= Isa::kAvx512 && has_avx512_vnni()) return avx512vnni::run_int8_depthwise;
  return select_int8_table(isa).depthwise;
}

Refusal check_int8(const Problem& problem, int64_t k, int64_t filters) {
  if (k > kQuantizedDepth) return "sums may overflow";
  const Value* scales = problem.input(2);
  const Value* bias = problem.input(3);
  const bool has_bias = bias != nullptr && problem.own_inputs() > 3;
  if (has_bias && (bias->dtype != DType::kFloat32 || !bias->is_constant())) return "bias";
  if (problem.own_inputs() > 4) {
    for (size_t i : {4, 5}) {
      const Value* value = problem.input(i);
      if (value == nullptr || value->dtype != (i == 4 ? DType::kFloat32 : DType::kUInt8)) return "dynamic scale";
      for (const Dim& dim : value->dims ? *value->dims : Dims{Dim(0)}) {
        if (!dim.is(1)) return "dynamic scale";
      }
    }
  }
  if (!scales->is_constant() || scales->constant->elements() != filters) return "needs constant scales";
  return check_epilogue(problem, true);
}

Refusal check_int8_matrix(const Problem& problem) {
  if (problem.node.op != "hussar.QuantizedMatMul") return "op";
  if (problem.dtype(0) != DType::kUInt8 || problem.dtype(1) != DType::kInt8) return "dtype";
  if (!problem.is_constant(1) || problem.input(1)->constant->shape().rank() != 2) return "needs a constant matrix";
  const Shape& b = problem.input(1)->constant->shape();
  if (b.elements() == 0) return "empty";
  for (const Value* value : {problem.input(0), problem.output()}) {
    if (value->layout != Layout::kPlain) return "layout is not plain";
    if (value->rank() < 1) return "unknown rank";
  }
  return check_int8(problem, b[0], b[1]);
}

double int8_cost(const Problem& problem, double rows, int64_t k, int64_t filters, int64_t groups) {
  const int isa = problem.target.isa;
  // Multiply-adds count as two; whole panels, and 64 of k on the matrix unit.
  const bool matrix_unit = isa >= static_cast<int>(Isa::kAmx);
  const double rate = matrix_unit ? 8e5 : isa >= static_cast<int>(Isa::kAvx512) ? 4e5 : isa > 0 ? 1.9e5 : 5e3;
  const auto panels = static_cast<double>(int8_panel_count(filters));
  const auto depth = static_cast<double>(matrix_unit ? int8_depth(k) : k);
  const double flops = 2 * rows * static_cast<double>(groups) * panels * kInt8Columns * depth;
  const double gathered = rows * static_cast<double>(groups * k) / 1e4;
  const double weights = static_cast<double>(groups * int8_weight_bytes(k, filters)) / 1e4;
  const double finished = rows * static_cast<double>(groups * filters) / 4e3;
  return (flops / rate + gathered + finished) / problem.target.threads + weights / problem.target.threads + 1;
}

// What the end of a tile does before a program, taken off the front of it.
static bool take_row_term(const Prepare& prepare, const EpilogueState& epilogue, Program& program, Int8State& state) {
  const auto term = row_term_of(program);
  if (!term || epilogue.column_strides[term->rows] != 0) return false;
  if (epilogue.column_strides[term->columns] != 1 || epilogue.row_strides[term->columns] != 0) return false;
  const int32_t rows = prepare.step.program_inputs + term->rows, columns = prepare.step.program_inputs + term->columns;
  for (int32_t input : {rows, columns}) {
    if (prepare.inputs[static_cast<size_t>(input)].dtype != DType::kFloat32) return false;
  }
  state.row_term = rows;
  state.row_factors = columns;
  state.args.row_term_stride = epilogue.row_strides[term->rows];
  erase_row_term(program);
  return true;
}

static bool take_fake_quantize(Program& program, Int8Grid& grid) {
  const auto first = fake_quantize_at(program, 0);
  if (!first) return false;
  grid = {first->scale, first->zero_point};
  erase_fake_quantize(program, 0);
  return true;
}

static bool adds_operand(const Program& program) {
  if (program.step_count < 1) return false;
  const ProgramStep& step = program.steps[0];
  return step.op == ProgramOp::kAdd && step.source == ProgramSource::kOperand && step.dst == 0 && step.a == 0;
}

void drop_first(Program& program) {
  std::copy(program.steps + 1, program.steps + program.step_count, program.steps);
  program.steps[--program.step_count] = {};
}

PlanStep program_alone(const PlanStep& step) {
  PlanStep alone;
  alone.name = step.name;
  alone.program = step.program;
  alone.program_inputs = step.program_inputs;
  return alone;
}

// Of a program behind a first rounding: an addition to every column, rounding, the addition of a tensor, rounding.
static void take_links(const Prepare& prepare, Program& program, Int8State& state) {
  EpilogueState& epilogue = state.epilogue;
  const auto adds = [&](bool whole) {
    if (!adds_operand(program)) return false;
    const uint8_t operand = program.steps[0].b;
    const auto input = static_cast<size_t>(prepare.step.program_inputs + operand);
    return epilogue.column_strides[operand] == 1 && (epilogue.row_strides[operand] != 0) == whole &&
           prepare.inputs[input].dtype == DType::kFloat32;
  };
  if (adds(false)) {
    epilogue.bias = prepare.step.program_inputs + program.steps[0].b;
    drop_first(program);
  }
  take_fake_quantize(program, state.args.grid_of_biased);
  if (adds(true)) {
    epilogue.residual = prepare.step.program_inputs + program.steps[0].b;
    drop_first(program);
    take_fake_quantize(program, state.args.grid_of_residual);
  }
  epilogue.runs_program = program.step_count > 0;
}

// A program that begins with these, and is simple enough otherwise, needs no interpreter; others need less of it.
static Status prepare_program(const Prepare& prepare, Int8State& state) {
  state.rest = {};
  state.row_term = state.row_factors = -1;
  HUSSAR_TRY(prepare_epilogue(prepare, -1, state.epilogue, true, true));
  if (!prepare.step.program) return {};
  PlanStep rest = program_alone(prepare.step);
  const bool has_term = take_row_term(prepare, state.epilogue, *rest.program, state);
  const bool is_rounded = take_fake_quantize(*rest.program, state.args.grid);
  if (!has_term && !is_rounded) return {};
  HUSSAR_TRY(prepare_epilogue({rest, prepare.inputs, prepare.outputs, prepare.threads, prepare.state}, -1,
                              state.epilogue, true, true));
  if (!state.epilogue.runs_program) return {};
  state.rest = *rest.program;
  if (is_rounded) take_links(prepare, state.rest, state);
  return {};
}

static bool is_one_number(const Prepare& prepare, size_t input, DType dtype) {
  if (input >= prepare.inputs.size()) return false;
  const Operand& operand = prepare.inputs[input];
  return operand.present() && operand.dtype == dtype && operand.shape.elements() == 1;
}

Status prepare_int8_epilogue(Prepare& prepare, int64_t k, Int8State& state) {
  HUSSAR_TRY(prepare_program(prepare, state));
  Int8Args& args = state.args;
  const ConvArgs& conv = args.conv;
  const int64_t filters = conv.groups * conv.filters;
  const Operand& scales = prepare.inputs[2];
  const bool has_bias = prepare.inputs.size() > 3 && prepare.inputs[3].present();
  state.bias = has_bias ? 3 : -1;
  state.dynamic = has_dynamic_scale(prepare.step.program, prepare.step.program_inputs, prepare.inputs.size());
  bool fits =
      !state.dynamic || (is_one_number(prepare, 4, DType::kFloat32) && is_one_number(prepare, 5, DType::kUInt8));
  fits = fits && conv.kernel[0] <= kQuantizedDepth && conv.kernel[1] <= kQuantizedDepth &&
         conv.kernel[2] <= kQuantizedDepth && conv.channels <= kQuantizedDepth && k <= kQuantizedDepth && k > 0;
  fits = fits &&
         (!has_bias || (prepare.inputs[3].dtype == DType::kFloat32 && prepare.inputs[3].shape.elements() == filters));
  fits = fits && scales.dtype == DType::kFloat32 && scales.shape.elements() == filters;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed quantized product", prepare.step.name);
  const Attributes& attributes = prepare.step.attributes;
  args.input_scale = attributes.get_float("x_scale", 1);
  args.input_zero_point = static_cast<int32_t>(attributes.get_int("x_zero_point", 0));
  args.output_scale = attributes.get_float("y_scale", 1);
  args.output_zero_point = static_cast<int32_t>(attributes.get_int("y_zero_point", 0));
  args.residual_scale = attributes.get_float("operand_scale", 1);
  args.residual_zero_point = static_cast<int32_t>(attributes.get_int("operand_zero_point", 0));
  return {};
}

std::vector<Configuration> int8_configurations(const Problem& problem, double usual) {
  return named_configurations({"by_rows", "by_panels", "two_shares"}, problem.target.threads, usual);
}

// The partition, of windows or pixels whose sums run over k.
static void cut_product(Prepare& prepare, int64_t k, int64_t scratch_bytes, Int8State& state) {
  const ConvArgs& conv = state.args.conv;
  const double filters = static_cast<double>(conv.groups * conv.filters);
  const double pixels = static_cast<double>(conv.batch * conv.out[0] * conv.out[1] * conv.out[2]);
  // A share costs the same to start, and computes two times as fast as in FP32 at least.
  const double products = pixels * filters * static_cast<double>(k);
  state.shares = share_count(products, prepare.threads);
  // Windows are gathered again for every share; single pixels are not, so a thread on a busy core can be relieved.
  const bool is_pointwise = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] == 1;
  if (state.shares > 1 && is_pointwise && products > 1e8) state.shares *= 2;
  state.shares = cut_shares(state.shares, conv.cut);
  state.scratch_per_share = scratch_bytes;
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
}

static int64_t depth_of(const ConvArgs& conv) {
  return conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
}

Status prepare_int8_product(Prepare& prepare, Int8State& state) {
  const ConvArgs& conv = state.args.conv;
  const int64_t k = depth_of(conv);
  HUSSAR_TRY(prepare_int8_epilogue(prepare, k, state));
  HUSSAR_TRY(read_cut(prepare, state.args.conv.cut));
  HUSSAR_TRY(check_packed_weights(prepare, {conv.groups, int8_panel_count(conv.filters), int8_panel_bytes(k)}));
  cut_product(prepare, k, int8_scratch_bytes(k), state);
  return {};
}

Status prepare_int8_sparse(Prepare& prepare, Int8State& state) {
  const ConvArgs& conv = state.args.conv;
  const int64_t k = depth_of(conv), panels = prepare.step.attributes.get_int(kSharedPanels, 0);
  HUSSAR_TRY(prepare_int8_epilogue(prepare, k, state));
  const bool fits = is_shared_panels(panels) && conv.groups == 1 && k % kSparseGroup == 0 &&
                    prepare.inputs[1].shape.elements() == int8_sparse_bytes(k, conv.filters, panels);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", prepare.step.name);
  state.args.shared_panels = panels;
  cut_product(prepare, k, int8_sparse_scratch_bytes(k), state);
  return {};
}

Status run_int8_step(const Run& run, Int8Function function) {
  const auto& state = run.state_as<Int8State>();
  Int8Args args = state.args;
  ProgramOperand operands[kProgramOperands];
  args.input = run.inputs[0].as<const uint8_t>();
  args.weights = run.inputs[1].as<const int8_t>();
  args.weight_scales = run.inputs[2].f32();
  if (state.bias >= 0) args.bias = run.inputs[static_cast<size_t>(state.bias)].f32();
  if (state.row_term >= 0) {
    args.row_term = run.inputs[static_cast<size_t>(state.row_term)].f32();
    args.row_factors = run.inputs[static_cast<size_t>(state.row_factors)].f32();
  }
  if (state.dynamic) {
    args.input_scale = *run.inputs[4].f32();
    args.input_zero_point = *run.inputs[5].as<const uint8_t>();
  }
  args.conv.epilogue = make_epilogue(run, state.epilogue, operands);
  if (state.rest.step_count > 0) args.conv.epilogue.program = &state.rest;
  const int32_t residual = state.epilogue.residual;
  if (residual >= 0 && run.inputs[static_cast<size_t>(residual)].dtype == DType::kUInt8) {
    args.residual = run.inputs[static_cast<size_t>(residual)].as<const uint8_t>();
    args.residual_pitch = state.epilogue.row_strides[residual - run.step.program_inputs];
  }
  ByteForms forms;
  for (int i = 0; state.epilogue.runs_program && i < run.step.program->operand_count; ++i) {
    const Operand& operand = run.inputs[static_cast<size_t>(run.step.program_inputs + i)];
    if (operand.dtype != DType::kUInt8) continue;
    forms.operands[i] = {operand.as<const uint8_t>(), args.residual_scale, args.residual_zero_point};
    args.program_bytes = &forms;
  }
  if (run.outputs[0].dtype == DType::kUInt8) {
    args.bytes = run.outputs[0].as<uint8_t>();
  } else {
    args.reals = run.outputs[0].f32_out();
  }
  run.pool.run(state.shares, [&](int share) {
    function(args, {share, state.shares}, run.scratch + share * state.scratch_per_share);
  });
  return {};
}

Status run_int8_product(const Run& run) { return run_int8_step(run, int8_product(usable_isa(run.isa))); }
Status run_int8_sparse(const Run& run) { return run_int8_step(run, int8_sparse(usable_isa(run.isa))); }

}  // namespace hussar::cpu
