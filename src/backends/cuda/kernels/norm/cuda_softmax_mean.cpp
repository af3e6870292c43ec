// cuda_softmax_mean: hussar.SoftmaxMean of plain tensors.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

int axis_of(const Attributes& attributes, int rank) {
  const int64_t axis = attributes.get_int("axis", -1);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.SoftmaxMean"})) return refusal;
  if (problem.node.program) return "fused program";
  if (!is_float(problem.dtype(0)) || !is_float(problem.dtype(1)) || problem.output()->dtype != problem.dtype(0))
    return "dtype";
  return all_plain(problem.node) ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status pack(Packing& packing) {
  const Node& node = packing.node;
  Defines defines;
  defines.set("INPUT_TYPE", memory_type(node.inputs[0]->dtype)).set("OUTPUT_TYPE", memory_type(node.outputs[0]->dtype));
  defines.set("WEIGHT_TYPE", memory_type(node.inputs[1]->dtype));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "softmax_mean.cuh"}));
}

struct State {
  Launch launch;
  int64_t places, length, inner;
};

Status prepare(Prepare& prepare) {
  const Shape& x = prepare.inputs[0].shape;
  const int axis = axis_of(prepare.step.attributes, x.rank());
  State& state = prepare.state_as<State>();
  state.length = x[axis];
  HUSSAR_CHECK(prepare.inputs[1].shape.elements() == state.length, ErrorCode::kUsage,
               "step '{}': {} weights for an axis of {}", prepare.step.name, prepare.inputs[1].shape.elements(),
               state.length);
  state.inner = x.elements(axis + 1, x.rank());
  state.places = x.elements(0, axis) * state.inner;
  state.launch = HUSSAR_TRY(launch_for(prepare, "softmax_mean", 0));
  state.launch.threads = 128;
  state.launch.grid[0] = blocks_for(state.places, 128);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.places == 0) return {};
  Words words;
  for (int64_t value : {state.places, state.length, state.inner}) words.put(value);
  for (const std::byte* data : {run.inputs[0].data, run.inputs[1].data, run.outputs[0].data}) words.put(data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_softmax_mean_kernel = {
    .name = "cuda_softmax_mean", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_softmax_mean_tactic = {.kernel = "cuda_softmax_mean",
                                                .place = Place::kDevice,
                                                .supports = supports,
                                                .cost = cost,
                                                .pack = pack,
                                                .unpack = forget_code};

}  // namespace hussar
