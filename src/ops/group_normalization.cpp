// GroupNormalization: every group of channels to mean 0 and variance 1, then scale and bias per channel.
#include "ops/normalize.h"

namespace hussar {

// [G] -> [C], each element C / G times, where C is the channel count of x.
static Value* spread(UpgradeContext& context, Value* parameter) {
  Graph& graph = context.graph;
  const std::string& name = context.node.name;
  auto make = [&](const char* op, std::vector<Value*> inputs, Attributes attributes = {}) {
    Value* value = graph.add_value(graph.unique_name(name));
    graph.add_node(op, name, std::move(inputs), {value}, std::move(attributes));
    return value;
  };
  auto list = [&](Ints values) {
    Shape shape{static_cast<int64_t>(values.size())};
    return graph.add_constant(graph.unique_name(name), Tensor::from<int64_t>(DType::kInt64, shape, values));
  };
  Attributes channels;
  channels.set("start", int64_t{1});
  channels.set("end", int64_t{2});
  Value* count = make("Shape", {context.node.inputs[0]}, channels);
  Value* repeat = make("Div", {count, list({std::max<int64_t>(context.node.attributes.get_int("num_groups", 1), 1)})});
  Attributes first;
  first.set("axis", int64_t{0});
  Value* shape = make("Concat", {list({1}), repeat}, first);
  Value* column = make("Reshape", {parameter, list({-1, 1})});
  return make("Reshape", {make("Expand", {column, shape}), list({-1})});
}

// Before opset 21 scale and bias were per group.
static Status upgrade(UpgradeContext& context) {
  if (context.opset >= 21 || context.node.inputs.size() < 3) return {};
  for (size_t i = 0; i < 3; ++i) {
    if (context.node.inputs[i] == nullptr) return {};
  }
  for (size_t i = 1; i < 3; ++i) context.graph.set_input(&context.node, i, spread(context, context.node.inputs[i]));
  return {};
}

static Status infer(InferContext& context) {
  int64_t groups = context.attributes.get_int("num_groups", 0);
  if (groups < 1) return context.fail("num_groups is {}", groups);
  if (context.rank(0) >= 2) {
    const Dim& channels = (*context.dims(0))[1];
    if (channels.is_constant() && channels.value() % groups != 0) {
      return context.fail("{} channels in {} groups", channels.value(), groups);
    }
  }
  return infer_channel_normalization(context);
}

static Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  int64_t groups = context.attributes.get_int("num_groups", 1);
  return normalize_groups(context, shape[0] * groups, shape[1] / groups * shape.elements(2, shape.rank()));
}

extern const OpDef group_normalization_op = {.name = "GroupNormalization",
                                             .min_inputs = 3,
                                             .max_inputs = 3,
                                             .upgrade = upgrade,
                                             .infer = infer,
                                             .evaluate = evaluate};

}  // namespace hussar
