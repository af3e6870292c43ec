#include "backends/cpu/matrix_steps.h"

#include <algorithm>

#include "backends/cpu/isa.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"

namespace hussar::cpu {

Refusal check_matrix_unit(const Problem& problem) {
  if (problem.target.isa < static_cast<int>(Isa::kAmx)) return "needs the matrix unit (AMX)";
  return std::nullopt;
}

double matrix_microseconds(const Problem& problem, double rows, double k, double columns) {
  // Measured on an Emerald Rapids core whose other hyperthread was busy: 150 GFLOP/s, of rows in tiles of 16 (alone it
  // reaches several times that); 10 GB/s of split weights.
  constexpr double kTileRows = 16;
  const double compute = 2 * std::max(kTileRows, rows) * k * columns / 1.5e5, weights = 4 * k * columns / 1e4;
  const double split = 4 * rows * k / 1e4;
  // A tile of weights that serves less than a tile of rows is loaded, multiplied once and gone: the products do not
  // hide the loads, as those of the vector units do, which read as many bytes.
  const double both = rows < kTileRows ? compute + weights : std::max(compute, weights);
  return (both + split) / problem.target.threads + 2;
}

std::vector<Configuration> matrix_configurations(const Problem& problem, double usual) {
  return named_configurations({"by_rows", "by_panels", "two_shares", "half_blocks"}, problem.target.threads, usual);
}

Status prepare_matrix_product(Prepare& prepare, int32_t bias_input, MatrixState& state) {
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
  state.scratch_per_share = (matrix_scratch_bytes(conv) + 63) / 64 * 64;
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
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
