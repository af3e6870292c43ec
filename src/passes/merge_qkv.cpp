// The projections to queries, keys and values of one attention become one matrix product with side-by-side weights,
// whose columns the attention reads by offsets; so do the parts of one that the model splits itself:
//   Attention(x q_weight, x k_weight, x v_weight)  =>  Attention(y, y, y) with y = x [q_weight k_weight v_weight]
#include <cstring>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

struct Projection {
  Value* x = nullptr;
  const Tensor* weight = nullptr;  // [K][N]
  const Tensor* bias = nullptr;    // [N], or none
  int64_t width = 0;
};

// `value` as x * weight + bias, computed for the attention only.
std::optional<Projection> projection_of(const Graph& graph, const Value* value, const Node* attention) {
  if (only_user(graph, value) != attention || value->rank() != 3 || value->producer == nullptr) return std::nullopt;
  Projection result;
  Node* node = value->producer;
  if (node->op == "Add" && !node->program) {
    size_t side = node->inputs[0]->is_constant() ? 0 : 1;
    const Value* bias = node->inputs[side];
    const Value* product = node->inputs[1 - side];
    if (!bias->is_constant() || bias->rank() != 1 || only_user(graph, product) != node) return std::nullopt;
    result.bias = &*bias->constant;
    node = produced_by(product, "MatMul");
  }
  if (node == nullptr || node->op != "MatMul" || node->program) return std::nullopt;
  const Value* weight = node->inputs[1];
  if (!weight->is_constant() || weight->rank() != 2 || weight->dtype != DType::kFloat32) return std::nullopt;
  result.x = node->inputs[0];
  result.weight = &*weight->constant;
  result.width = weight->constant->shape()[1];
  if (result.bias != nullptr && result.bias->elements() != result.width) return std::nullopt;
  return result;
}

// The rows of the matrices one after the other: [K][N1 + N2 + ...].
Tensor beside(const std::vector<const Tensor*>& matrices, int64_t rows) {
  int64_t columns = 0;
  for (const Tensor* matrix : matrices) columns += matrix->elements() / rows;
  Tensor result(DType::kFloat32, {rows, columns});
  auto* out = result.data<float>();
  for (int64_t row = 0; row < rows; ++row) {
    for (const Tensor* matrix : matrices) {
      int64_t width = matrix->elements() / rows;
      out = std::copy_n(matrix->data<float>() + row * width, width, out);
    }
  }
  return result;
}

constexpr const char* kOffsets[] = {"q_offset", "k_offset", "v_offset"};

// Attention(..., part of Split(y), ...) => Attention(..., y, ...) with an offset.
bool read_through_split(Graph& graph, Node* attention, size_t index) {
  const Value* part = attention->inputs[index];
  Node* split = part->rank() == 3 ? produced_by(part, "Split") : nullptr;
  if (split == nullptr || split->program || axis_of(*split, 0) != 2) return false;
  int64_t offset = attention->attributes.get_int(kOffsets[index], 0);
  for (const Value* output : split->outputs) {
    if (output == part) break;
    if (static_dim(output, 2) < 0) return false;
    offset += static_dim(output, 2);
  }
  attention->attributes.set(kOffsets[index], offset);
  graph.set_input(attention, index, split->inputs[0]);
  unlink_unused(graph, split);
  return true;
}

// One product for the attention's inputs `first` to 2.
bool merge(Graph& graph, Node* attention, size_t first) {
  std::vector<Projection> projections;
  bool has_bias = false;
  for (size_t i = first; i < 3; ++i) {
    auto projection = projection_of(graph, attention->inputs[i], attention);
    if (!projection || (i > first && projection->x != projections[0].x)) return false;
    has_bias = has_bias || projection->bias != nullptr;
    projections.push_back(*projection);
  }
  std::vector<const Tensor*> weights, biases;
  std::vector<Tensor> zeros;
  zeros.reserve(3);
  int64_t width = 0;
  for (size_t i = 0; i < projections.size(); ++i) {
    const Projection& projection = projections[i];
    if (width != 0) {
      int64_t offset = attention->attributes.get_int(kOffsets[first + i], 0);
      attention->attributes.set(kOffsets[first + i], offset + width);
    }
    width += projection.width;
    weights.push_back(projection.weight);
    if (projection.bias == nullptr) zeros.emplace_back(DType::kFloat32, Shape{projection.width});
    biases.push_back(projection.bias != nullptr ? projection.bias : &zeros.back());
  }
  const Dims& x_dims = *projections[0].x->dims;
  Dims dims = {x_dims[0], x_dims[1], Dim(width)};
  std::string name = attention->name + "/qkv";
  Value* weight = graph.add_constant(graph.unique_name(name), beside(weights, weights[0]->shape()[0]));
  Value* merged = add_operation(graph, name, "MatMul", {projections[0].x, weight}, {}, DType::kFloat32, dims);
  if (has_bias) {
    Tensor bias = beside(biases, 1).reshaped({width});
    Value* addend = graph.add_constant(graph.unique_name(name), std::move(bias));
    merged = add_operation(graph, name, "Add", {merged, addend}, {}, DType::kFloat32, dims);
  }
  for (size_t i = first; i < 3; ++i) {
    Node* old = attention->inputs[i]->producer;
    graph.set_input(attention, i, merged);
    unlink_unused(graph, old);
  }
  return true;
}

Result<int> run(PassContext& context) {
  Graph& graph = context.graph;
  return rewrite_each(graph, [&](Node* node) {
    if (node->op != "hussar.Attention" || node->attributes.get_int("k_transposed", 0) != 0) return false;
    // Bits 0 to 2: operands with a head axis.
    if ((node->attributes.get_int("head_major", 0) & 7) != 0) return false;
    bool changed = false;
    for (size_t i = 0; i < 3; ++i) changed = read_through_split(graph, node, i) || changed;
    return merge(graph, node, 0) || merge(graph, node, 1) || changed;
  });
}

}  // namespace

extern const Pass merge_qkv_pass = {
    .name = "merge_qkv",
    .summary = "Attention(x * a, x * b, x * c) => Attention(y, y, y) with y = x * [a b c]",
    .run = run};

}  // namespace hussar
