// cuda_group_norm: InstanceNormalization and GroupNormalization of plain tensors.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/rows.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"InstanceNormalization", "GroupNormalization"})) return refusal;
  for (const auto* list : {&problem.node.inputs, &problem.node.outputs}) {
    for (const Value* value : *list) {
      if (value == nullptr || !is_float(value->dtype)) return "dtype";
      if (value->layout != Layout::kPlain) return "layout";
    }
  }
  if (problem.output()->dtype != problem.dtype(0)) return "dtype";
  if (problem.input(0)->rank() < 2) return "rank";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 1.5); }

int64_t groups_of(std::string_view op, const Attributes& attributes, int64_t channels) {
  return op == "GroupNormalization" ? std::max<int64_t>(attributes.get_int("num_groups", 1), 1) : channels;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Value &x = *node.inputs[0], &y = *node.outputs[0];
  const int64_t channels = known((*x.dims)[1]), plane = known_elements(*x.dims, 2, x.rank());
  const bool is_known = channels > 0 && plane > 0;
  const int64_t length = is_known ? channels / groups_of(node.op, node.attributes, channels) * plane : 0;
  Defines defines;
  define_rows(row_form(length, {{&x, plane}, {&y, plane}}), node, defines);
  defines.set("INPUT_TYPE", memory_type(x.dtype)).set("SCALE_TYPE", memory_type(node.inputs[1]->dtype));
  defines.set("BIAS_TYPE", memory_type(node.inputs[2]->dtype));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "rows.cuh", "group_norm.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRowsAttribute);
  return {};
}

struct State {
  Launch launch;
  int64_t rows, length, groups, channels, plane;
  float epsilon;
};

Status prepare(Prepare& prepare) {
  const Shape& shape = prepare.inputs[0].shape;
  State& state = prepare.state_as<State>();
  state.groups = groups_of(prepare.step.op, prepare.step.attributes, shape[1]);
  state.plane = shape.elements(2, shape.rank());
  state.channels = state.groups > 0 ? shape[1] / state.groups : 0;
  state.length = state.channels * state.plane;
  state.rows = state.length > 0 ? shape[0] * state.groups : 0;
  state.epsilon = prepare.step.attributes.get_float("epsilon", 1e-5F);
  HUSSAR_CHECK(state.length < INT32_MAX, ErrorCode::kUsage, "step '{}': groups of {} elements are too large",
               prepare.step.name, state.length);
  state.launch = HUSSAR_TRY(prepare_rows(prepare, "group_norm", state.rows, state.length, {state.plane}));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  for (int64_t value : {state.rows, state.length, state.groups, state.channels, state.plane}) words.put(value);
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  words.put(run.inputs[1].data);
  words.put(run.inputs[2].data);
  words.put_float(state.epsilon);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_group_norm_kernel = {
    .name = "cuda_group_norm", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_group_norm_tactic = {.kernel = "cuda_group_norm",
                                              .place = Place::kDevice,
                                              .supports = supports,
                                              .cost = cost,
                                              .pack = pack,
                                              .unpack = unpack};

}  // namespace hussar
