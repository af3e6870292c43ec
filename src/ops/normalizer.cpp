// ai.onnx.ml.Normalizer: rows divided by their maximum, the sum of their absolute values (L1) or their length (L2), as
// float32. Rows whose divisor is 0 stay as they are.
#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  std::string norm = context.attributes.get_string("norm", "MAX");
  if (norm != "MAX" && norm != "L1" && norm != "L2") return context.fail("norm '{}' is not MAX, L1 or L2", norm);
  if (context.dims(0) != nullptr && (context.rank(0) < 1 || context.rank(0) > 2))
    return context.fail("the input has {} dimensions instead of 1 or 2", context.rank(0));
  context.outputs[0].dtype = DType::kFloat32;
  context.outputs[0].dims = context.info(0).dims;
  return {};
}

static Status evaluate(EvalContext& context) {
  std::string norm = context.attributes.get_string("norm", "MAX");
  auto x = context.read<double>(0);
  auto y = context.write<float>();
  AxisSplit split = split_at(context.shape(0), -1);
  for (int64_t row = 0; row < split.outer; ++row) {
    const double* from = x.data() + row * split.length;
    double maximum = split.length > 0 ? from[0] : 0, sum = 0, squares = 0;
    for (int64_t i = 0; i < split.length; ++i) {
      maximum = std::max(maximum, from[i]);
      sum += std::abs(from[i]);
      squares += from[i] * from[i];
    }
    double divisor = norm == "MAX" ? maximum : norm == "L1" ? sum : std::sqrt(squares);
    if (divisor == 0) divisor = 1;
    for (int64_t i = 0; i < split.length; ++i) y[row * split.length + i] = static_cast<float>(from[i] / divisor);
  }
  return {};
}

extern const OpDef normalizer_op = {
    .name = "ai.onnx.ml.Normalizer", .min_inputs = 1, .max_inputs = 1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
