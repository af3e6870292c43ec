// cuda_gather_bytes: hussar.GatherBytes, embeddings in INT8. Indices out of range give zeros, as for cuda_gather.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kVector = "hussar_vector";

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.GatherBytes"})) return refusal;
  if (problem.dtype(0) != DType::kUInt8 || problem.dtype(1) != DType::kFloat32 || !is_float(problem.output()->dtype))
    return "dtype";
  if (!is_index(problem.dtype(2))) return "dtype of the indices";
  return all_plain(problem.node) ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) {
  return kLaunchMicroseconds +
         Problem::elements(problem.output()) * static_cast<double>(dtype_size(DType::kFloat32)) * 1e-6;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const int64_t columns = known(node.inputs[0]->dims->back());
  int64_t vector = 8;
  while (columns % vector != 0) vector /= 2;
  node.attributes.set(kVector, vector);
  Defines defines;
  defines.set("INDEX_TYPE", index_type(node.inputs[2]->dtype)).set("VECTOR", vector);
  defines.set("OUTPUT_TYPE", memory_type(node.outputs[0]->dtype));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "gather_bytes.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kVector);
  return {};
}

struct State {
  Launch launch;
  int64_t units, rows, groups;
};

Status prepare(Prepare& prepare) {
  const Shape& table = prepare.inputs[0].shape;
  const int64_t vector = prepare.step.attributes.get_int(kVector, 0);
  HUSSAR_CHECK(table.rank() == 2 && vector >= 1 && vector <= 8 && table[1] % vector == 0, ErrorCode::kPlanIncompatible,
               "step '{}': its code is for other shapes; build the plan again", prepare.step.name);
  State& state = prepare.state_as<State>();
  state.rows = table[0];
  state.groups = table[1] / vector;
  state.units = prepare.inputs[2].shape.elements() * state.groups;
  state.launch = HUSSAR_TRY(launch_for(prepare, "gather_bytes", state.units));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.units, state.rows, state.groups}) words.put(value);
  for (size_t i = 0; i < 3; ++i) words.put(run.inputs[i].data);
  words.put(run.outputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_gather_bytes_kernel = {
    .name = "cuda_gather_bytes", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_gather_bytes_tactic = {.kernel = "cuda_gather_bytes",
                                                .place = Place::kDevice,
                                                .supports = supports,
                                                .cost = cost,
                                                .pack = pack,
                                                .unpack = unpack};

}  // namespace hussar
