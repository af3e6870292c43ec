// cuda_cum_sum: CumSum along any constant axis.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kRows = "hussar_by_rows";

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"CumSum"})) return refusal;
  const Value& x = *problem.input(0);
  if (memory_type(x.dtype).empty() || x.dtype == DType::kBool) return "dtype";
  if (x.layout != Layout::kPlain || problem.output()->layout != Layout::kPlain) return "layout";
  if (x.rank() < 1) return "rank";
  if (!problem.is_constant(1) || problem.input(1)->constant->elements() != 1) return "needs a constant axis";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 4); }

int axis_of(const Operand& axis, int rank) {
  return axis_from_front(axis.dtype == DType::kInt32 ? *axis.as<int32_t>() : *axis.as<int64_t>(), rank);
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value& x = *node.inputs[0];
  const int axis = axis_of(operand_of(*node.inputs[1]), x.rank());
  const bool has_rows = known_elements(*x.dims, axis + 1, x.rank()) == 1;
  node.attributes.set(kRows, int64_t{has_rows});
  Defines defines;
  defines.set("INPUT_TYPE", memory_type(x.dtype)).set("VALUE", register_type(x.dtype)).set("ROWS", has_rows ? 1 : 0);
  defines.set("EXCLUSIVE", node.attributes.get_int("exclusive", 0) != 0 ? 1 : 0);
  defines.set("REVERSE", node.attributes.get_int("reverse", 0) != 0 ? 1 : 0);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "cum_sum.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRows);
  return {};
}

struct State {
  Launch launch;
  int64_t lines, length, inner;
};

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.inputs[0].shape;
  const int axis = axis_of(prepare.inputs[1], shape.rank());
  State& state = prepare.state_as<State>();
  state = {Launch{}, 0, shape[axis], shape.elements(axis + 1, shape.rank())};
  state.lines = state.length > 0 ? shape.elements(0, axis) * state.inner : 0;
  const bool has_rows = prepare.step.attributes.get_int(kRows, 0) != 0;
  state.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "cum_sum"));
  state.launch.threads = 256;
  state.launch.grid[0] = blocks_for(state.lines, has_rows ? 256 / 32 : 256);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.lines, state.length, state.inner}) words.put(value);
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_cum_sum_kernel = {
    .name = "cuda_cum_sum", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_cum_sum_tactic = {.kernel = "cuda_cum_sum",
                                           .place = Place::kDevice,
                                           .supports = supports,
                                           .cost = cost,
                                           .pack = pack,
                                           .unpack = unpack};

}  // namespace hussar
