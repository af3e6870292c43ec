// cuda_conv: convolutions as products of windows and filters (implicit GEMM) with tensor cores; FP32 with
// multiply-adds.
#include "backends/cuda/ampere_product.h"
#include "backends/cuda/convolution.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

DenseProduct product_of(const Convolution& conv) {
  const int64_t k = conv.channels * conv.taps();
  return {conv.pixels(), conv.filters, k, conv.x_pitch, k, conv.y_pitch};
}

Result<Convolution> convolution_of(const Node& node) {
  return convolution(node.attributes, operand_of(*node.inputs[0]), node.inputs[1]->constant->shape(),
                     operand_of(*node.outputs[0]));
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_convolution(problem)) return refusal;
  if (Refusal refusal = check_ampere_types(problem)) return refusal;
  auto conv = convolution_of(problem.node);
  if (!conv) return "shapes";
  if (conv->groups != 1) return "groups";
  const int64_t chunk = problem.dtype(0) == DType::kFloat32 ? 4 : 8;
  const bool is_aligned = conv->channels % chunk == 0 && conv->filters % 8 == 0 && conv->x_pitch % chunk == 0 &&
                          conv->y_pitch % 8 == 0 && offset_in_holder(*problem.input(0)) % 8 == 0 &&
                          offset_in_holder(*problem.output()) % 8 == 0;
  return is_aligned ? Refusal() : Refusal("channels are not multiples of 16 bytes");
}

double cost(const Problem& problem) {
  auto conv = convolution_of(problem.node);
  // Finding the windows takes time.
  return conv ? memory_cost(problem) + 1.2 * ampere_time(product_of(*conv), problem.dtype(0)) : 1e9;
}

// [filter][channel][tap] as [filter][tap][channel], or back.
Tensor turned(const Tensor& from, const Shape& shape, bool back) {
  const int64_t channels = shape[1], taps = shape.elements(2, shape.rank());
  const size_t size = dtype_size(from.dtype());
  Tensor to(from.dtype(), shape);
  for (int64_t filter = 0; filter < shape[0]; ++filter) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t by_channels = (filter * channels + channel) * taps + tap;
        const int64_t by_taps = (filter * taps + tap) * channels + channel;
        std::memcpy(to.raw() + static_cast<size_t>(back ? by_channels : by_taps) * size,
                    from.raw() + static_cast<size_t>(back ? by_taps : by_channels) * size, size);
      }
    }
  }
  return to;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution_of(node));
  packing.replace(1, turned(*node.inputs[1]->constant, node.inputs[1]->constant->shape(), false));
  Defines defines;
  define_ampere(node, product_of(conv), packing.target.sm, defines);
  defines.set("PRODUCT_WINDOWS", 1).set("CONV_CHANNELS", conv.channels);
  defines.set("CONV_KERNEL_1", conv.kernel[1]).set("CONV_KERNEL_2", conv.kernel[2]);
  return attach_code(
      packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node, bias_input(node))) +
                   assemble({}, {"half.cuh", "product_contract.cuh", "convolution_rows.cuh", "product_ampere.cuh"}));
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  forget_ampere(node);
  const Ints* shape = node.attributes.find<Ints>("hussar_packed_1");
  HUSSAR_CHECK(shape != nullptr && node.inputs[1] != nullptr && node.inputs[1]->is_constant() &&
                   node.inputs[1]->constant->shape() == Shape(*shape),
               ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  packing.replace(1, turned(*node.inputs[1]->constant, Shape(*shape), true));
  return {};
}

struct State {
  AmpereLaunch launch;
  Windows windows;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  // The filter in memory has the taps before the channels, and the same shape.
  const Convolution conv =
      HUSSAR_TRY(convolution(step.attributes, prepare.inputs[0], prepare.inputs[1].shape, prepare.outputs[0]));
  HUSSAR_TRY(prepare_ampere(prepare, product_of(conv), state.launch));
  state.windows = windows_of(conv);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Windows windows = state.windows;
  return launch_ampere(run, state.launch, run.inputs[0].data, &windows);
}

}  // namespace

extern const Kernel cuda_conv_kernel = {
    .name = "cuda_conv", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_conv_tactic = {
    .kernel = "cuda_conv", .place = Place::kDevice, .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
