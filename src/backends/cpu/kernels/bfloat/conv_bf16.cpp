// conv_bf16: convolution of 1 to 3 spatial dimensions that multiplies in BF16, on FP32 activations, where that is
// allowed.
#include <algorithm>

#include "backends/cpu/bfloat_packing.h"
#include "backends/cpu/bfloat_steps.h"
#include "backends/cpu/conv_shape.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_bfloat_target(problem)) return refusal;
  if (auto refusal = check_conv(problem)) return refusal;
  return check_epilogue(problem);
}

struct Size {
  double rows;
  int64_t k, filters, groups;  // filters of one group
};
Size size_of(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t groups = std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1);
  return {Problem::elements(problem.output()) / static_cast<double>(filter[0]), filter.elements(1, filter.rank()),
          filter[0] / groups, groups};
}

double cost(const Problem& problem) {
  const Size size = size_of(problem);
  return bfloat_cost(problem, size.rows, size.k, size.filters, size.groups);
}

std::vector<Configuration> configurations(const Problem& problem) {
  const Size size = size_of(problem);
  return bfloat_configurations(problem, size.rows, size.k, size.filters, size.groups);
}

Status pack(Packing& packing) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  const int64_t groups = packing.node.attributes.get_int("group", 1);
  const int64_t filters = filter.shape()[0] / groups, k = filter.shape().elements(1, filter.shape().rank());
  remember_kernel_shape(packing.node, filter.shape());
  const std::vector<float> sorted = filter_by_taps<float>(filter);
  const int64_t elements = bfloat_weight_elements(k, filters);
  Tensor packed(DType::kBFloat16, {groups * elements});
  for (int64_t group = 0; group < groups; ++group) {
    pack_bfloat_weights(sorted.data() + group * filters * k, k, filters, 1, k,
                        packed.data<uint16_t>() + group * elements);
  }
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack, decode_bfloat_weights, kBfloatProbeBits); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<BfloatState>();
  state = BfloatState{};
  HUSSAR_TRY(fill_conv_geometry(prepare, state.args.conv, DType::kBFloat16));
  return prepare_bfloat_product(prepare, bias_input(prepare), state);
}

}  // namespace

extern const Kernel conv_bf16_kernel = {.name = "conv_bf16",
                                        .state_bytes = sizeof(BfloatState),
                                        .multiplies_in = DType::kBFloat16,
                                        .checks_shapes = true,
                                        .prepare = prepare,
                                        .run = run_bfloat_step};
extern const Tactic conv_bf16_tactic = {.kernel = "conv_bf16",
                                        .supports = supports,
                                        .cost = cost,
                                        .configurations = configurations,
                                        .pack = pack,
                                        .unpack = unpack};

}  // namespace hussar
