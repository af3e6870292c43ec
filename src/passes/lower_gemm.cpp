// Gemm is a MatMul with its transposes, scale and addend written out, so that one kernel and one fusion serve both:
//   Gemm(a, b, c, transB=1, alpha=1, beta=1)  =>  MatMul(a, transpose(b)) + c
#include <algorithm>

#include "passes/pass.h"

namespace hussar {
namespace {

Tensor transposed(const Tensor& matrix, float scale) {
  int64_t rows = matrix.shape()[0], columns = matrix.shape()[1];
  Tensor result(matrix.dtype(), {columns, rows});
  const auto* in = matrix.data<float>();
  auto* out = result.data<float>();
  constexpr int64_t kBlock = 32;  // keeps both sides in the cache
  for (int64_t r = 0; r < rows; r += kBlock) {
    for (int64_t c = 0; c < columns; ++c) {
      for (int64_t i = r; i < std::min(r + kBlock, rows); ++i) out[c * rows + i] = scale * in[i * columns + c];
    }
  }
  return result;
}

Tensor scaled(const Tensor& tensor, float scale) {
  Tensor result = tensor.clone();
  for (int64_t i = 0; i < result.elements(); ++i) result.data<float>()[i] *= scale;
  return result;
}

bool lower(Graph& graph, Node* node) {
  Value* a = node->inputs[0];
  Value* b = node->inputs[1];
  Value* c = node->input(2);
  float alpha = node->attributes.get_float("alpha", 1.0F), beta = node->attributes.get_float("beta", 1.0F);
  bool constant_scale = c == nullptr || beta == 1.0F || c->is_constant();
  if (a->dtype != DType::kFloat32 || a->rank() != 2 || b->rank() != 2 || !b->is_constant() || !constant_scale)
    return false;
  if (node->program) return false;
  if (node->attributes.get_int("transA", 0) != 0) {
    Value* turned = graph.add_value(graph.unique_name(a->name), a->dtype, Dims{(*a->dims)[1], (*a->dims)[0]});
    Attributes order;
    order.set("perm", Ints{1, 0});
    graph.add_node("Transpose", node->name, {a}, {turned}, order);
    a = turned;
  }
  bool turn = node->attributes.get_int("transB", 0) != 0;
  if (turn)
    b = graph.add_constant(graph.unique_name(b->name), transposed(*b->constant, alpha));
  else if (alpha != 1.0F)
    b = graph.add_constant(graph.unique_name(b->name), scaled(*b->constant, alpha));
  Value* output = node->outputs[0];
  std::string name = node->name;
  graph.remove(node);
  if (c == nullptr) {
    graph.add_node("MatMul", name, {a, b}, {output});
    return true;
  }
  if (beta != 1.0F) c = graph.add_constant(graph.unique_name(c->name), scaled(*c->constant, beta));
  Value* product = graph.add_value(graph.unique_name(output->name), output->dtype, output->dims);
  graph.add_node("MatMul", name, {a, b}, {product});
  graph.add_node("Add", name, {product, c}, {output});
  return true;
}

Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    if (node->op == "Gemm" && lower(context.graph, node)) ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass lower_gemm_pass = {
    .name = "lower_gemm", .summary = "Gemm(a, b, c, transB=1) => MatMul(a, b^T) + c", .run = run};

}  // namespace hussar
