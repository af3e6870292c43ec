// cuda_gather_elements: GatherElements, and ScatterElements that replaces. An index out of range gives a zero, or
// writes nothing; of elements that are written more than once any of the updates stays, as ONNX leaves open.
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kScatter = "ScatterElements";

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"GatherElements", kScatter})) return refusal;
  if (!is_movable(problem.dtype(0))) return "dtype";
  if (!is_index(problem.dtype(1))) return "dtype of the indices";
  if (!all_plain(problem.node)) return "layout";
  if (problem.input(0)->rank() < 1) return "rank";
  if (problem.node.attributes.get_string("reduction", "none") != "none") return "reduction";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 2); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  Defines defines;
  defines.set("WORD", word_of(static_cast<int64_t>(dtype_size(node.inputs[0]->dtype))));
  defines.set("INDEX_TYPE", index_type(node.inputs[1]->dtype)).set("RANK", node.inputs[0]->rank());
  defines.set("SCATTER", node.op == kScatter ? 1 : 0);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "gather_elements.cuh"}));
}

Status unpack(Packing&) { return {}; }

struct State {
  Launch launch;
  int64_t units, length, axis_stride;
  int rank;
  int64_t dims[kMaxRank], strides[kMaxRank];
  int64_t copied_bytes;
};

Status prepare(Prepare& prepare) {
  const Shape &data = prepare.inputs[0].shape, &indices = prepare.inputs[1].shape;
  const int rank = data.rank();
  const int axis = axis_from_front(prepare.step.attributes.get_int("axis", 0), rank);
  State& state = prepare.state_as<State>();
  state.rank = rank;
  state.units = indices.elements();
  state.length = data[axis];
  state.axis_stride = data.elements(axis + 1, rank);
  for (int i = 0; i < rank; ++i) {
    state.dims[i] = indices[i];
    state.strides[i] = i == axis ? 0 : data.elements(i + 1, rank);
  }
  const bool scatters = prepare.step.op == kScatter;
  state.copied_bytes = scatters ? data.elements() * static_cast<int64_t>(dtype_size(prepare.inputs[0].dtype)) : 0;
  state.launch = HUSSAR_TRY(launch_for(prepare, "gather_elements", state.units));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  std::byte* output = run.outputs[0].data;
  HUSSAR_TRY(queue_of(run.device).copy_within(output, run.inputs[0].data, static_cast<size_t>(state.copied_bytes)));
  Words words;
  for (int64_t value : {state.units, state.length, state.axis_stride}) words.put(value);
  for (int i = 0; i < state.rank; ++i) words.put(state.dims[i]);
  for (int i = 0; i < state.rank; ++i) words.put(state.strides[i]);
  words.put(run.inputs.size() > 2 ? run.inputs[2].data : run.inputs[0].data);
  words.put(run.inputs[1].data);
  words.put(output);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_gather_elements_kernel = {.name = "cuda_gather_elements",
                                                   .place = Place::kDevice,
                                                   .state_bytes = sizeof(State),
                                                   .prepare = prepare,
                                                   .run = run};
extern const Tactic cuda_gather_elements_tactic = {.kernel = "cuda_gather_elements",
                                                   .place = Place::kDevice,
                                                   .supports = supports,
                                                   .cost = cost,
                                                   .pack = pack,
                                                   .unpack = unpack};

}  // namespace hussar
