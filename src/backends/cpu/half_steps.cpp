#include "backends/cpu/half_steps.h"

#include <algorithm>
#include <cmath>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/half_packing.h"
#include "backends/cpu/isa.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/sparse_packing.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"
#include "tensor/convert.h"

namespace hussar::cpu {

Refusal check_half_target(const Problem& problem) {
  if (!problem.target.no_fp16.empty()) return std::string(problem.target.no_fp16);
  if (problem.target.isa < static_cast<int>(Isa::kAvx512Fp16)) return "needs AVX512-FP16";
  return std::nullopt;
}

Refusal check_half_weights(const Tensor& weights) {
  constexpr float kLargest = 65504, kSmallestNormal = 6.103515625e-5F;
  int64_t not_zero = 0, subnormal = 0;
  const auto* w = weights.data<float>();
  for (int64_t i = 0; i < weights.elements(); ++i) {
    const float magnitude = std::fabs(w[i]);
    if (!(magnitude <= kLargest)) return "a weight is beyond the range of FP16";
    not_zero += magnitude != 0 ? 1 : 0;
    subnormal += magnitude != 0 && magnitude < kSmallestNormal ? 1 : 0;
  }
  if (subnormal * 2 > not_zero) return "most weights are subnormal in FP16";
  return std::nullopt;
}

double half_waste(int64_t k, int64_t filters) {
  const auto panels = static_cast<double>(half_panel_count(filters));
  const double columns = panels * kHalfPanelColumns / static_cast<double>(filters);
  // Counted in instructions, against 14 cycles for two of k: the windows are gathered in the time of 0.35 panels, a
  // register tile starts and ends in that of 24 of k, and the sums of 128 of k go to FP32 in that of 12.
  return columns * (1 + 0.35 / panels) * (1.1 + 24 / static_cast<double>(k));
}

double half_conv_cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t group = std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1);
  const int64_t filters = filter[0] / group, k = filter.elements(1, filter.rank());
  // Twice the rate of FP32, half the bytes.
  return conv_cost(problem.target, conv_flops(problem) / 2 * half_waste(k, filters), 0,
                   group * half_weight_elements(k, filters) / 2);
}

double half_matmul_cost(const Problem& problem) {
  const MatrixFacts b = matrix_facts(problem.node);
  // Twice the rate of matmul_tile, and half the bytes of weights. Beside the matrix unit, whose rate is that of a core
  // with a busy hyperthread (matrix_steps.cpp), on the same terms.
  const double rate = problem.target.isa >= static_cast<int>(Isa::kAmx) ? 1.2e5 : 1.6e5;
  const double flops = 2 * Problem::elements(problem.output()) * static_cast<double>(b.k);
  const double bytes =
      4 * Problem::elements(problem.input(0)) + 2 * static_cast<double>(half_weight_elements(b.k, b.n));
  return std::max(flops / rate * half_waste(b.k, b.n), bytes / 1e4) / problem.target.threads + 1;
}

std::vector<Configuration> half_configurations(const Problem& problem, int64_t groups, double rows, int64_t k,
                                               int64_t filters, double usual) {
  const double flops = 2 * rows * static_cast<double>(groups * filters) * static_cast<double>(k);
  const ProductSize size = {groups,    static_cast<int64_t>(rows), half_panel_count(filters), k, kTileRowsLimit,
                            kHalfBlock};
  return cut_configurations(size, share_count(flops / 2, problem.target.threads), usual);
}

std::vector<float> decode_half_weights(const Tensor& packed) {
  std::vector<float> numbers(static_cast<size_t>(packed.elements()));
  const auto* bits = packed.data<uint16_t>();
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = half_to_float(bits[i]);
  return numbers;
}

namespace {

// Everything before the weights, and the k of the product.
Status begin_half_product(Prepare& prepare, int32_t bias_input, HalfState& state, int64_t& k) {
  HUSSAR_CHECK(
      active_isa() >= Isa::kAvx512Fp16, ErrorCode::kPlanIncompatible,
      "step '{}' computes in FP16 with AVX512-FP16, this machine offers cpu:{}: `hussar build PLAN -o NEW.plan` "
      "turns the plan into one for this machine, anywhere with --target cpu:{}",
      prepare.step.name, isa_name(active_isa()), isa_name(active_isa()));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input, state.epilogue));
  HUSSAR_TRY(read_cut(prepare, state.args.conv.cut));
  const ConvArgs& conv = state.args.conv;
  // Factor by factor: the product of what a plan says may overflow.
  constexpr int64_t kMostK = int64_t{1} << 40;
  k = 1;
  bool fits = true;
  for (int64_t factor : {conv.kernel[0], conv.kernel[1], conv.kernel[2], conv.channels}) {
    fits = fits && !__builtin_mul_overflow(k, factor, &k) && k <= kMostK;
  }
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': packed weights of the wrong size", prepare.step.name);
  return {};
}

// `rest`: of the multiplications that are not left out.
void cut_half_product(Prepare& prepare, int64_t k, double rest, int64_t scratch_bytes, HalfState& state) {
  const ConvArgs& conv = state.args.conv;
  const int64_t pixels = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const double flops = 2.0 * static_cast<double>(pixels * conv.groups * conv.filters) * static_cast<double>(k);
  // A share costs the same to start, and computes twice as fast as in FP32.
  state.shares = cut_shares(share_count(flops / 2 * rest, prepare.threads), conv.cut);
  state.scratch_per_share = scratch_bytes;
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
}

}  // namespace

Status prepare_half_product(Prepare& prepare, int32_t bias_input, HalfState& state) {
  int64_t k = 0;
  HUSSAR_TRY(begin_half_product(prepare, bias_input, state, k));
  const ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(check_packed_weights(prepare,
                                  {conv.groups, half_panel_count(conv.filters) * kHalfPanelColumns, (k + 1) / 2 * 2}));
  cut_half_product(prepare, k, 1, half_scratch_bytes(k), state);
  return {};
}

Status prepare_half_sparse(Prepare& prepare, int32_t bias_input, HalfState& state) {
  int64_t k = 0;
  HUSSAR_TRY(begin_half_product(prepare, bias_input, state, k));
  const ConvArgs& conv = state.args.conv;
  const int64_t panels = prepare.step.attributes.get_int(kSharedPanels, 0);
  const int64_t elements = prepare.inputs[1].shape.elements();
  // Bounds first: what they let through does not overflow.
  const bool fits = is_shared_panels(panels) && panels > 1 && conv.groups == 1 && conv.filters <= elements &&
                    k % kSparseGroup == 0 && k <= 2 * elements &&
                    half_panel_count(conv.filters) <= elements / (k / 2) &&
                    elements == half_sparse_elements(k, conv.filters, panels);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", prepare.step.name);
  state.args.shared_panels = panels;
  cut_half_product(prepare, k, 0.5, half_sparse_scratch_bytes(k), state);
  return {};
}

Status run_half_step(const Run& run) {
  const auto& state = run.state_as<HalfState>();
  HalfArgs args = state.args;
  ProgramOperand operands[kProgramOperands];
  args.conv.input = run.inputs[0].f32();
  args.weights = run.inputs[1].as<const uint16_t>();
  args.conv.output = run.outputs[0].f32_out();
  args.conv.epilogue = make_epilogue(run, state.epilogue, operands);
  const auto product = args.shared_panels > 0 ? avx512fp16::run_half_sparse : avx512fp16::run_half_product;
  run.pool.run(state.shares, [&](int share) {
    product(args, {share, state.shares}, run.scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace hussar::cpu
