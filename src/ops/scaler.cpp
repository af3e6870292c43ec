// ai.onnx.ml.Scaler: (x - offset) * scale as float32. Both lists have one number, or one per element of the last axis.
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  context.outputs[0].dtype = DType::kFloat32;
  context.outputs[0].dims = context.info(0).dims;
  size_t offsets = context.attributes.get_floats("offset").size();
  size_t scales = context.attributes.get_floats("scale").size();
  if (offsets == 0 || offsets != scales)
    return context.fail("offset has {} numbers and scale {}; they need as many", offsets, scales);
  const Dims* dims = context.dims(0);
  if (offsets == 1 || dims == nullptr) return {};
  if (dims->empty() || (dims->back().is_constant() && dims->back().value() != static_cast<int64_t>(offsets)))
    return context.fail("{} scales do not fit the shape {}", offsets, to_string(*dims));
  return {};
}

static Status evaluate(EvalContext& context) {
  Floats offset = context.attributes.get_floats("offset"), scale = context.attributes.get_floats("scale");
  auto x = context.read<double>(0);
  auto y = context.write<float>();
  for (int64_t i = 0; i < x.size(); ++i) {
    size_t feature = static_cast<size_t>(i) % offset.size();
    y[i] = static_cast<float>((x[i] - offset[feature]) * scale[feature]);
  }
  return {};
}

extern const OpDef scaler_op = {
    .name = "ai.onnx.ml.Scaler", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
