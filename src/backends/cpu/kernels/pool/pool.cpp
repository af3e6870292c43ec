// pool: MaxPool and AveragePool in FP32 and MaxPool of uint8, channels-last or plain, over 1 to 3 spatial dimensions.
#include "backends/cpu/kernels/pool/pool.h"

#include "backends/cpu/kernel_support.h"
#include "backends/cpu/pool_window.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  PoolArgs args;  // without the pointers
  int64_t units;
  int32_t shares;
  bool channels_last;
};

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"MaxPool", "AveragePool"})) return refusal;
  const bool takes_bytes = problem.node.op == "MaxPool" && problem.dtype(0) == DType::kUInt8;
  if (problem.dtype(0) != DType::kFloat32 && !takes_bytes) return "dtype";
  if (problem.output(1) != nullptr) return "indices";
  int rank = problem.input(0)->rank();
  if (rank < 3 || rank > 5) return "rank";
  bool one_layout = all_have_layout(problem, Layout::kPlain) || all_have_layout(problem, Layout::kChannelsLast);
  return one_layout ? Refusal() : "mixed layouts";
}

double cost(const Problem& problem) {
  double taps = 1;
  for (int64_t size : problem.node.attributes.get_ints("kernel_shape")) taps *= static_cast<double>(size);
  double factor = problem.input(0)->layout == Layout::kChannelsLast ? 1 : 2;
  // A few taps cost nothing beside the memory traffic.
  return factor * (memory_cost(problem) + taps * bytes_of(problem.output()) / (3e4 * problem.target.threads));
}

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  State state{};
  PoolArgs& args = state.args;
  args.batch = x.shape[0];
  args.channels = x.shape[1];
  args.input_pitch = x.pitch;
  args.output_pitch = y.pitch;
  args.is_max = prepare.step.op == "MaxPool";
  args.is_bytes = x.dtype == DType::kUInt8;
  HUSSAR_CHECK(y.dtype == x.dtype && (args.is_max || !args.is_bytes), ErrorCode::kPlanIncompatible,
               "step '{}' pools elements of a type that it cannot; build the plan again", prepare.step.name);
  args.include_pad = prepare.step.attributes.get_int("count_include_pad", 0) != 0;
  read_window(prepare.step.attributes, x.shape, y.shape, args);
  state.channels_last = x.layout == Layout::kChannelsLast;
  state.units = args.batch * (state.channels_last ? args.out[0] * args.out[1] * args.out[2] : args.channels);
  double work = static_cast<double>(y.shape.elements() * args.kernel[0] * args.kernel[1] * args.kernel[2]);
  const auto size = static_cast<double>(dtype_size(x.dtype));
  double bytes = size * static_cast<double>(x.shape.elements() + y.shape.elements());
  state.shares = share_count(work * size * 2.5e-5 + bytes / kBytesPerMicrosecond, prepare.threads, state.units);
  if (y.shape.elements() == 0) state.units = 0;
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  PoolArgs args = state.args;
  args.input = run.inputs[0].data;
  args.output = run.outputs[0].data;
  const PoolTable& table = select_pool_table(usable_isa(run.isa));
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.units, {index, state.shares});
    (state.channels_last ? table.pixels : table.planes)(args, range.begin, range.end);
  });
  return {};
}

}  // namespace

extern const Kernel pool_kernel = {.name = "pool", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic pool_tactic = {.kernel = "pool", .supports = supports, .cost = cost};

}  // namespace hussar
