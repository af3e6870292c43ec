// Building and splicing expansions of composite operators.
#include "ops/builder.h"

#include "ops/numeric.h"
#include "ops/op_def.h"

namespace hussar {

Value* Builder::make(std::string_view op, std::vector<Value*> inputs, Attributes node_attributes) {
  return make_many(op, std::move(inputs), 1, std::move(node_attributes))[0];
}

std::vector<Value*> Builder::make_many(std::string_view op, std::vector<Value*> inputs, size_t outputs,
                                       Attributes node_attributes) {
  std::vector<Value*> values;
  for (size_t i = 0; i < outputs; ++i) values.push_back(graph_.add_value(graph_.unique_name(node.name)));
  graph_.add_node(std::string(op), node.name, std::move(inputs), values, std::move(node_attributes));
  return values;
}

Value* Builder::integers(const Ints& values) {
  Shape shape{static_cast<int64_t>(values.size())};
  return graph_.add_constant(graph_.unique_name(node.name), Tensor::from<int64_t>(DType::kInt64, shape, values));
}

Value* Builder::integer(int64_t value) {
  Tensor tensor(DType::kInt64, {});
  tensor.data<int64_t>()[0] = value;
  return graph_.add_constant(graph_.unique_name(node.name), std::move(tensor));
}

Value* Builder::number(double value, DType dtype) {
  Tensor tensor(dtype, {});
  store_elements<double>(tensor, 0, 1, &value);
  return graph_.add_constant(graph_.unique_name(node.name), std::move(tensor));
}

void Builder::result(size_t index, Value* value) {
  if (results_.size() <= index) results_.resize(index + 1, nullptr);
  results_[index] = value;
}

Status expand_node(Graph& graph, Node* node) {
  const OpDef* op = find_op(node->op);
  HUSSAR_CHECK(op != nullptr && op->expand != nullptr, ErrorCode::kInvalidModel, "{} cannot be expanded",
               describe(*node));
  Builder builder(graph, *node);
  HUSSAR_TRY(op->expand(builder));
  for (size_t i = 0; i < node->outputs.size(); ++i) {
    Value* output = node->outputs[i];
    if (output == nullptr) continue;
    Value* value = i < builder.results().size() ? builder.results()[i] : nullptr;
    HUSSAR_CHECK(value != nullptr, ErrorCode::kInvalidModel, "{}: output {} ('{}') is not supported", describe(*node),
                 i, output->name);
    if (value->producer != nullptr && value->dtype == DType::kUndefined) {
      value->dtype = output->dtype;
      value->dims = output->dims;
    }
    graph.replace_uses(output, value);
  }
  graph.remove(node);
  return {};
}

}  // namespace hussar
