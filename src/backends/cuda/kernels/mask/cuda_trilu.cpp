// cuda_trilu: Trilu of any elements.
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Trilu"})) return refusal;
  if (!is_movable(problem.dtype(0))) return "dtype";
  if (!all_plain(problem.node)) return "layout";
  if (problem.input(0)->rank() < 2) return "rank";
  const Value* diagonal = problem.input(1);
  if (diagonal != nullptr && diagonal->dtype != DType::kInt64) return "dtype of k";
  if (diagonal != nullptr && Problem::elements(diagonal) != 1) return "number of k";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

Status pack(Packing& packing) {
  Defines defines;
  defines.set("WORD", word_of(static_cast<int64_t>(dtype_size(packing.node.inputs[0]->dtype))));
  defines.set("UPPER", packing.node.attributes.get_int("upper", 1) != 0 ? 1 : 0);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "trilu.cuh"}));
}

Status unpack(Packing&) { return {}; }

struct State {
  Launch launch;
  int64_t elements, rows, columns;
};

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.inputs[0].shape;
  State& state = prepare.state_as<State>();
  state.elements = shape.elements();
  state.rows = shape[shape.rank() - 2];
  state.columns = shape[shape.rank() - 1];
  state.launch = HUSSAR_TRY(launch_for(prepare, "trilu", state.elements));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.elements, state.rows, state.columns}) words.put(value);
  words.put(run.inputs[0].data);
  words.put(run.inputs.size() > 1 ? run.inputs[1].data : nullptr);
  words.put(run.outputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_trilu_kernel = {
    .name = "cuda_trilu", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_trilu_tactic = {.kernel = "cuda_trilu",
                                         .place = Place::kDevice,
                                         .supports = supports,
                                         .cost = cost,
                                         .pack = pack,
                                         .unpack = unpack};

}  // namespace hussar
