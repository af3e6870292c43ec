// Gelu: x/2 * (1 + erf(x / sqrt 2)), or its approximation by tanh.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](const Attributes& attributes) {
  return [by_tanh = attributes.get_string("approximate", "none") == "tanh"](auto x) {
    double value = x;
    double inner = by_tanh ? std::tanh(std::sqrt(2 / M_PI) * (value + 0.044715 * value * value * value))
                           : std::erf(value / std::sqrt(2.0));
    return value / 2 * (1 + inner);
  };
};

static Status infer(InferContext& context) {
  std::string approximate = context.attributes.get_string("approximate", "none");
  if (approximate != "none" && approximate != "tanh") return context.fail("unknown approximation '{}'", approximate);
  return infer_same(context);
}

static constexpr OpDef make_op() {
  OpDef op = unary_op("Gelu", infer, evaluate_unary_with_attributes<kCompute>);
  op.aliases = "com.microsoft.Gelu";
  return op;
}

extern const OpDef gelu_op = make_op();

}  // namespace hussar
