// cuda_token_order: hussar.TokenOrder in two launches.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"hussar.TokenOrder"})) return refusal;
  if (memory_type(problem.dtype(0)).empty()) return "dtype";
  return all_plain(problem.node) ? Refusal() : Refusal("layout");
}

double cost(const Problem& problem) { return kLaunchMicroseconds + memory_cost(problem); }

Status pack(Packing& packing) {
  Defines defines;
  defines.set("MASK_TYPE", memory_type(packing.node.inputs[0]->dtype));
  defines.set("INVERTED", packing.node.attributes.get_int("inverted", 0) != 0);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "token_order.cuh"}));
}

struct State {
  Launch count, place;
  int64_t batch, length;
};

Status prepare(Prepare& prepare) {
  const Shape& mask = prepare.inputs[0].shape;
  HUSSAR_CHECK(mask.elements() < (int64_t{1} << 31), ErrorCode::kUsage, "step '{}': a mask of shape {} is too large",
               prepare.step.name, mask.to_string());
  State& state = prepare.state_as<State>();
  state.batch = mask[0];
  state.length = mask[1];
  for (auto& [launch, function] : {std::pair(&state.count, "count_tokens"), std::pair(&state.place, "place_tokens")}) {
    *launch = HUSSAR_TRY(launch_for(prepare, function, 0));
    launch->grid[0] = static_cast<unsigned>(std::max<int64_t>(state.batch, 1));
  }
  prepare.scratch_bytes = static_cast<size_t>(state.batch) * sizeof(int32_t);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  words.put(run.inputs[0].data);
  words.put(run.scratch);
  for (size_t i = 0; i < 3; ++i) words.put(i < run.outputs.size() ? run.outputs[i].data : nullptr);
  words.put(state.batch);
  words.put(state.length);
  void* const arguments[] = {words.data()};
  HUSSAR_TRY(queue_of(run.device).launch(state.count, arguments));
  return queue_of(run.device).launch(state.place, arguments);
}

}  // namespace

extern const Kernel cuda_token_order_kernel = {
    .name = "cuda_token_order", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_token_order_tactic = {.kernel = "cuda_token_order",
                                               .place = Place::kDevice,
                                               .supports = supports,
                                               .cost = cost,
                                               .pack = pack,
                                               .unpack = forget_code};

}  // namespace hussar
