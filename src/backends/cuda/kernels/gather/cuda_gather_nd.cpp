// cuda_gather_nd: GatherND, and ScatterND that replaces. A tuple out of range gives zeros, or writes nothing; of slices
// that are written more than once any of the updates stays, as ONNX leaves open.
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kScatter = "ScatterND";

int batch_of(const Attributes& attributes, std::string_view op) {
  return op == kScatter ? 0 : static_cast<int>(attributes.get_int("batch_dims", 0));
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"GatherND", kScatter})) return refusal;
  if (!is_movable(problem.dtype(0))) return "dtype";
  if (!is_index(problem.dtype(1))) return "dtype of the indices";
  if (!all_plain(problem.node)) return "layout";
  if (problem.input(1)->rank() < 1 || known(problem.input(1)->dims->back()) < 1) return "length of the tuples";
  if (problem.node.attributes.get_string("reduction", "none") != "none") return "reduction";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 2); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value& data = *node.inputs[0];
  const int64_t tuple = known(node.inputs[1]->dims->back());
  const auto size = static_cast<int64_t>(dtype_size(data.dtype));
  const int first = batch_of(node.attributes, node.op) + static_cast<int>(tuple);
  const int64_t inner = known_elements(*data.dims, first, data.rank());
  const int64_t word = inner > 0 ? word_bytes(inner * size) : size;
  node.attributes.set(kWordAttribute, word);
  Defines defines;
  defines.set("WORD", word_of(word)).set("INDEX_TYPE", index_type(node.inputs[1]->dtype)).set("TUPLE", tuple);
  defines.set("SCATTER", node.op == kScatter ? 1 : 0);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "gather_nd.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kWordAttribute);
  return {};
}

struct State {
  Launch launch;
  int64_t units, inner, tuples_of_batch, batch_stride;
  int tuple;
  int64_t lengths[kMaxRank], strides[kMaxRank];
  int64_t copied_bytes;
};

Status prepare(Prepare& prepare) {
  const Shape &data = prepare.inputs[0].shape, &indices = prepare.inputs[1].shape;
  const int rank = data.rank(), batch = batch_of(prepare.step.attributes, prepare.step.op);
  const auto size = static_cast<int64_t>(dtype_size(prepare.inputs[0].dtype));
  State& state = prepare.state_as<State>();
  state.tuple = static_cast<int>(indices[indices.rank() - 1]);
  const int first = batch + state.tuple;
  const int64_t word = HUSSAR_TRY(word_of_step(prepare.step, data.elements(first, rank) * size));
  auto words_in = [&](int axis) { return data.elements(axis, rank) * size / word; };
  state.inner = words_in(first);
  state.tuples_of_batch = indices.elements(batch, indices.rank() - 1);
  state.batch_stride = words_in(batch);
  for (int k = 0; k < state.tuple; ++k) {
    state.lengths[k] = data[batch + k];
    state.strides[k] = words_in(batch + k + 1);
  }
  state.units = indices.elements(0, indices.rank() - 1) * state.inner;
  state.copied_bytes = prepare.step.op == kScatter ? data.elements() * size : 0;
  state.launch = HUSSAR_TRY(launch_for(prepare, "gather_nd", state.units));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  std::byte* output = run.outputs[0].data;
  HUSSAR_TRY(queue_of(run.device).copy_within(output, run.inputs[0].data, static_cast<size_t>(state.copied_bytes)));
  Words words;
  for (int64_t value : {state.units, state.inner, state.tuples_of_batch, state.batch_stride}) words.put(value);
  for (int k = 0; k < state.tuple; ++k) words.put(state.lengths[k]);
  for (int k = 0; k < state.tuple; ++k) words.put(state.strides[k]);
  words.put(run.inputs.size() > 2 ? run.inputs[2].data : run.inputs[0].data);
  words.put(run.inputs[1].data);
  words.put(output);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_gather_nd_kernel = {
    .name = "cuda_gather_nd", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_gather_nd_tactic = {.kernel = "cuda_gather_nd",
                                             .place = Place::kDevice,
                                             .supports = supports,
                                             .cost = cost,
                                             .pack = pack,
                                             .unpack = unpack};

}  // namespace hussar
