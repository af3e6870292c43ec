// cuda_dynamic_quantize: DynamicQuantizeLinear of a tensor in any layout without gaps. The range first, then the bytes,
// which are those of ONNX.
#include "backends/cuda/kernel_support.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr int kVector = 4, kThreads = 256;
constexpr unsigned kMostParts = 1024;

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"DynamicQuantizeLinear"})) return refusal;
  if (problem.dtype(0) != DType::kFloat32) return "dtype";
  if (problem.output() == nullptr) return "output 0 is not taken";
  if (problem.input(0)->layout != problem.output()->layout) return "mixed layouts";
  if (problem.input(0)->slice_of != nullptr || problem.output()->slice_of != nullptr) return "a slice";
  return std::nullopt;
}

double cost(const Problem& problem) { return kLaunchMicroseconds + memory_cost(problem, 1.8); }

Status pack(Packing& packing) {
  Defines defines;
  defines.set("VECTOR", kVector);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "dynamic_quantize.cuh"}));
}

struct State {
  Launch find, quantize;
  int64_t count;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state.count = prepare.inputs[0].shape.elements();
  const unsigned blocks = std::clamp(blocks_for((state.count + kVector - 1) / kVector, kThreads), 1U, kMostParts);
  for (auto& [launch, function] :
       {std::pair(&state.find, "find_ranges"), std::pair(&state.quantize, "quantize_tensor")}) {
    *launch = Launch{};
    launch->function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, function));
    launch->threads = kThreads;
    launch->grid[0] = blocks;
  }
  prepare.scratch_bytes = size_t{blocks} * 2 * sizeof(float);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Words words;
  words.put(state.count);
  words.put(run.inputs[0].data);
  for (size_t i = 0; i < 3; ++i) words.put(i < run.outputs.size() ? run.outputs[i].data : nullptr);
  words.put(run.scratch);
  words.put(int64_t{state.find.grid[0]});
  void* const arguments[] = {words.data()};
  HUSSAR_TRY(queue_of(run.device).launch(state.find, arguments));
  return queue_of(run.device).launch(state.quantize, arguments);
}

}  // namespace

extern const Kernel cuda_dynamic_quantize_kernel = {.name = "cuda_dynamic_quantize",
                                                    .place = Place::kDevice,
                                                    .state_bytes = sizeof(State),
                                                    .prepare = prepare,
                                                    .run = run};
extern const Tactic cuda_dynamic_quantize_tactic = {.kernel = "cuda_dynamic_quantize",
                                                    .place = Place::kDevice,
                                                    .supports = supports,
                                                    .cost = cost,
                                                    .pack = pack,
                                                    .unpack = forget_code};

}  // namespace hussar
