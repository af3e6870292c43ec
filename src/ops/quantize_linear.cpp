// QuantizeLinear: saturate(round(x / scale) + zero_point), per tensor, per index of an axis, or per block of an axis.
#include "ops/elementwise.h"
#include "ops/quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto declared = static_cast<DType>(context.attributes.get_int("output_dtype", 0));
  DType dtype = context.has(2) ? context.dtype(2) : declared != DType::kUndefined ? declared : DType::kUInt8;
  if (declared != DType::kUndefined && declared != dtype)
    return context.fail("output_dtype is not that of the zero point");
  if (dtype_size(dtype) == 0) return context.fail("output_dtype is {}", context.attributes.get_int("output_dtype", 0));
  HUSSAR_TRY(check_scales(context));
  HUSSAR_TRY(infer_same(context));
  context.outputs[0].dtype = dtype;
  return {};
}

// The nearest value of a narrower floating type.
static float round_to(float value, DType dtype) {
  if (dtype == DType::kFloat16) return half_to_float(float_to_half(value));
  if (dtype == DType::kBFloat16) return bfloat16_to_float(float_to_bfloat16(value));
  return value;
}

static Status evaluate(EvalContext& context) {
  ScaleMap map = scale_map(context);
  auto x = context.read<float>(0), scale = context.read<float>(1);
  auto precision = static_cast<DType>(context.attributes.get_int("precision", 0));
  if (precision == DType::kUndefined) precision = context.input(1).dtype();
  DType dtype = context.output().dtype();
  if (is_floating(dtype)) {
    std::vector<float> zero_point(static_cast<size_t>(scale.size()), 0);
    if (context.has(2)) load_elements<float>(context.input(2), 0, context.input(2).elements(), zero_point.data());
    std::vector<float> y(static_cast<size_t>(x.size()));
    map.for_each([&](int64_t i, int64_t s) { y[i] = round_to(x[i] / scale[s], precision) + zero_point[s]; });
    if (dtype_size(dtype) != 1 || context.attributes.get_int("saturate", 1) != 0) {
      store_elements<float>(context.output(), 0, x.size(), y.data());
    } else {
      auto* bytes = context.output().data<uint8_t>();
      for (int64_t i = 0; i < x.size(); ++i) bytes[i] = float_to_small_float(y[i], dtype, false);
    }
    return {};
  }
  Ints zero_point = context.has(2) ? context.integers(2) : Ints(static_cast<size_t>(scale.size()), 0);
  IntegerRange range = integer_range(dtype);
  auto y = context.write<int64_t>();
  map.for_each(
      [&](int64_t i, int64_t s) { y[i] = quantize(round_to(x[i] / scale[s], precision), zero_point[s], range); });
  return {};
}

extern const OpDef quantize_linear_op = {.name = "QuantizeLinear",
                                         .aliases = "com.microsoft.QuantizeLinear",
                                         .min_inputs = 2,
                                         .max_inputs = 3,
                                         .infer = infer,
                                         .evaluate = evaluate};

}  // namespace hussar
