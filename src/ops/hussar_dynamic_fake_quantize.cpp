// hussar.DynamicFakeQuantize: DynamicQuantizeLinear and back to real numbers, (q - zero_point) * scale.
#include "ops/elementwise.h"
#include "ops/quantize.h"
#include "tensor/dynamic_quantize.h"

namespace hussar {

static Status infer(InferContext& context) {
  if (context.dtype(0) != DType::kFloat32) return context.fail("takes float32");
  return infer_same(context);
}

static Status evaluate(EvalContext& context) {
  auto x = context.read<float>(0);
  float lowest = 0, highest = 0;
  for (float value : x) {
    lowest = std::min(lowest, value);
    highest = std::max(highest, value);
  }
  const QuantParams params = dynamic_params(lowest, highest);
  const IntegerRange range = integer_range(DType::kUInt8);
  auto y = context.write<float>();
  for (int64_t i = 0; i < x.size(); ++i) {
    const int64_t q = quantize(x[i] / params.scale, params.zero_point, range);
    y[i] = static_cast<float>(q - params.zero_point) * params.scale;
  }
  return {};
}

// Not elementwise: one element changes the scale of all.
extern const OpDef hussar_dynamic_fake_quantize_op = {.name = "hussar.DynamicFakeQuantize",
                                                      .min_inputs = 1,
                                                      .max_inputs = 1,
                                                      .traits = kChannelsLastOk,
                                                      .infer = infer,
                                                      .evaluate = evaluate};

}  // namespace hussar
