// cuda_norm: LayerNormalization and RMSNormalization over the last axes, hussar.NormToBytes and hussar.NormToRows.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/norm.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {kLayerNorm, kRootNorm, kNormToBytes, kNormToRows})) return refusal;
  if (!is_float(problem.dtype(0))) return "dtype";
  if (problem.input(0)->layout != Layout::kPlain) return "layout";
  if (Refusal refusal = refuse_norm(problem, problem.node.op)) return refusal;
  const int rank = problem.input(0)->rank();
  if (rank < 1) return "rank";
  const int axis = axis_from_front(problem.node.attributes.get_int("axis", -1), rank);
  return refuse_norm_shapes(problem, Dims(problem.input(0)->dims->begin() + axis, problem.input(0)->dims->end()));
}

double cost(const Problem& problem) { return memory_cost(problem); }

NormRows rows_of(const Node& node) {
  const Value& x = *node.inputs[0];
  const int axis = axis_from_front(node.attributes.get_int("axis", -1), x.rank());
  return {x, known_elements(*x.dims, axis, x.rank()), known_elements(*x.dims, 0, axis)};
}

std::vector<Configuration> configurations(const Problem& problem) {
  return norm_configurations(problem, problem.node.op, rows_of(problem.node), cost(problem));
}

Status pack(Packing& packing) {
  const Node& node = packing.node;
  const DType x = node.inputs[0]->dtype;
  Defines defines;
  defines.set("INPUT_TYPE", memory_type(x));
  return attach_norm(packing, node.op, rows_of(node), x, defines, "norm.cuh");
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRowsAttribute);
  return {};
}

struct State {
  Launch launch;
  NormState norm;
};

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.inputs[0].shape;
  const int axis = axis_from_front(prepare.step.attributes.get_int("axis", -1), shape.rank());
  State& state = prepare.state_as<State>();
  state.norm = norm_state(prepare.step, prepare.step.op, shape.elements(0, axis), shape.elements(axis, shape.rank()));
  state.launch =
      HUSSAR_TRY(prepare_rows(prepare, "normalize", state.norm.rows, state.norm.length, {state.norm.length}));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  put_norm(run, state.norm, words);
  words.put(run.inputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_norm_kernel = {
    .name = "cuda_norm", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_norm_tactic = {.kernel = "cuda_norm",
                                        .place = Place::kDevice,
                                        .supports = supports,
                                        .cost = cost,
                                        .configurations = configurations,
                                        .pack = pack,
                                        .unpack = unpack};

}  // namespace hussar
