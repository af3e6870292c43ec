// ai.onnx.ml.Binarizer: 1 where the input is above `threshold`, else 0.
#include "ops/elementwise.h"

namespace hussar {

static Status evaluate(EvalContext& context) {
  double threshold = context.attributes.get_float("threshold", 0);
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  for (int64_t i = 0; i < x.size(); ++i) y[i] = x[i] > threshold ? 1 : 0;
  return {};
}

extern const OpDef binarizer_op = unary_op("ai.onnx.ml.Binarizer", infer_same, evaluate);

}  // namespace hussar
