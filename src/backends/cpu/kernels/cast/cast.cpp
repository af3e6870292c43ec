// cast: Cast between float32, float16, bfloat16, int32, int64, uint8, int8 and bool in plain tensors.
#include "backends/cpu/kernels/cast/cast.h"

#include "backends/cpu/kernel_support.h"

namespace hussar {
namespace {

using namespace cpu;

struct State {
  int64_t count, in_size, out_size;
  int32_t from, to, shares;
};

// -1: not one of the table's types.
int cast_type(DType dtype) {
  switch (dtype) {
    case DType::kFloat32: return static_cast<int>(CastType::kFloat32);
    case DType::kFloat16: return static_cast<int>(CastType::kFloat16);
    case DType::kBFloat16: return static_cast<int>(CastType::kBFloat16);
    case DType::kInt32: return static_cast<int>(CastType::kInt32);
    case DType::kInt64: return static_cast<int>(CastType::kInt64);
    case DType::kUInt8: return static_cast<int>(CastType::kUInt8);
    case DType::kInt8: return static_cast<int>(CastType::kInt8);
    case DType::kBool: return static_cast<int>(CastType::kBool);
    default: return -1;
  }
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Cast", "CastLike"})) return refusal;
  if (!all_have_layout(problem, Layout::kPlain)) return "layout";
  int from = cast_type(problem.dtype(0)), to = cast_type(problem.output()->dtype);
  if (from < 0 || to < 0) return "dtype";
  // Through float32 a large integer would be rounded twice.
  bool narrow_float = to == static_cast<int>(CastType::kFloat16) || to == static_cast<int>(CastType::kBFloat16);
  bool wide_integer = from == static_cast<int>(CastType::kInt32) || from == static_cast<int>(CastType::kInt64);
  return narrow_float && wide_integer ? Refusal("rounds twice") : Refusal();
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status prepare(Prepare& prepare) {
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  State state{x.shape.elements(),
              static_cast<int64_t>(dtype_size(x.dtype)),
              static_cast<int64_t>(dtype_size(y.dtype)),
              cast_type(x.dtype),
              cast_type(y.dtype),
              1};
  double bytes = static_cast<double>(state.count * (state.in_size + state.out_size));
  state.shares = share_count(bytes / kBytesPerMicrosecond, prepare.threads, state.count);
  prepare.state_as<State>() = state;
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  CastFunction convert = select_cast_table(usable_isa(run.isa)).convert[state.from][state.to];
  run.pool.run(state.shares, [&](int index) {
    Range range = range_of(state.count, {index, state.shares});
    convert(run.inputs[0].data + range.begin * state.in_size, run.outputs[0].data + range.begin * state.out_size,
            range.end - range.begin);
  });
  return {};
}

}  // namespace

extern const Kernel cast_kernel = {.name = "cast", .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cast_tactic = {.kernel = "cast", .supports = supports, .cost = cost};

}  // namespace hussar
