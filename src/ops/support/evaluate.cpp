// The reference interpreter.
#include "ops/evaluate.h"

#include <algorithm>
#include <cstring>
#include <unordered_map>

#include "ops/builder.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "ops/scalar_program.h"
#include "tensor/convert.h"

namespace hussar {

Ints row_major_strides(const Shape& shape) {
  Ints strides(static_cast<size_t>(shape.rank()));
  int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

Ints broadcast_strides(const Shape& shape, const Shape& target) {
  Ints own = row_major_strides(shape);
  Ints strides(static_cast<size_t>(target.rank()), 0);
  int shift = target.rank() - shape.rank();
  for (int axis = 0; axis < shape.rank(); ++axis) {
    if (shape[axis] != 1 && axis + shift >= 0) strides[axis + shift] = own[axis];
  }
  return strides;
}

Tensor& EvalContext::allocate(size_t output, DType dtype, const Shape& shape) {
  outputs_[output] = Tensor(dtype, shape);
  return outputs_[output];
}

Ints EvalContext::integers(size_t input) const {
  if (!has(input)) return {};
  Ints values(static_cast<size_t>(inputs_[input].elements()));
  load_elements<int64_t>(inputs_[input], 0, inputs_[input].elements(), values.data());
  return values;
}

double EvalContext::number(size_t input, double otherwise) const {
  if (!has(input) || inputs_[input].elements() == 0) return otherwise;
  double value = 0;
  load_elements<double>(inputs_[input], 0, 1, &value);
  return value;
}

namespace {

// Larger tensors can only come from a hostile or broken model; refusing them beats exhausting the machine.
constexpr int64_t kMaxElements = int64_t{1} << 36;

ValueInfo known(const Tensor& tensor) {
  ValueInfo info;
  if (!tensor.valid()) return info;
  info.dtype = tensor.dtype();
  info.dims = Dims(tensor.shape().begin(), tensor.shape().end());
  info.constant = &tensor;
  return info;
}

Status check_size(const Node& node, const Shape& shape, DType dtype) {
  int64_t total = static_cast<int64_t>(std::max<size_t>(dtype_size(dtype), 1));
  for (int64_t dim : shape) {
    // A zero must not hide other dimensions: strides are their products.
    bool overflow = dim < 0 || __builtin_mul_overflow(total, std::max<int64_t>(dim, 1), &total);
    HUSSAR_CHECK(!overflow && total <= kMaxElements, ErrorCode::kRunFailed,
                 "{}: an output of shape {} is negative or too large", describe(node), shape.to_string());
  }
  return {};
}

Result<std::vector<Tensor>> evaluate_composite(const Node& node, const OpDef& op, std::vector<Tensor> inputs) {
  Graph graph;
  std::vector<Value*> values;
  std::vector<Tensor> given;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!inputs[i].valid()) {
      values.push_back(nullptr);
      continue;
    }
    // Constants, so that expansions may depend on the elements of small arguments, as they may when compiling.
    values.push_back(graph.add_constant("input" + std::to_string(i), inputs[i]));
  }
  std::vector<Value*> outputs;
  for (const Value* output : node.outputs) {
    outputs.push_back(output == nullptr ? nullptr : graph.add_value(output->name));
  }
  Node* copy = graph.add_node(node.op, node.name, values, outputs, node.attributes);
  for (Value* output : outputs) {
    if (output != nullptr) graph.outputs.push_back(output);
  }
  (void)op;
  HUSSAR_TRY(expand_node(graph, copy));
  HUSSAR_TRY(graph.sort());
  std::vector<Tensor> compact = HUSSAR_TRY(evaluate_graph(graph, {}));
  std::vector<Tensor> results(node.outputs.size());
  size_t next = 0;
  for (size_t i = 0; i < results.size(); ++i) {
    if (node.outputs[i] != nullptr) results[i] = compact[next++];
  }
  return results;
}

Result<std::vector<Tensor>> allocate_outputs(const Node& node, const std::vector<Tensor>& inputs) {
  std::vector<ValueInfo> infos;
  for (const Tensor& tensor : inputs) infos.push_back(known(tensor));
  int64_t next = 0;
  auto fresh = [&next] { return Dim::symbol("unknown" + std::to_string(next++)); };
  std::vector<ValueInfo> inferred = HUSSAR_TRY(infer_node(node, std::move(infos), fresh, nullptr));
  std::vector<Tensor> outputs(node.outputs.size());
  for (size_t i = 0; i < outputs.size() && i < inferred.size(); ++i) {
    if (!inferred[i].dims || inferred[i].dtype == DType::kUndefined) continue;
    Shape shape;
    bool all_known = inferred[i].dims->size() <= kMaxRank;
    for (const Dim& dim : *inferred[i].dims) {
      all_known = all_known && dim.is_constant();
      if (all_known) shape.push_back(dim.value());
    }
    if (!all_known) continue;
    HUSSAR_TRY(check_size(node, shape, inferred[i].dtype));
    outputs[i] = Tensor(inferred[i].dtype, shape);
  }
  return outputs;
}

// The operator on its own inputs, then the fused program over output 0.
Result<std::vector<Tensor>> evaluate_fused(const Node& node, const OpDef& op, std::vector<Tensor> inputs,
                                           std::vector<Tensor> outputs, BodyRunner run_body) {
  auto own = static_cast<size_t>(node.program_inputs);
  HUSSAR_CHECK(own <= inputs.size(), ErrorCode::kInvalidModel, "{}: malformed fused program", describe(node));
  std::vector<Tensor> own_inputs(inputs.begin(), inputs.begin() + static_cast<std::ptrdiff_t>(own));
  while (!own_inputs.empty() && !own_inputs.back().valid()) own_inputs.pop_back();
  if (op.evaluate == nullptr) {
    outputs = HUSSAR_TRY(evaluate_composite(node, op, std::move(own_inputs)));
  } else {
    EvalContext context(node, std::move(own_inputs), std::move(outputs), std::move(run_body));
    HUSSAR_TRY(op.evaluate(context));
    outputs = std::move(context.outputs());
  }
  EvalContext fused(node, std::move(inputs), std::move(outputs), nullptr);
  if (fused.output().dtype() != DType::kFloat32) return fused.fail("fused programs work on float32");
  Tensor start = fused.output().clone();
  HUSSAR_TRY(evaluate_program(fused, start.data<float>()));
  return std::move(fused.outputs());
}

bool is_short_float(const Tensor& tensor) {
  return tensor.valid() && (tensor.dtype() == DType::kFloat16 || tensor.dtype() == DType::kBFloat16);
}

// Our own operators and fused programs are written for float32: the same on floats, rounded at the end.
Result<std::vector<Tensor>> evaluate_widened(const Node& node, std::vector<Tensor> inputs,
                                             std::vector<Tensor> outputs) {
  DType dtype = DType::kUndefined;
  for (Tensor& input : inputs) {
    if (!is_short_float(input)) continue;
    if (dtype == DType::kUndefined) dtype = input.dtype();
    input = converted(input, DType::kFloat32);
  }
  std::vector<Tensor> results = HUSSAR_TRY(evaluate_node(node, std::move(inputs), nullptr, {}));
  for (size_t i = 0; i < results.size(); ++i) {
    if (!results[i].valid() || results[i].dtype() != DType::kFloat32) continue;
    results[i] = converted(results[i], dtype);
    if (i < outputs.size() && outputs[i].bytes() == results[i].bytes() && results[i].bytes() > 0) {
      std::memcpy(outputs[i].raw(), results[i].raw(), results[i].bytes());
      results[i] = outputs[i];
    }
  }
  return results;
}

}  // namespace

