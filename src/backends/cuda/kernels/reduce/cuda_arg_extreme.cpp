// cuda_arg_extreme: ArgMax and ArgMin along any axis of plain tensors and along the channels of channels-last ones.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kGroup = "hussar_group";

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"ArgMax", "ArgMin"})) return refusal;
  const Value &x = *problem.input(0), &y = *problem.output();
  if (memory_type(x.dtype).empty()) return "dtype";
  if (x.rank() < 1) return "rank";
  const int axis = axis_from_front(problem.node.attributes.get_int("axis", 0), x.rank());
  if (x.layout == Layout::kChannelsLast && axis != 1) return "layout";
  if (y.layout == Layout::kChannelsLast && x.layout != Layout::kChannelsLast) return "layout";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 2); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value& x = *node.inputs[0];
  const int axis = axis_from_front(node.attributes.get_int("axis", 0), x.rank());
  const bool has_rows = x.layout == Layout::kChannelsLast || known_elements(*x.dims, axis + 1, x.rank()) == 1;
  const int64_t length = known((*x.dims)[static_cast<size_t>(axis)]);
  const int64_t group = !has_rows ? 1 : length > 2048 ? 256 : 32;
  node.attributes.set(kGroup, group);
  Defines defines;
  defines.set("INPUT_TYPE", memory_type(x.dtype)).set("VALUE", register_type(x.dtype)).set("GROUP", group);
  defines.set("MAXIMUM", node.op == "ArgMax" ? 1 : 0);
  defines.set("LAST", node.attributes.get_int("select_last_index", 0) != 0 ? 1 : 0);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "arg_extreme.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kGroup);
  return {};
}

struct State {
  Launch launch;
  int64_t outputs, length, inner, input_pitch, output_pitch;
};

Status prepare(Prepare& prepare) {
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  const int rank = x.shape.rank();
  const int axis = axis_from_front(prepare.step.attributes.get_int("axis", 0), rank);
  State& state = prepare.state_as<State>();
  state = {Launch{}, y.shape.elements(), x.shape[axis], x.shape.elements(axis + 1, rank), x.shape[axis], 1};
  if (x.layout == Layout::kChannelsLast) {
    state.inner = 1;
    state.input_pitch = x.pitch;
    if (y.layout == Layout::kChannelsLast) state.output_pitch = y.pitch;
  }
  HUSSAR_CHECK(state.length > 0 || state.outputs == 0, ErrorCode::kUsage,
               "step '{}': there are no elements to choose from", prepare.step.name);
  const int64_t group = prepare.step.attributes.get_int(kGroup, 0);
  HUSSAR_CHECK(group == 1 || group == 32 || group == 256, ErrorCode::kPlanIncompatible,
               "step '{}' does not say what its code is for; build the plan again", prepare.step.name);
  state.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "arg_extreme"));
  state.launch.threads = 256;
  state.launch.grid[0] = blocks_for(state.outputs, 256 / static_cast<int>(group));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.outputs, state.length, state.inner, state.input_pitch, state.output_pitch}) {
    words.put(value);
  }
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_arg_extreme_kernel = {
    .name = "cuda_arg_extreme", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_arg_extreme_tactic = {.kernel = "cuda_arg_extreme",
                                               .place = Place::kDevice,
                                               .supports = supports,
                                               .cost = cost,
                                               .pack = pack,
                                               .unpack = unpack};

}  // namespace hussar
