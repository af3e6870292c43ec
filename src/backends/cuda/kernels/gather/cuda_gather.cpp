// cuda_gather: Gather of any dtype along any axis. Indices are not known before the run: what is out of range gives
// zeros, where the kernel of the CPU fails.
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Gather"})) return refusal;
  if (!is_movable(problem.dtype(0))) return "dtype";
  if (!is_index(problem.dtype(1))) return "dtype of the indices";
  if (!all_plain(problem.node)) return "layout";
  if (problem.input(0)->rank() < 1) return "rank";
  return std::nullopt;
}

// What is read is as much as what is written.
double cost(const Problem& problem) {
  const double elements = Problem::elements(problem.output());
  return kLaunchMicroseconds + elements * static_cast<double>(dtype_size(problem.dtype(0))) * 1e-6;
}

int axis_of(const Attributes& attributes, int rank) { return axis_from_front(attributes.get_int("axis", 0), rank); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value& data = *node.inputs[0];
  const auto size = static_cast<int64_t>(dtype_size(data.dtype));
  const int64_t inner = known_elements(*data.dims, axis_of(node.attributes, data.rank()) + 1, data.rank());
  const int64_t word = inner > 0 ? word_bytes(inner * size) : size;
  node.attributes.set(kWordAttribute, word);
  Defines defines;
  defines.set("WORD", word_of(word)).set("INDEX_TYPE", index_type(node.inputs[1]->dtype));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "gather.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kWordAttribute);
  return {};
}

struct State {
  Launch launch;
  int64_t units, length, count, inner;
};

Status prepare(Prepare& prepare) {
  const Operand& data = prepare.inputs[0];
  const int rank = data.shape.rank();
  const int axis = axis_of(prepare.step.attributes, rank);
  const int64_t slice = data.shape.elements(axis + 1, rank) * static_cast<int64_t>(dtype_size(data.dtype));
  const int64_t word = HUSSAR_TRY(word_of_step(prepare.step, slice));
  State& state = prepare.state_as<State>();
  state.length = data.shape[axis];
  state.count = prepare.inputs[1].shape.elements();
  state.inner = slice / word;
  state.units = data.shape.elements(0, axis) * state.count * state.inner;
  state.launch = HUSSAR_TRY(launch_for(prepare, "gather", state.units));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.units, state.length, state.count, state.inner}) words.put(value);
  for (const std::byte* data : {run.inputs[0].data, run.inputs[1].data, run.outputs[0].data}) words.put(data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_gather_kernel = {
    .name = "cuda_gather", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_gather_tactic = {.kernel = "cuda_gather",
                                          .place = Place::kDevice,
                                          .supports = supports,
                                          .cost = cost,
                                          .pack = pack,
                                          .unpack = unpack};

}  // namespace hussar
