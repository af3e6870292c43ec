// Dropout: the identity when not training; the mask is all true. Training is not supported.
#include <cstring>

#include "ops/elementwise.h"

namespace hussar {

static Status infer(InferContext& context) {
  HUSSAR_TRY(infer_same(context));
  if (context.output_count() > 1) {
    context.outputs[1].dtype = DType::kBool;
    context.outputs[1].dims = context.info(0).dims;
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  bool training = context.number(2, 0) != 0;
  if (training && context.number(1, 0.5) != 0)
    return context.fail("dropping at random is training; it is not supported");
  if (context.output().bytes() > 0) {
    std::memcpy(context.output().raw(), context.input(0).raw(), context.output().bytes());
  }
  if (context.wants(1)) std::memset(context.output(1).raw(), 1, context.output(1).bytes());
  return {};
}

// Before opset 10 the mask had the type of the data.
static Status upgrade(UpgradeContext& context) {
  if (context.opset >= 10 || context.node.output(1) == nullptr) return {};
  Graph& graph = context.graph;
  Value* mask = context.node.outputs[1];
  Value* as_bool = graph.add_value(graph.unique_name(context.node.name));
  context.node.outputs[1] = as_bool;
  as_bool->producer = &context.node;
  mask->producer = nullptr;
  graph.add_node("CastLike", context.node.name, {as_bool, context.node.inputs[0]}, {mask});
  return {};
}

constexpr AttributeInput kAttributeInputs[] = {{"ratio", 1, 12}};

extern const OpDef dropout_op = {.name = "Dropout",
                                 .min_inputs = 1,
                                 .max_inputs = 3,
                                 .max_outputs = 2,
                                 .attribute_inputs = kAttributeInputs,
                                 .upgrade = upgrade,
                                 .infer = infer,
                                 .evaluate = evaluate};

}  // namespace hussar
