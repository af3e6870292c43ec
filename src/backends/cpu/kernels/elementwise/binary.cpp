// binary: arithmetic, comparisons and logic with broadcasting on float32, int32, int64, uint8 and bool. All tensors are
// plain, or channels-last and of one rank.
// Chains of float32 arithmetic are the work of fused elementwise kernels; this one takes what is left of them.
#include <atomic>

#include "backends/cpu/broadcast.h"
#include "backends/cpu/kernels/elementwise/elementwise.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  BroadcastPlan plan;
  BinaryOp op;
  BinaryType type;
  int32_t in_size, out_size, shares;
};

struct Spelling {
  std::string_view op;
  BinaryOp code;
};
constexpr Spelling kSpellings[] = {{"Add", BinaryOp::kAdd},         {"Sub", BinaryOp::kSub},
                                   {"Mul", BinaryOp::kMul},         {"Div", BinaryOp::kDiv},
                                   {"Mod", BinaryOp::kMod},         {"Min", BinaryOp::kMin},
                                   {"Max", BinaryOp::kMax},         {"Equal", BinaryOp::kEqual},
                                   {"Less", BinaryOp::kLess},       {"LessOrEqual", BinaryOp::kLessOrEqual},
                                   {"Greater", BinaryOp::kGreater}, {"GreaterOrEqual", BinaryOp::kGreaterOrEqual},
                                   {"And", BinaryOp::kAnd},         {"Or", BinaryOp::kOr},
                                   {"Xor", BinaryOp::kXor}};

std::optional<BinaryOp> find_code(std::string_view op) {
  for (const Spelling& spelling : kSpellings) {
    if (spelling.op == op) return spelling.code;
  }
  return std::nullopt;
}

bool layouts_fit(const Problem& problem) {
  if (all_have_layout(problem, Layout::kPlain)) return true;
  const int rank = problem.output()->rank();
  return all_have_layout(problem, Layout::kChannelsLast) && rank >= 2 && problem.input(0)->rank() == rank &&
         problem.input(1)->rank() == rank;
}

std::optional<BinaryType> find_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return BinaryType::kFloat32;
    case DType::kInt32: return BinaryType::kInt32;
    case DType::kInt64: return BinaryType::kInt64;
    case DType::kUInt8:
    case DType::kBool: return BinaryType::kUInt8;
    default: return std::nullopt;
  }
}

BinaryFunction find_function(BinaryOp op, BinaryType type, int isa) {
  return select_elementwise_table(usable_isa(isa)).binary[static_cast<int>(op)][static_cast<int>(type)];
}

Refusal supports(const Problem& problem) {
  std::optional<BinaryOp> code = find_code(problem.node.op);
  if (!code) return "op";
  if (problem.node.program) return "fused program";
  if (problem.node.inputs.size() != 2) return "number of inputs";
  if (!layouts_fit(problem)) return "layout";
  std::optional<BinaryType> type = find_type(problem.dtype(0));
  if (problem.dtype(0) != problem.dtype(1) || !type || find_function(*code, *type, problem.target.isa) == nullptr)
    return "dtype";
  if (*code == BinaryOp::kMod && problem.node.attributes.get_int("fmod", 0) != 0) return "fmod";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  const Operand& y = prepare.outputs[0];
  State state{};
  for (const Operand& operand : {prepare.inputs[0], prepare.inputs[1], y}) {
    HUSSAR_CHECK(operand.layout == Layout::kPlain || operand.pitch == operand.shape[1], ErrorCode::kPlanIncompatible,
                 "step '{}': an operand is a part of another value; build the plan again", prepare.step.name);
  }
  state.plan = plan_broadcast(prepare.inputs, 2, y);
  state.op = *find_code(prepare.step.op);
  state.type = *find_type(prepare.inputs[0].dtype);
  state.in_size = static_cast<int32_t>(dtype_size(prepare.inputs[0].dtype));
  state.out_size = static_cast<int32_t>(dtype_size(y.dtype));
  double bytes = static_cast<double>(y.shape.elements() * (2 * state.in_size + state.out_size));
  state.shares = share_count(bytes / kBytesPerMicrosecond, prepare.threads, state.plan.units);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  BinaryFunction function = find_function(state.op, state.type, run.isa);
  std::atomic<int32_t> fault{kNoFault};
  auto run_share = [&](int index) {
    for_each_line(state.plan, range_of(state.plan.units, {index, state.shares}),
                  [&](const int64_t* offsets, int64_t out, int64_t count) {
                    int32_t found = function(run.inputs[0].data + offsets[0] * state.in_size,
                                             run.inputs[1].data + offsets[1] * state.in_size,
                                             run.outputs[0].data + out * state.out_size, count, state.plan.moves[0],
                                             state.plan.moves[1]);
                    if (found != kNoFault) fault.store(found, std::memory_order_relaxed);
                  });
  };
  run.pool.run(state.shares, run_share);
  HUSSAR_CHECK(fault.load() == kNoFault, ErrorCode::kRunFailed, "step '{}' ({}): {}", run.step.name, run.step.op,
               fault.load() == kDivisionByZero ? "integer division by zero" : "an integer division overflows");
  return {};
}

}  // namespace

extern const Kernel binary_kernel = {.name = "binary", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic binary_tactic = {.kernel = "binary", .supports = supports, .cost = cost};

}  // namespace hussar