Result<std::vector<Tensor>> evaluate_node(const Node& node, std::vector<Tensor> inputs, BodyRunner run_body,
                                          std::vector<Tensor> outputs) {
  const OpDef* op = find_op(node.op);
  HUSSAR_CHECK(op != nullptr, ErrorCode::kInvalidModel, "{}: unknown operator", describe(node));
  for (size_t i = 0; i < static_cast<size_t>(op->min_inputs); ++i) {
    HUSSAR_CHECK(i < inputs.size() && inputs[i].valid(), ErrorCode::kInvalidModel, "{}: input {} is missing",
                 describe(node), i);
  }
  for (const Tensor& input : inputs) {
    HUSSAR_CHECK(!input.valid() || dtype_size(input.dtype()) > 0, ErrorCode::kInvalidModel,
                 "{}: Hussar does not compute with {} tensors", describe(node), dtype_name(input.dtype()));
  }
  const bool is_ours = node.program || op->name.starts_with("hussar.");
  if (is_ours && std::any_of(inputs.begin(), inputs.end(), is_short_float)) {
    return evaluate_widened(node, std::move(inputs), std::move(outputs));
  }
  const bool fused = node.program && !has_trait(op, kOwnProgram);
  if (op->evaluate == nullptr) {
    if (fused) return evaluate_fused(node, *op, std::move(inputs), {}, nullptr);
    return evaluate_composite(node, *op, std::move(inputs));
  }
  if (outputs.empty() && !node.outputs.empty()) outputs = HUSSAR_TRY(allocate_outputs(node, inputs));
  if (!run_body) {
    run_body = [&node](std::string_view name, std::vector<Tensor> arguments) -> Result<std::vector<Tensor>> {
      const Graph* body = node.body(name);
      HUSSAR_CHECK(body != nullptr, ErrorCode::kInvalidModel, "{} has no body '{}'", describe(node), name);
      return evaluate_graph(*body, std::move(arguments));
    };
  }
  if (fused) {
    return evaluate_fused(node, *op, std::move(inputs), std::move(outputs), std::move(run_body));
  }
  EvalContext context(node, std::move(inputs), std::move(outputs), std::move(run_body));
  HUSSAR_TRY(op->evaluate(context));
  return std::move(context.outputs());
}

