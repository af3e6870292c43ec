// conv_amx: FP32 convolution of 1 or 2 spatial dimensions on the matrix unit, from split bfloat16.
#include <algorithm>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/amx/matrix_product.h"
#include "backends/cpu/matrix_packing.h"
#include "backends/cpu/matrix_steps.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_matrix_unit(problem)) return refusal;
  if (auto refusal = check_conv(problem)) return refusal;
  if (problem.input(0)->rank() > 4) return "rank";
  Ints strides = problem.node.attributes.get_ints("strides"), dilations = problem.node.attributes.get_ints("dilations");
  const auto above_one = [](int64_t value) { return value > 1; };
  if (std::any_of(strides.begin(), strides.end(), above_one) &&
      std::any_of(dilations.begin(), dilations.end(), above_one)) {
    return "dilation with stride";
  }
  return check_epilogue(problem);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const double groups = static_cast<double>(std::max<int64_t>(problem.node.attributes.get_int("group", 1), 1));
  const double filters = static_cast<double>(filter[0]);
  const double pixels = Problem::elements(problem.output()) / filters;
  const auto taps = static_cast<double>(filter.elements(2, filter.rank()));
  const double own_filters = static_cast<double>(panel_count(filter[0] / static_cast<int64_t>(groups)) * 16);
  return matrix_microseconds(problem, pixels * groups, taps * static_cast<double>(matrix_channels(filter[1])),
                             own_filters);
}

std::vector<Configuration> configurations(const Problem& problem) {
  return matrix_configurations(problem, cost(problem));
}

Status pack(Packing& packing) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  const int64_t groups = packing.node.attributes.get_int("group", 1);
  const int64_t filters = filter.shape()[0] / groups, channels = filter.shape()[1];
  const int64_t taps = filter.shape().elements(2, filter.shape().rank());
  remember_kernel_shape(packing.node, filter.shape());
  const std::vector<float> sorted = filter_by_taps<float>(filter);
  const int64_t elements = matrix_weight_elements(taps, channels, filters);
  Tensor packed(DType::kBFloat16, {groups * elements});
  auto* out = packed.data<uint16_t>();
  for (int64_t group = 0; group < groups; ++group) {
    pack_matrix_weights(sorted.data() + group * filters * taps * channels, taps, channels, filters, 1, taps * channels,
                        out + group * elements);
  }
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack, decode_matrix_weights); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<MatrixState>();
  state = MatrixState{};
  ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(fill_conv_geometry(prepare, conv, DType::kBFloat16));
  bool fits = conv.kernel[0] == 1 && prepare.inputs[0].shape.rank() <= 4;
  for (int axis : {1, 2}) fits = fits && (conv.stride[axis] == 1 || conv.dilation[1] * conv.dilation[2] == 1);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': not a convolution for the matrix unit",
               prepare.step.name);
  HUSSAR_TRY(check_packed_weights(prepare, {conv.groups, conv.kernel[1], conv.kernel[2], matrix_channels(conv.channels),
                                            panel_count(conv.filters) * kPanelColumns, 2}));
  return prepare_matrix_product(prepare, bias_input(prepare), state);
}

}  // namespace

extern const Kernel conv_amx_kernel = {.name = "conv_amx",
                                       .state_bytes = sizeof(MatrixState),
                                       .checks_shapes = true,
                                       .prepare = prepare,
                                       .run = run_matrix_step};
extern const Tactic conv_amx_tactic = {.kernel = "conv_amx",
                                       .supports = supports,
                                       .cost = cost,
                                       .configurations = configurations,
                                       .pack = pack,
                                       .unpack = unpack};

}  // namespace hussar
