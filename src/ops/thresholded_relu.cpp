// ThresholdedRelu: x for x > alpha, else 0.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [alpha = attributes.get_float("alpha", 1)](auto x) { return x > alpha ? x : decltype(x)(0); };
};

extern const OpDef thresholded_relu_op =
    unary_op("ThresholdedRelu", infer_same, evaluate_unary_with_attributes<kCompute>);

}  // namespace hussar
