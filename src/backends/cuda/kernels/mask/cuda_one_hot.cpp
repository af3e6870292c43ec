// cuda_one_hot: OneHot by integers, with a constant depth.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"OneHot"})) return refusal;
  if (memory_type(problem.dtype(0)).empty() || is_float(problem.dtype(0))) return "dtype of the indices";
  if (!problem.is_constant(1)) return "needs a constant depth";
  if (!is_movable(problem.dtype(2)) || problem.output()->dtype != problem.dtype(2)) return "dtype";
  if (!all_plain(problem.node)) return "layout";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status pack(Packing& packing) {
  const Node& node = packing.node;
  Defines defines;
  defines.set("WORD", word_of(static_cast<int64_t>(dtype_size(node.inputs[2]->dtype))));
  defines.set("INDEX_TYPE", memory_type(node.inputs[0]->dtype));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "one_hot.cuh"}));
}

Status unpack(Packing&) { return {}; }

struct State {
  Launch launch;
  int64_t elements, depth, inner;
};

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.outputs[0].shape;
  const int axis = axis_from_front(prepare.step.attributes.get_int("axis", -1), shape.rank());
  State& state = prepare.state_as<State>();
  state.elements = shape.elements();
  state.depth = shape[axis];
  state.inner = shape.elements(axis + 1, shape.rank());
  state.launch = HUSSAR_TRY(launch_for(prepare, "one_hot", state.elements));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.elements, state.depth, state.inner}) words.put(value);
  for (const std::byte* data : {run.inputs[0].data, run.inputs[2].data, run.outputs[0].data}) words.put(data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_one_hot_kernel = {
    .name = "cuda_one_hot", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_one_hot_tactic = {.kernel = "cuda_one_hot",
                                           .place = Place::kDevice,
                                           .supports = supports,
                                           .cost = cost,
                                           .pack = pack,
                                           .unpack = unpack};

}  // namespace hussar
