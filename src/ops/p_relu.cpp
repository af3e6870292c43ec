// PRelu: x for x >= 0, slope * x below; slope is broadcast to x.
#include "ops/elementwise.h"

namespace hussar {

constexpr auto kCompute = [](auto x, auto slope) { return x < 0 ? x * slope : x; };

// Before opset 7 the slope of shape [C] belonged to axis 1.
static Status upgrade(UpgradeContext& context) {
  Graph& graph = context.graph;
  const Value* x = context.node.input(0);
  Value* slope = context.node.input(1);
  if (context.opset >= 7 || x == nullptr || slope == nullptr || x->rank() < 3 || slope->rank() != 1) return {};
  Ints axes;
  for (int64_t axis = 1; axis < x->rank() - 1; ++axis) axes.push_back(axis);
  Tensor list = Tensor::from<int64_t>(DType::kInt64, {static_cast<int64_t>(axes.size())}, axes);
  Value* spread = graph.add_value(graph.unique_name(context.node.name), slope->dtype);
  graph.add_node("Unsqueeze", context.node.name,
                 {slope, graph.add_constant(graph.unique_name(context.node.name), std::move(list))}, {spread});
  graph.set_input(&context.node, 1, spread);
  return {};
}

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_broadcast(context));
  if (context.rank(1) > context.rank(0) && context.rank(0) >= 0) return context.fail("slope has a higher rank than x");
  const Dims* x = context.dims(0);
  for (int axis = 0; context.dims(1) != nullptr && axis < context.rank(0); ++axis) {
    const Dim& dim = (*context.outputs[0].dims)[axis];
    if (dim.is_constant() && (*x)[axis].is_constant() && !(dim == (*x)[axis])) {
      return context.fail("slope [{}] cannot be broadcast to x [{}]", to_string(*context.dims(1)), to_string(*x));
    }
  }
  context.outputs[0].dims = context.info(0).dims;
  return {};
}

static constexpr OpDef make_op() {
  OpDef op = binary_op("PRelu", infer, evaluate_binary<kCompute>);
  op.upgrade = upgrade;
  return op;
}

extern const OpDef p_relu_op = make_op();

}  // namespace hussar
