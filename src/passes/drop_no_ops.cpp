// Nodes that return their first input unchanged: Cast to the same dtype, Transpose that moves nothing, Reshape or
// Expand to the same shape, Concat and Sum of one input, Pad by nothing.
#include <numeric>

#include "passes/pass.h"

namespace hussar {
namespace {

bool same_dims(const Value& a, const Value& b) { return a.dims && b.dims && *a.dims == *b.dims; }

bool is_identity_order(const Ints& order) {
  Ints sorted(order.size());
  std::iota(sorted.begin(), sorted.end(), 0);
  return !order.empty() && order == sorted;
}

bool is_no_op(const Node& node) {
  if (node.inputs.empty() || node.inputs[0] == nullptr || node.outputs.size() != 1) return false;
  const Value& in = *node.inputs[0];
  const Value& out = *node.outputs[0];
  if (in.dtype != out.dtype || in.dtype == DType::kUndefined) return false;
  if (node.op == "Cast") return true;
  if (node.op == "Transpose") return is_identity_order(node.attributes.get_ints("perm"));
  if (node.op == "Concat" || node.op == "Sum" || node.op == "Mean" || node.op == "Max" || node.op == "Min") {
    return node.inputs.size() == 1;
  }
  if (node.op == "Reshape" || node.op == "Expand" || node.op == "Squeeze" || node.op == "Unsqueeze" ||
      node.op == "Flatten" || node.op == "Tile" || node.op == "Pad" || node.op == "Slice") {
    // Every dim is the same expression, so it is the same for every input; a Slice that keeps all dims but reverses
    // one (negative step) is the exception.
    if (!same_dims(in, out)) return false;
    if (node.op != "Slice") return true;
    return node.input(4) == nullptr;
  }
  return false;
}

Result<int> run(PassContext& context) {
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    if (!is_no_op(*node)) continue;
    Value* to = node->inputs[0];
    if (context.graph.is_output(node->outputs[0]) && (to->producer == nullptr || context.graph.is_output(to))) continue;
    context.graph.replace_uses(node->outputs[0], to);
    context.graph.remove(node);
    ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass drop_no_ops_pass = {
    .name = "drop_no_ops", .summary = "Reshape(x[2x3], [2, 3]) => x, Cast<float>(x:float32) => x", .run = run};

}  // namespace hussar
