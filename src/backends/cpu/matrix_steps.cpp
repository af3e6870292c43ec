#include "backends/cpu/matrix_steps.h"

#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/isa.h"
#include "backends/cpu/matrix_packing.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"

namespace hussar::cpu {

static Refusal check_matrix_unit(const Problem& problem, int parts) {
  if (parts == 1 && !problem.target.no_bf16.empty()) return std::string(problem.target.no_bf16);
  if (problem.target.isa < static_cast<int>(Isa::kAmx)) return "needs the matrix unit (AMX)";
  return std::nullopt;
}

Refusal check_matrix_conv(const Problem& problem, int parts) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_matrix_unit(problem, parts)) return refusal;
  if (auto refusal = check_conv(problem)) return refusal;
  if (problem.input(0)->rank() > 4) return "rank";
  Ints strides = problem.node.attributes.get_ints("strides"), dilations = problem.node.attributes.get_ints("dilations");
  const auto above_one = [](int64_t value) { return value > 1; };
  if (std::any_of(strides.begin(), strides.end(), above_one) &&
      std::any_of(dilations.begin(), dilations.end(), above_one)) {
    return "dilation with stride";
  }
  return check_epilogue(problem);
}

Refusal check_matrix_matmul(const Problem& problem, int parts) {
  if (!is_matrix_product(problem.node)) return "op";
  if (auto refusal = check_matrix_unit(problem, parts)) return refusal;
  if (auto refusal = check_constant_matrix(problem)) return refusal;
  return check_epilogue(problem);
}

// A product of `rows` rows; k and columns as padded.
static double matrix_microseconds(const Problem& problem, double rows, double k, double columns, int parts) {
  // Measured on an Emerald Rapids core whose other hyperthread was busy: 150 GFLOP/s from two parts, of rows in tiles
  // of 16 (alone it reaches several times that); 10 GB/s of weights. With one part a third of the products and half of
  // the tile loads are left.
  constexpr double kTileRows = 16;
  const double rate = parts == 1 ? 3e5 : 1.5e5;
  const double compute = 2 * std::max(kTileRows, rows) * k * columns / rate, weights = 2 * parts * k * columns / 1e4;
  const double split = 2 * parts * rows * k / 1e4;
  // A tile of weights that serves less than a tile of rows is loaded, multiplied once and gone: the products do not
  // hide the loads, as those of the vector units do, which read as many bytes.
  const double both = rows < kTileRows ? compute + weights : std::max(compute, weights);
  return (both + split) / problem.target.threads + 2;
}

double matrix_conv_cost(const Problem& problem, int parts) {
  const Shape& filter = problem.input(1)->constant->shape();
  const double groups = static_cast<double>(std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1));
  const double filters = static_cast<double>(filter[0]);
  const double pixels = Problem::elements(problem.output()) / filters;
  const auto taps = static_cast<double>(filter.elements(2, filter.rank()));
  const double own_filters = static_cast<double>(panel_count(filter[0] / static_cast<int64_t>(groups)) * 16);
  return matrix_microseconds(problem, pixels * groups, taps * static_cast<double>(matrix_channels(filter[1])),
                             own_filters, parts);
}

double matrix_matmul_cost(const Problem& problem, int parts) {
  const MatrixFacts b = matrix_facts(problem.node);
  const double rows = Problem::elements(problem.output()) / static_cast<double>(b.n);
  return matrix_microseconds(problem, rows, static_cast<double>(matrix_channels(b.k)),
                             static_cast<double>(panel_count(b.n) * 16), parts);
}

std::vector<Configuration> matrix_configurations(const Problem& problem, double usual) {
  return named_configurations({"by_rows", "by_panels", "two_shares", "half_blocks"}, problem.target.threads, usual);
}

Status pack_matrix_conv(Packing& packing, int parts) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  const int64_t groups = packing.node.attributes.get_int("group", 1);
  const int64_t filters = filter.shape()[0] / groups, channels = filter.shape()[1];
  const int64_t taps = filter.shape().elements(2, filter.shape().rank());
  remember_kernel_shape(packing.node, filter.shape());
  const std::vector<float> sorted = filter_by_taps<float>(filter);
  const int64_t elements = matrix_weight_elements(taps, channels, filters, parts);
  Tensor packed(DType::kBFloat16, {groups * elements});
  auto* out = packed.data<uint16_t>();
  for (int64_t group = 0; group < groups; ++group) {
    pack_matrix_weights(sorted.data() + group * filters * taps * channels, taps, channels, filters, 1, taps * channels,
                        parts, out + group * elements);
  }
  packing.replace(1, std::move(packed));
  return {};
}