Result<std::vector<Tensor>> evaluate_graph(const Graph& graph, std::vector<Tensor> inputs, const Observer& observer) {
  HUSSAR_CHECK(inputs.size() == graph.inputs.size(), ErrorCode::kUsage, "graph '{}' takes {} inputs, {} were given",
               graph.name, graph.inputs.size(), inputs.size());
  std::unordered_map<const Value*, Tensor> tensors;
  std::unordered_map<const Value*, size_t> pending;
  for (const auto& value : graph.values()) {
    pending[value.get()] = graph.use_count(value.get());
    if (value->is_constant()) tensors[value.get()] = *value->constant;
  }
  for (size_t i = 0; i < inputs.size(); ++i) tensors[graph.inputs[i]] = std::move(inputs[i]);
  for (const auto& node : graph.nodes()) {
    std::vector<Tensor> arguments;
    for (const Value* value : node->inputs) arguments.push_back(value == nullptr ? Tensor() : tensors[value]);
    std::vector<Tensor> results = HUSSAR_TRY(evaluate_node(*node, std::move(arguments)));
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      const Value* value = node->outputs[i];
      if (value == nullptr) continue;
      HUSSAR_CHECK(i < results.size() && results[i].valid(), ErrorCode::kInvalidModel,
                   "{}: output {} ('{}') is not supported", describe(*node), i, value->name);
      if (observer) observer(*value, results[i]);
      tensors[value] = std::move(results[i]);
    }
    for (const Value* value : node->inputs) {
      if (value != nullptr && --pending[value] == 0) tensors.erase(value);
    }
  }
  std::vector<Tensor> outputs;
  for (const Value* output : graph.outputs) outputs.push_back(tensors[output]);
  return outputs;
}

}  // namespace hussar
