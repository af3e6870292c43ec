// Ranges and parameters of quantised values.
#include "ops/quantize.h"

#include <cmath>

#include "ops/axis.h"

namespace hussar {

IntegerRange integer_range(DType dtype) {
  switch (dtype) {
    case DType::kInt8: return {-128, 127};
    case DType::kUInt16: return {0, 65535};
    case DType::kInt16: return {-32768, 32767};
    case DType::kInt32: return {-2147483648.0, 2147483647.0};
    case DType::kUInt4: return {0, 15};
    case DType::kInt4: return {-8, 7};
    case DType::kUInt2: return {0, 3};
    case DType::kInt2: return {-2, 1};
    default: return {0, 255};
  }
}

Status check_parameter(const InferContext& context, size_t input, const Dim* length) {
  const Dims* dims = context.dims(input);
  if (dims == nullptr || product(*dims).is(1) || !product(*dims).is_constant()) return {};
  bool fits = length != nullptr && dims->size() == 1 && (!length->is_constant() || (*dims)[0] == *length);
  if (!fits)
    return context.fail("input {} has the shape {}; it must be one number or one per channel", input, to_string(*dims));
  return {};
}

Status check_integer(const InferContext& context, size_t input, int bits) {
  if (!context.has(input)) return {};
  const DType dtype = context.dtype(input);
  const bool narrow = dtype == DType::kInt8 || dtype == DType::kUInt8;
  const bool medium = dtype == DType::kInt16 || dtype == DType::kUInt16;
  const bool fits = narrow || (medium && bits >= 16) || (dtype == DType::kInt32 && bits >= 32);
  if (fits) return {};
  return context.fail("input {} is {}; it must be an integer of at most {} bits", input, dtype_name(dtype), bits);
}

std::vector<int64_t> centered(const EvalContext& context, size_t data, size_t zero_point) {
  const Tensor& tensor = context.input(data);
  std::vector<int64_t> values(static_cast<size_t>(tensor.elements()));
  load_elements<int64_t>(tensor, 0, tensor.elements(), values.data());
  if (!context.has(zero_point) || values.empty()) return values;
  Ints zero_points = context.integers(zero_point);
  if (zero_points.empty()) return values;
  int64_t inner = zero_points.size() == 1 ? tensor.elements() : tensor.elements() / tensor.shape()[0];
  for (size_t i = 0; i < values.size(); ++i) values[i] -= zero_points[i / static_cast<size_t>(inner)];
  return values;
}

ScaleMap scale_map(const EvalContext& context) {
  const Shape& data = context.shape(0);
  const Shape& scale = context.shape(1);
  ScaleMap map;
  if (scale.elements() == 1) {
    map.inner = data.elements();
    return map;
  }
  AxisSplit split = split_at(data, context.attributes.get_int("axis", 1));
  map.outer = split.outer;
  map.length = split.length;
  map.inner = split.inner;
  map.block_step = 1;
  if (scale.rank() == 1 && context.attributes.get_int("block_size", 0) == 0) return map;
  map.block = context.attributes.get_int("block_size", 0);
  map.inner_step = 1;
  map.block_step = split.inner;
  map.outer_step = (split.length + map.block - 1) / map.block * split.inner;
  return map;
}

// Scales that give no number, or infinite ones. Negative ones have a meaning, and a scale of 0 is one of zeros.
static Status check_scale_numbers(const InferContext& context) {
  const Tensor* scale = context.constant(1);
  if (scale == nullptr || !is_floating(scale->dtype()) || scale->elements() == 0) return {};
  std::vector<float> numbers(static_cast<size_t>(scale->elements()));
  load_elements<float>(*scale, 0, scale->elements(), numbers.data());
  const bool divides = context.node.op == "QuantizeLinear";
  for (size_t i = 0; i < numbers.size(); ++i) {
    if (std::isfinite(numbers[i]) && !(divides && numbers[i] == 0)) continue;
    return context.fail("scale {} is {}: the model was not quantized properly; quantize it again", i, numbers[i]);
  }
  return {};
}

Status check_scales(const InferContext& context) {
  HUSSAR_TRY(check_scale_numbers(context));
  const Dims* data = context.dims(0);
  const Dims* scale = context.dims(1);
  int64_t block = context.attributes.get_int("block_size", 0);
  if (block < 0 || block >= (int64_t{1} << 31)) return context.fail("block_size is {}", block);
  auto differ = [](const Dim& a, const Dim& b) { return a.is_constant() && b.is_constant() && !(a == b); };
  if (scale == nullptr) return {};
  if (const Dims* zero_point = context.dims(2);
      zero_point != nullptr && !(product(*zero_point).is(1) && product(*scale).is(1))) {
    bool same = zero_point->size() == scale->size();
    for (size_t i = 0; same && i < scale->size(); ++i) same = !differ((*zero_point)[i], (*scale)[i]);
    if (!same) return context.fail("the zero point and the scale have different shapes");
  }
  if (data == nullptr || product(*scale).is(1)) return {};
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 1), static_cast<int>(data->size())));
  if (data->empty()) return context.fail("a scalar needs one scale");
  if (block == 0) {
    if (scale->size() != 1 || differ((*scale)[0], (*data)[axis])) {
      return context.fail("scales of shape {} for axis {} of shape {}", to_string(*scale), axis, to_string(*data));
    }
    return {};
  }
  bool fits = scale->size() == data->size();
  for (size_t i = 0; fits && i < data->size(); ++i) {
    Dim wanted = static_cast<int>(i) == axis ? ceil_div((*data)[i], Dim(block)) : (*data)[i];
    fits = !differ((*scale)[i], wanted);
  }
  if (!fits)
    return context.fail("scales of shape {} for blocks of {} along axis {} of shape {}", to_string(*scale), block, axis,
                        to_string(*data));
  return {};
}

}  // namespace hussar