Status pack_matrix_matmul(Packing& packing, int parts) {
  Node& node = packing.node;
  const MatrixFacts b = matrix_facts(node);
  Tensor packed(DType::kBFloat16, {matrix_weight_elements(1, b.k, b.n, parts)});
  pack_matrix_weights(b.data, 1, b.k, b.n, b.row_stride, b.column_stride, parts, packed.data<uint16_t>());
  remember_matrix_shape(node, b.k, b.n);
  packing.replace(1, std::move(packed));
  return {};
}

// From state.args, which is filled in and checked, to the rest of the state.
static Status prepare_matrix_product(Prepare& prepare, int32_t bias_input, MatrixState& state) {
  HUSSAR_CHECK(active_isa() >= Isa::kAmx, ErrorCode::kPlanIncompatible,
               "step '{}' was built for cpu:amx, this machine offers cpu:{}: `hussar build PLAN -o NEW.plan` turns the "
               "plan into one for this machine, anywhere with --target cpu:{}",
               prepare.step.name, isa_name(active_isa()), isa_name(active_isa()));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input, state.epilogue));
  HUSSAR_TRY(read_cut(prepare, state.args.conv.cut));
  const ConvArgs& conv = state.args.conv;
  const int64_t pixels = conv.batch * conv.out[1] * conv.out[2];
  const double flops = 2.0 * static_cast<double>(pixels * conv.groups * conv.filters) *
                       static_cast<double>(conv.kernel[1] * conv.kernel[2] * conv.channels);
  // A share costs about the same to start, and computes faster than the vector units do.
  state.shares = cut_shares(share_count(flops / 3, prepare.threads), conv.cut);
  state.scratch_per_share = (matrix_scratch_bytes(conv, state.args.parts) + 63) / 64 * 64;
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
}

Status prepare_matrix_conv(Prepare& prepare, int parts) {
  auto& state = prepare.state_as<MatrixState>();
  state = MatrixState{};
  state.args.parts = parts;
  ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(fill_conv_geometry(prepare, conv, DType::kBFloat16));
  bool fits = conv.kernel[0] == 1 && prepare.inputs[0].shape.rank() <= 4;
  for (int axis : {1, 2}) fits = fits && (conv.stride[axis] == 1 || conv.dilation[1] * conv.dilation[2] == 1);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': not a convolution for the matrix unit",
               prepare.step.name);
  HUSSAR_TRY(check_packed_weights(prepare, {conv.groups, conv.kernel[1], conv.kernel[2], matrix_channels(conv.channels),
                                            panel_count(conv.filters) * kPanelColumns, parts}));
  return prepare_matrix_product(prepare, bias_input(prepare), state);
}

Status prepare_matrix_matmul(Prepare& prepare, int parts) {
  auto& state = prepare.state_as<MatrixState>();
  state = MatrixState{};
  state.args.parts = parts;
  ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(fill_matrix_geometry(prepare, DType::kBFloat16, conv));
  HUSSAR_TRY(check_packed_weights(prepare,
                                  {matrix_channels(conv.channels), panel_count(conv.filters) * kPanelColumns, parts}));
  return prepare_matrix_product(prepare, -1, state);
}

Status run_matrix_step(const Run& run) {
  const auto& state = run.state_as<MatrixState>();
  MatrixArgs args = state.args;
  ProgramOperand operands[kProgramOperands];
  args.conv.input = run.inputs[0].f32();
  args.weights = run.inputs[1].as<const uint16_t>();
  args.conv.output = run.outputs[0].f32_out();
  args.conv.epilogue = make_epilogue(run, state.epilogue, operands);
  run.pool.run(state.shares, [&](int share) {
    amx::run_matrix_product(args, {share, state.shares}, run.scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace hussar::cpu
