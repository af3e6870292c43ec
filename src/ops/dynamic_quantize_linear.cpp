// DynamicQuantizeLinear: uint8 quantisation over the range of the data, which is widened to contain 0.
#include "ops/elementwise.h"
#include "ops/quantize.h"
#include "tensor/dynamic_quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  context.outputs[0].dtype = DType::kUInt8;
  context.set(1, DType::kFloat32, {});
  context.set(2, DType::kUInt8, {});
  return {};
}

static Status evaluate(EvalContext& context) {
  auto x = context.read<float>(0);
  float lowest = 0, highest = 0;
  for (float value : x) {
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  }
  const QuantParams params = dynamic_params(lowest, highest);
  const float scale = params.scale;
  const int64_t zero_point = params.zero_point;
  IntegerRange range = integer_range(DType::kUInt8);
  auto y = context.write<int64_t>();
  for (int64_t i = 0; i < x.size(); ++i) y[i] = quantize(x[i] / scale, zero_point, range);
  if (context.wants(1)) store_elements<float>(context.output(1), 0, 1, &scale);
  if (context.wants(2)) store_elements<int64_t>(context.output(2), 0, 1, &zero_point);
  return {};
}

extern const OpDef dynamic_quantize_linear_op = {.name = "DynamicQuantizeLinear",
                                                 .min_inputs = 1,
                                                 .max_inputs = 1,
                                                 .max_outputs = 3,
                                                 .infer = infer,
                                                 .evaluate = evaluate};

}  // namespace hussar
