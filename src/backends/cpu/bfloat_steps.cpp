#include "backends/cpu/bfloat_steps.h"

#include <algorithm>

#include "backends/cpu/bfloat_packing.h"
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/isa.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"
#include "tensor/convert.h"

namespace hussar::cpu {

Refusal check_bfloat_target(const Problem& problem) {
  if (!problem.target.no_bf16.empty()) return std::string(problem.target.no_bf16);
  // What has AVX512_FP16 has this, too.
  const int level = static_cast<int>(has_avx512_bf16() ? Isa::kAvx512 : Isa::kAvx512Fp16);
  if (problem.target.isa < level) return "needs AVX512-BF16";
  return std::nullopt;
}

double bfloat_cost(const Problem& problem, double rows, int64_t k, int64_t filters, int64_t groups) {
  // Twice the rate of FP32 on Zen 4; 0.55 of it on Emerald Rapids, where only one row of A is left to gain something,
  // and the matrix unit is there. Half the bytes of weights; rows are rounded while they are gathered, in the time of
  // two panels of columns.
  const double slower = problem.target.isa > static_cast<int>(Isa::kAvx512) ? 1 / 0.55 : 0.5;
  const double flops = 2 * rows * static_cast<double>(groups * filters) * static_cast<double>(k);
  const double rounded = 2 * rows * static_cast<double>(groups * k * 2 * kPanelColumns);
  return tile_conv_cost(problem.target, (flops + rounded) * slower, groups, filters, (k + 1) / 2);
}

std::vector<Configuration> bfloat_configurations(const Problem& problem, double rows, int64_t k, int64_t filters,
                                                 int64_t groups) {
  const double flops = 2 * rows * static_cast<double>(groups * filters) * static_cast<double>(k);
  const ProductSize size = {groups, static_cast<int64_t>(rows), panel_count(filters), k, kTileRowsLimit, kHalfBlock};
  return cut_configurations(size, share_count(flops / 2, problem.target.threads),
                            bfloat_cost(problem, rows, k, filters, groups));
}

std::vector<float> decode_bfloat_weights(const Tensor& packed) {
  std::vector<float> numbers(static_cast<size_t>(packed.elements()));
  const auto* bits = packed.data<uint16_t>();
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = bfloat16_to_float(bits[i]);
  return numbers;
}

Status check_bfloat_machine(const Prepare& prepare, DType type) {
  const bool lacks = type == DType::kBFloat16 && (active_isa() < Isa::kAvx512 || !has_avx512_bf16());
  HUSSAR_CHECK(!lacks, ErrorCode::kPlanIncompatible,
               "step '{}' computes in BF16 with AVX512-BF16, which this machine lacks: `hussar build PLAN -o NEW.plan` "
               "turns the plan into one for this machine",
               prepare.step.name);
  return {};
}

Status check_bfloat_weights(const Prepare& prepare, const ConvArgs& conv) {
  // Factor by factor: the product of what a plan says may overflow.
  constexpr int64_t kMostK = int64_t{1} << 40;
  int64_t k = 1;
  bool fits = true;
  for (int64_t factor : {conv.kernel[0], conv.kernel[1], conv.kernel[2], conv.channels}) {
    fits = fits && !__builtin_mul_overflow(k, factor, &k) && k <= kMostK;
  }
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': packed weights of the wrong size", prepare.step.name);
  return check_packed_weights(prepare, {conv.groups, panel_count(conv.filters) * kPanelColumns, (k + 1) / 2 * 2});
}

Status prepare_bfloat_product(Prepare& prepare, int32_t bias_input, BfloatState& state) {
  HUSSAR_TRY(check_bfloat_machine(prepare));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input, state.epilogue, true));
  ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(read_cut(prepare, conv.cut));
  HUSSAR_TRY(check_bfloat_weights(prepare, conv));
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const int64_t pixels = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const double flops = 2.0 * static_cast<double>(pixels * conv.groups * conv.filters) * static_cast<double>(k);
  // A share costs the same to start, and computes twice as fast as in FP32.
  state.shares = cut_shares(share_count(flops / 2, prepare.threads), conv.cut);
  state.scratch_per_share = half_scratch_bytes(k);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
}

Status run_bfloat_step(const Run& run) {
  const auto& state = run.state_as<BfloatState>();
  BfloatArgs args = state.args;
  ProgramOperand operands[kProgramOperands];
  args.conv.input = run.inputs[0].f32();
  args.weights = run.inputs[1].as<const uint16_t>();
  args.conv.output = run.outputs[0].f32_out();
  args.conv.epilogue = make_epilogue(run, state.epilogue, operands);
  run.pool.run(state.shares, [&](int share) {
    avx512bf16::run_bfloat_product(args, {share, state.shares}, run.scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace hussar::cpu
