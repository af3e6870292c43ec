// Biases of INT8 products gain what calibration found their outputs to lack on the average:
//   QuantizedConv(x, w, scales, bias)  =>  QuantizedConv(x, w, scales, bias + correction)
// A correction is true of one scale of x. It is not used where bytes that are shared with others got another one.
#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// Others may use the constant: it stays as it is.
bool add_to_bias(Graph& graph, Node* node, const std::vector<float>& correction) {
  constexpr size_t kBias = 3;
  Value* bias = node->input(kBias);
  const auto count = static_cast<int64_t>(correction.size());
  if (bias != nullptr &&
      (!bias->is_constant() || bias->dtype != DType::kFloat32 || bias->constant->elements() != count))
    return false;
  Tensor sum(DType::kFloat32, {count});
  for (int64_t i = 0; i < count; ++i)
    sum.data<float>()[i] =
        correction[static_cast<size_t>(i)] + (bias != nullptr ? bias->constant->data<float>()[i] : 0);
  graph.set_input(node, kBias,
                  graph.add_constant(graph.unique_name(bias != nullptr ? bias->name : "bias"), std::move(sum)));
  return true;
}

Result<int> run(PassContext& context) {
  int corrected = 0;
  for (Node* node : context.graph.snapshot()) {
    const auto* name = node->attributes.find<std::string>(kCorrectionAttribute);
    if (name == nullptr || context.quantization == nullptr) continue;
    auto it = context.quantization->corrections.find(*name);
    node->attributes.erase(kCorrectionAttribute);
    if (it == context.quantization->corrections.end()) continue;
    const ProductCorrection& correction = it->second;
    if (node->attributes.get_float("x_scale", 0) == correction.input.scale &&
        node->attributes.get_int("x_zero_point", 0) == correction.input.zero_point)
      corrected += add_to_bias(context.graph, node, correction.bias) ? 1 : 0;
  }
  return corrected;
}

}  // namespace

extern const Pass correct_biases_pass = {
    .name = "correct_biases",
    .summary = "QuantizedConv(x, w, scales, bias) => QuantizedConv(x, w, scales, bias + correction)",
    .run = run,
    .after = "move_bytes"};

}  // namespace hussar
