// Helpers of operators that work along one axis.
#include "ops/axis.h"

namespace hussar {

AxisSplit split_at(const Shape& shape, int64_t axis) {
  if (shape.rank() == 0) return {};
  auto at = static_cast<int>(axis < 0 ? axis + shape.rank() : axis);
  return {shape.elements(0, at), shape[at], shape.elements(at + 1, shape.rank())};
}

Status infer_along_axis(InferContext& context) {
  context.outputs[0].dtype = context.dtype(0);
  context.outputs[0].dims = context.info(0).dims;
  if (context.rank(0) >= 0) {
    HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", -1), context.rank(0)));
  }
  return {};
}

Status upgrade_flattening_softmax(UpgradeContext& context, int until) {
  if (context.opset >= until) return {};
  Graph& graph = context.graph;
  Node& node = context.node;
  int64_t axis = node.attributes.get_int("axis", 1);
  Value* input = node.inputs[0];
  Value* output = node.outputs[0];
  Value* flat = graph.add_value(graph.unique_name(node.name), input->dtype);
  Value* shape = graph.add_value(graph.unique_name(node.name), DType::kInt64);
  Value* result = graph.add_value(graph.unique_name(node.name), input->dtype);
  Attributes flatten;
  flatten.set("axis", axis);
  graph.add_node("Flatten", node.name, {input}, {flat}, flatten);
  graph.add_node("Shape", node.name, {input}, {shape});
  graph.set_input(&node, 0, flat);
  node.outputs[0] = result;
  result->producer = &node;
  graph.add_node("Reshape", node.name, {result, shape}, {output});
  node.attributes.set("axis", int64_t{-1});
  return {};
}

}  // namespace hussar
