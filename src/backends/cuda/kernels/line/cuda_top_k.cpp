// cuda_top_k: TopK along any axis of up to 4096 elements.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr int64_t kLongest = 4096;  // in 48 KB of shared memory
constexpr std::string_view kSize = "hussar_size";

int axis_of(const Attributes& attributes, int rank) { return axis_from_front(attributes.get_int("axis", -1), rank); }

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"TopK"})) return refusal;
  const Value& x = *problem.input(0);
  if (memory_type(x.dtype).empty()) return "dtype";
  for (const auto* list : {&problem.node.inputs, &problem.node.outputs}) {
    for (const Value* value : *list) {
      if (value != nullptr && value->layout != Layout::kPlain) return "layout";
    }
  }
  if (x.rank() < 1) return "rank";
  if (!problem.is_constant(1)) return "needs a constant k";
  const int64_t length = known((*x.dims)[static_cast<size_t>(axis_of(problem.node.attributes, x.rank()))]);
  if (length < 1 || length > kLongest) return "length of the axis";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 8); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value& x = *node.inputs[0];
  const int64_t length = known((*x.dims)[static_cast<size_t>(axis_of(node.attributes, x.rank()))]);
  int64_t size = 2;
  while (size < length) size *= 2;
  node.attributes.set(kSize, size);
  Defines defines;
  defines.set("INPUT_TYPE", memory_type(x.dtype)).set("VALUE", register_type(x.dtype)).set("SIZE", size);
  defines.set("LARGEST", node.attributes.get_int("largest", 1) != 0 ? 1 : 0);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "top_k.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kSize);
  return {};
}

struct State {
  Launch launch;
  int64_t lines, length, inner, count;
};

Status prepare(Prepare& prepare) {
  const Shape &shape = prepare.inputs[0].shape, &result = prepare.outputs[0].shape;
  const int axis = axis_of(prepare.step.attributes, shape.rank());
  State& state = prepare.state_as<State>();
  state = {Launch{}, 0, shape[axis], shape.elements(axis + 1, shape.rank()), result[axis]};
  state.lines = shape.elements(0, axis) * state.inner;
  const bool fits = state.length <= prepare.step.attributes.get_int(kSize, 0) && state.count <= state.length;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  state.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "top_k"));
  state.launch.threads = 256;
  state.launch.grid[0] = blocks_for(state.lines, 1);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.lines, state.length, state.inner, state.count}) words.put(value);
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  words.put(run.outputs.size() > 1 ? run.outputs[1].data : nullptr);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_top_k_kernel = {
    .name = "cuda_top_k", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_top_k_tactic = {.kernel = "cuda_top_k",
                                         .place = Place::kDevice,
                                         .supports = supports,
                                         .cost = cost,
                                         .pack = pack,
                                         .unpack = unpack};

}  // namespace hussar
