// cuda_lrn: LRN over the channels, in both layouts.
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"LRN"})) return refusal;
  const Value &x = *problem.input(0), &y = *problem.output();
  if (!is_float(x.dtype) || y.dtype != x.dtype) return "dtype";
  if (x.layout != y.layout) return "mixed layouts";
  if (x.rank() < 2) return "rank";
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem, 2); }

Status pack(Packing& packing) {
  const Attributes& attributes = packing.node.attributes;
  const int64_t size = attributes.get_int("size", 1);
  Defines defines;
  defines.set("INPUT_TYPE", memory_type(packing.node.inputs[0]->dtype));
  defines.set("BEFORE", (size - 1) / 2).set("AFTER", size - 1 - (size - 1) / 2);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "lrn.cuh"}));
}

Status unpack(Packing&) { return {}; }

struct State {
  Launch launch;
  int64_t elements, channels, inner, input_pitch, output_pitch;
  float factor, bias, power;
};

Status prepare(Prepare& prepare) {
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0];
  const Attributes& attributes = prepare.step.attributes;
  State& state = prepare.state_as<State>();
  state.elements = x.shape.elements();
  state.channels = x.shape[1];
  state.inner = x.shape.elements(2, x.shape.rank());
  const bool is_last = x.layout == Layout::kChannelsLast;
  state.input_pitch = is_last ? x.pitch : 0;
  state.output_pitch = is_last ? y.pitch : 0;
  state.factor = attributes.get_float("alpha", 1e-4F) / static_cast<float>(attributes.get_int("size", 1));
  state.bias = attributes.get_float("bias", 1);
  state.power = attributes.get_float("beta", 0.75F);
  state.launch = HUSSAR_TRY(launch_for(prepare, "lrn", state.elements));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const int64_t step = state.input_pitch > 0 ? 1 : state.inner;
  Words words;
  for (int64_t value :
       {state.elements, state.channels, state.inner, step, step, state.input_pitch, state.output_pitch}) {
    words.put(value);
  }
  words.put(run.inputs[0].data);
  words.put(run.outputs[0].data);
  for (float value : {state.factor, state.bias, state.power}) words.put_float(value);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_lrn_kernel = {
    .name = "cuda_lrn", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_lrn_tactic = {
    .kernel = "cuda_lrn", .place = Place::kDevice, .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
