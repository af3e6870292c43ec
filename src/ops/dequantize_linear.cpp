// DequantizeLinear: (x - zero_point) * scale, per tensor, per index of an axis, or per block of an axis.
#include "ops/elementwise.h"
#include "ops/quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto declared = static_cast<DType>(context.attributes.get_int("output_dtype", 0));
  if (declared != DType::kUndefined && !is_floating(declared)) {
    return context.fail("output_dtype is {}", context.attributes.get_int("output_dtype", 0));
  }
  HUSSAR_TRY(check_scales(context));
  HUSSAR_TRY(infer_same(context));
  context.outputs[0].dtype = declared != DType::kUndefined ? declared : context.dtype(1);
  return {};
}

static Status evaluate(EvalContext& context) {
  ScaleMap map = scale_map(context);
  auto x = context.read<double>(0);
  auto scale = context.read<float>(1);
  std::vector<double> zero_point(static_cast<size_t>(scale.size()), 0);
  if (context.has(2)) load_elements<double>(context.input(2), 0, context.input(2).elements(), zero_point.data());
  auto y = context.write<float>();
  map.for_each([&](int64_t i, int64_t s) { y[i] = static_cast<float>(x[i] - zero_point[s]) * scale[s]; });
  return {};
}

extern const OpDef dequantize_linear_op = {.name = "DequantizeLinear",
                                           .aliases = "com.microsoft.DequantizeLinear",
                                           .min_inputs = 2,
                                           .max_inputs = 3,
                                           .infer = infer,
                                           .evaluate = evaluate};

}  // namespace hussar
