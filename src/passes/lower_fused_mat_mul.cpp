// A product with weights reads rows, unscaled:
//   FusedMatMul(x, w){transA, alpha}  =>  MatMul(Transpose(x), alpha * w)
// What comes from a convolution lies in rows already, so the transposition is a view, and elsewhere it moves little
// beside the product. Only such products have an INT8 form.
#include <utility>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool lower(Graph& graph, Node* node) {
  if (node->op != "com.microsoft.FusedMatMul" || node->program) return false;
  Value* x = node->inputs[0];
  Value* w = node->inputs[1];
  const float alpha = node->attributes.get_float("alpha", 1.0F);
  const bool turns = node->attributes.get_int("transA", 0) != 0;
  const bool rotates =
      node->attributes.get_int("transBatchA", 0) != 0 || node->attributes.get_int("transBatchB", 0) != 0;
  if (!w->is_constant() || w->dtype != DType::kFloat32 || x->rank() < 2 || rotates || (!turns && alpha == 1.0F))
    return false;
  if (turns) {
    Dims dims = *x->dims;
    Ints order;
    for (int axis = 0; axis < x->rank(); ++axis) order.push_back(axis);
    std::swap(dims[dims.size() - 1], dims[dims.size() - 2]);
    std::swap(order[order.size() - 1], order[order.size() - 2]);
    Attributes attributes;
    attributes.set("perm", std::move(order));
    x = add_operation(graph, node->name, "Transpose", {x}, std::move(attributes), x->dtype, std::move(dims));
  }
  if (alpha != 1.0F) {
    Tensor scaled = w->constant->clone();
    for (int64_t i = 0; i < scaled.elements(); ++i) scaled.data<float>()[i] *= alpha;
    w = graph.add_constant(graph.unique_name(w->name), std::move(scaled));
  }
  Attributes attributes = node->attributes;
  for (const char* gone : {"transA", "alpha"}) attributes.erase(gone);
  const bool is_plain = attributes.get_int("transB", 0) == 0;
  replace_node(graph, node, is_plain ? "MatMul" : node->op, {x, w}, is_plain ? Attributes{} : std::move(attributes));
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return lower(context.graph, node); });
}

}  // namespace

extern const Pass lower_fused_mat_mul_pass = {
    .name = "lower_fused_mat_mul",
    .summary = "FusedMatMul(x, w, transA=1) => MatMul(Transpose(x), w), of constant w",
    .run = run,
    .after = "lower_gemm"};

}  // namespace hussar
