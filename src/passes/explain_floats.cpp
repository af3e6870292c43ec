// Says of every convolution, product and recurrent step that stays in floats why, where no pass before has said so:
//   MatMul(x, y){note: ""}  =>  MatMul(x, y){note: "no INT8: both operands are computed when the model runs"}
#include <fmt/format.h>

#include "ops/op_def.h"
#include "ops/product_weights.h"
#include "passes/pass.h"
#include "passes/support/products.h"

namespace hussar {
namespace {

std::string refusal_of_product(const Node& node, std::string_view precision) {
  const Value* x = node.input(0);
  const Value* w = node.input(1);
  if (x == nullptr || w == nullptr) return "it has no second operand";
  if (!w->is_constant()) {
    if (node.op == "Conv") return "its weights are computed when the model runs";
    return fmt::format("its right operand is computed when the model runs, {} wants constant weights", precision);
  }
  if (product_weights(node)) {
    if (node.op == "Conv") return fmt::format("{} convolutions are channels-last, which this one is not", precision);
    return "none of the passes that quantize has looked at it";
  }
  return "its weights are no matrix, not all finite, or scaled or transposed by the product";
}

std::string refusal_of(const Node& node, const Quantization& quantization) {
  if (const std::string* kept = entry_of(quantization.float_nodes, node)) return *kept;
  if (node.inputs[0]->dtype != DType::kFloat32)
    return fmt::format("it multiplies {}, and {} replaces float32 only", dtype_name(node.inputs[0]->dtype),
                       quantization.name());
  if (node.op == "Conv" || node.op == "MatMul" || node.op == "com.microsoft.FusedMatMul")
    return refusal_of_product(node, quantization.name());
  return fmt::format("there is no {} form of {}", quantization.name(), node.op);
}

Result<int> run(PassContext& context) {
  if (context.quantization == nullptr) return 0;
  for (Node* node : context.graph.snapshot()) {
    const Value* x = node->input(0);
    if (x == nullptr || !multiplies_floats(node->op, x->dtype) || reason_in(node->note)) continue;
    node->note +=
        (node->note.empty() ? "" : "\n") + no_int8(refusal_of(*node, *context.quantization), context.quantization->fp8);
  }
  return 0;
}

}  // namespace

extern const Pass explain_floats_pass = {.name = "explain_floats",
                                         .summary = "MatMul(x, y) => the same, with a note why it is not INT8",
                                         .run = run,
                                         .after = "quantize_attention"};

}  // namespace hussar
