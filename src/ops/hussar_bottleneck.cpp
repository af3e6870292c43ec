// See graph/bottleneck.h.
#include "graph/bottleneck.h"

#include "ops/builder.h"
#include "ops/evaluate.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

Status expand(Builder& builder) {
  auto parts = bottleneck_parts(builder.node.name, builder.attributes);
  if (!parts) return builder.fail("its attributes make no two convolutions");
  Value* unlinked = nullptr;
  link_parts(builder.node, unlinked, *parts);
  Value* middle = builder.make(parts->first.op, parts->first.inputs, parts->first.attributes);
  middle->layout = builder.input(Bottleneck::kX)->layout;
  middle->producer->program = parts->first.program;
  middle->producer->program_inputs = parts->first.program_inputs;
  parts->second.inputs[0] = middle;
  Value* result = builder.make(parts->second.op, parts->second.inputs, parts->second.attributes);
  if (builder.node.output() != nullptr) result->layout = builder.node.output()->layout;
  result->producer->program = parts->second.program;
  result->producer->program_inputs = parts->second.program_inputs;
  builder.result(0, result);
  return {};
}

Status evaluate(EvalContext& context) {
  Graph graph;
  std::vector<Value*> values;
  for (size_t i = 0; i < context.input_count(); ++i)
    values.push_back(context.has(i) ? graph.add_constant("input" + std::to_string(i), context.input(i)) : nullptr);
  graph.outputs = {graph.add_value("output")};
  Node* copy = graph.add_node(context.node.op, context.node.name, values, graph.outputs, context.attributes);
  copy->program = context.node.program;
  copy->program_inputs = context.node.program_inputs;
  HUSSAR_TRY(expand_node(graph, copy));
  HUSSAR_TRY(graph.sort());
  const std::vector<Tensor> results = HUSSAR_TRY(evaluate_graph(graph, {}));
  context.copy_output(0, results[0]);
  return {};
}

double flops(const Node& node) {
  auto y = node.output() != nullptr ? node.output()->static_shape() : std::nullopt;
  double products = 0;
  for (size_t weights : {Bottleneck::kFirstWeights, Bottleneck::kSecondWeights})
    products += node.input(weights) != nullptr && node.input(weights)->static_shape()
                    ? static_cast<double>(node.input(weights)->static_shape()->elements())
                    : 0;
  return y && y->rank() == 4 ? 2 * products * static_cast<double>((*y)[0] * (*y)[2] * (*y)[3]) : 0;
}

}  // namespace

extern const OpDef hussar_bottleneck_op = {.name = kBottleneck,
                                           .min_inputs = 2,
                                           .max_inputs = Bottleneck::kOperands,
                                           .traits = kOwnProgram,
                                           .evaluate = evaluate,
                                           .expand = expand,
                                           .flops = flops};

}  // namespace hussar
