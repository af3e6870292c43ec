// Geometry of convolutions from attributes and shapes.
#include "backends/cuda/convolution.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/epilogue_source.h"

namespace hussar::cuda {

bool Convolution::is_pointwise() const {
  bool is_plain = groups == 1;
  for (int axis = 0; axis < 3; ++axis) {
    is_plain = is_plain && kernel[axis] == 1 && strides[axis] == 1 && pads[axis] == 0;
  }
  return is_plain;
}

Refusal check_convolution(const Problem& problem, std::initializer_list<std::string_view> ops) {
  if (Refusal refusal = refuse_op(problem, ops)) return refusal;
  const Value& x = *problem.input(0);
  if (Refusal refusal = check_factors(problem)) return refusal;
  const Value* bias = problem.own_inputs() > 2 ? problem.input(2) : nullptr;
  if (bias != nullptr && !is_float(bias->dtype)) return "dtype";
  if (!problem.is_constant(1)) return "needs constant weights";
  if (x.rank() < 3 || x.rank() > 5 || problem.input(1)->rank() != x.rank()) return "rank";
  if (x.layout != Layout::kChannelsLast || problem.output()->layout != Layout::kChannelsLast) {
    return "layout is not channels-last";
  }
  return check_epilogue(problem);
}

Result<Convolution> convolution(std::string_view op, const Attributes& attributes, const Operand& x, const Shape& w,
                                const Operand& y) {
  Convolution conv;
  const bool is_transposed = op == "ConvTranspose";
  const int spatial = x.shape.rank() - 2;
  const auto count = static_cast<size_t>(std::max(spatial, 0));
  const Ints strides = attributes.get_ints("strides", Ints(count, 1));
  const Ints dilations = attributes.get_ints("dilations", Ints(count, 1));
  const Ints pads = attributes.get_ints("pads", Ints(2 * count, 0));
  const Ints more = attributes.get_ints("output_padding", Ints(count, 0));
  const std::string automatic = attributes.get_string("auto_pad", "NOTSET");
  conv.groups = attributes.get_int("group", 1);
  const bool has_ranks = spatial >= 1 && spatial <= 3 && w.rank() == x.shape.rank() && y.shape.rank() == x.shape.rank();
  bool fits = has_ranks && strides.size() == count && dilations.size() == count && pads.size() == 2 * count &&
              more.size() == count && conv.groups >= 1 && w[0] % conv.groups == 0;
  if (fits) {
    conv.channels = is_transposed ? w[0] / conv.groups : w[1];
    conv.filters = is_transposed ? w[1] : w[0] / conv.groups;
    fits = x.shape[1] == conv.channels * conv.groups && y.shape[1] == conv.filters * conv.groups;
  }
  HUSSAR_CHECK(fits, ErrorCode::kUsage, "a filter of shape {} does not fit an input of {} and an output of {}",
               w.to_string(), x.shape.to_string(), y.shape.to_string());
  conv.batch = x.shape[0];
  conv.x_pitch = x.pitch;
  conv.y_pitch = y.pitch;
  const bool computes_pads = automatic.starts_with("SAME") || (is_transposed && attributes.has("output_shape"));
  for (int axis = 0; axis < spatial; ++axis) {
    const int at = 3 - spatial + axis;
    const auto index = static_cast<size_t>(axis);
    conv.input[at] = x.shape[axis + 2];
    conv.output[at] = y.shape[axis + 2];
    conv.kernel[at] = w[axis + 2];
    conv.strides[at] = strides[index];
    conv.dilations[at] = dilations[index];
    conv.pads[at] = automatic == "NOTSET" ? pads[index] : 0;
    if (!computes_pads) continue;
    // What the windows reach beyond the larger side.
    const int64_t small = is_transposed ? conv.input[at] : conv.output[at];
    const int64_t large = is_transposed ? conv.output[at] - more[index] : conv.input[at];
    const int64_t reach = (conv.kernel[at] - 1) * conv.dilations[at] + 1;
    const int64_t total = std::max<int64_t>((small - 1) * conv.strides[at] + reach - large, 0);
    conv.pads[at] = automatic == "SAME_UPPER" ? total / 2 : (total + 1) / 2;
  }
  return conv;
}

Result<Convolution> convolution(const Node& node) {
  return convolution(node.op, node.attributes, operand_of(*node.inputs[0]), node.inputs[1]->constant->shape(),
                     operand_of(*node.outputs[0]));
}

}  // namespace hussar::cuda
