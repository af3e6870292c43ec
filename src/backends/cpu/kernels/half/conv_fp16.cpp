// conv_fp16: convolution of 1 to 3 spatial dimensions that multiplies in FP16, on FP32 activations, where that is
// allowed.
#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/half_packing.h"
#include "backends/cpu/half_steps.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_half_target(problem)) return refusal;
  if (auto refusal = check_conv(problem)) return refusal;
  if (auto refusal = check_half_weights(*problem.input(1)->constant)) return refusal;
  return check_epilogue(problem);
}

std::vector<Configuration> configurations(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t group = std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1);
  const double pixels = Problem::elements(problem.output()) / static_cast<double>(filter[0]);
  return half_configurations(problem, group, pixels, filter.elements(1, filter.rank()), filter[0] / group,
                             half_conv_cost(problem));
}

Status pack(Packing& packing) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  const int64_t groups = packing.node.attributes.get_int("group", 1);
  const int64_t filters = filter.shape()[0] / groups, k = filter.shape().elements(1, filter.shape().rank());
  remember_kernel_shape(packing.node, filter.shape());
  const std::vector<float> sorted = filter_by_taps<float>(filter);
  const int64_t elements = half_weight_elements(k, filters);
  Tensor packed(DType::kFloat16, {groups * elements});
  for (int64_t group = 0; group < groups; ++group) {
    pack_half_weights(sorted.data() + group * filters * k, k, filters, 1, k,
                      packed.data<uint16_t>() + group * elements);
  }
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack, decode_half_weights, kHalfProbeBits); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<HalfState>();
  state = HalfState{};
  HUSSAR_TRY(fill_conv_geometry(prepare, state.args.conv, DType::kFloat16));
  return prepare_half_product(prepare, bias_input(prepare), state);
}

}  // namespace

extern const Kernel conv_fp16_kernel = {.name = "conv_fp16",
                                        .state_bytes = sizeof(HalfState),
                                        .multiplies_in = DType::kFloat16,
                                        .checks_shapes = true,
                                        .prepare = prepare,
                                        .run = run_half_step};
extern const Tactic conv_fp16_tactic = {.kernel = "conv_fp16",
                                        .supports = supports,
                                        .cost = half_conv_cost,
                                        .configurations = configurations,
                                        .pack = pack,
                                        .unpack = unpack};

}  // namespace hussar
