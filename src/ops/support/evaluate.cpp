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

ElementStrides row_major_strides(const Shape& shape) {
  ElementStrides strides = shape;
  int64_t stride = 1;
  for (int axis = shape.rank() - 1; axis >= 0; --axis) {
    strides[axis] = stride;
    stride *= shape[axis];
  }
  return strides;
}

ElementStrides zero_strides(const Shape& shape) {
  ElementStrides strides = shape;
  std::fill_n(&strides[0], strides.rank(), 0);
  return strides;
}

ElementStrides broadcast_strides(const Shape& shape, const Shape& target) {
  const ElementStrides own = row_major_strides(shape);
  ElementStrides strides = target;
  const int shift = target.rank() - shape.rank();
  for (int axis = 0; axis < target.rank(); ++axis) {
    const int mine = axis - shift;
    strides[axis] = mine >= 0 && shape[mine] != 1 ? own[mine] : 0;
  }
  return strides;
}

Tensor& EvalContext::place(size_t output, DType dtype, const Shape& shape) {
  Tensor& tensor = outputs_[output];
  if (tensor.valid() && tensor.dtype() == dtype && tensor.shape() == shape) return tensor;
  const auto bytes = bytes_needed(dtype, shape);
  if (!bytes) throw std::bad_alloc();
  if (evaluation_.output_memory.empty()) {
    tensor = Tensor(dtype, shape);
  } else {
    tensor = Tensor::view(dtype, shape, evaluation_.output_memory[output]->reserve(*bytes));
  }
  return tensor;
}

Tensor& EvalContext::allocate(size_t output, DType dtype, const Shape& shape) {
  Tensor& tensor = place(output, dtype, shape);
  if (tensor.bytes() > 0) std::memset(tensor.raw(), 0, tensor.bytes());
  return tensor;
}

void EvalContext::copy_output(size_t output, const Tensor& tensor) {
  Tensor& copy = place(output, tensor.dtype(), tensor.shape());
  if (copy.bytes() > 0) std::memcpy(copy.raw(), tensor.raw(), copy.bytes());
}

Ints EvalContext::integers(size_t input) const {
  if (!has(input)) return {};
  Ints values(static_cast<size_t>(inputs_[input].elements()));
  load_elements<int64_t>(inputs_[input], 0, inputs_[input].elements(), values.data());
  return values;
}

Shape EvalContext::few_integers(size_t input) const {
  if (!has(input)) return {};
  int64_t values[kMaxRank];
  const auto count = std::min<int64_t>(inputs_[input].elements(), kMaxRank);
  load_elements<int64_t>(inputs_[input], 0, count, values);
  return Shape(std::span<const int64_t>(values, static_cast<size_t>(count)));
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

Result<std::vector<Tensor>> evaluate_composite(const Node& node, std::span<const Tensor> inputs) {
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

Result<std::vector<ValueInfo>> infer_outputs(const Node& node, std::span<const Tensor> inputs) {
  std::vector<ValueInfo> infos;
  for (const Tensor& tensor : inputs) infos.push_back(known(tensor));
  int64_t next = 0;
  return infer_node(
      node, std::move(infos), [&next] { return Dim::symbol("unknown" + std::to_string(next++)); }, nullptr);
}

Result<std::vector<Tensor>> allocate_outputs(const Node& node, std::span<const Tensor> inputs) {
  std::vector<ValueInfo> inferred = HUSSAR_TRY(infer_outputs(node, inputs));
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

// Results into outputs whose memory was given, if any.
void hand_over(std::vector<Tensor> results, std::span<Tensor> outputs) {
  for (size_t i = 0; i < std::min(results.size(), outputs.size()); ++i) {
    const bool fits = outputs[i].valid() && results[i].valid() && outputs[i].dtype() == results[i].dtype() &&
                      outputs[i].shape() == results[i].shape();
    if (!fits) {
      outputs[i] = std::move(results[i]);
    } else if (results[i].bytes() > 0) {
      std::memcpy(outputs[i].raw(), results[i].raw(), results[i].bytes());
    }
  }
}

// The operator on its own inputs, then the fused program over output 0.
Status evaluate_fused(const Node& node, const OpDef& op, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                      const Evaluation& evaluation) {
  auto own = static_cast<size_t>(node.program_inputs);
  HUSSAR_CHECK(own <= inputs.size(), ErrorCode::kInvalidModel, "{}: malformed fused program", describe(node));
  std::span<const Tensor> own_inputs = inputs.first(own);
  while (!own_inputs.empty() && !own_inputs.back().valid()) own_inputs = own_inputs.first(own_inputs.size() - 1);
  if (op.evaluate == nullptr) {
    hand_over(HUSSAR_TRY(evaluate_composite(node, own_inputs)), outputs);
  } else {
    EvalContext context(node, own_inputs, outputs, evaluation);
    HUSSAR_TRY(op.evaluate(context));
  }
  EvalContext fused(node, inputs, outputs, evaluation);
  if (fused.output().dtype() != DType::kFloat32) return fused.fail("fused programs work on float32");
  Scratch<float> start(evaluation.workspace, fused.output().elements());
  std::copy_n(fused.output().data<float>(), fused.output().elements(), start.data());
  return evaluate_program(fused, start.data());
}

// Our own operators and fused programs are written for float32: the same on floats, rounded at the end. Results that
// are floats by inference, such as scales that are found in the run, stay so.
Result<std::vector<Tensor>> evaluate_widened(const Node& node, std::span<const Tensor> given, Workspace& workspace) {
  std::vector<Tensor> inputs(given.begin(), given.end());
  DType dtype = DType::kUndefined;
  for (Tensor& input : inputs) {
    if (!input.valid() || !is_half(input.dtype())) continue;
    if (dtype == DType::kUndefined) dtype = input.dtype();
    input = converted(input, DType::kFloat32);
  }
  std::vector<Tensor> results = HUSSAR_TRY(evaluate_node(node, inputs, workspace));
  const std::vector<ValueInfo> inferred = HUSSAR_TRY(infer_outputs(node, given));
  for (size_t i = 0; i < results.size(); ++i) {
    const bool stays = i < inferred.size() && inferred[i].dtype == DType::kFloat32;
    if (results[i].valid() && results[i].dtype() == DType::kFloat32 && !stays)
      results[i] = converted(results[i], dtype);
  }
  return results;
}

bool is_widened(const Node& node, std::span<const Tensor> inputs) {
  return (node.program || node.op.starts_with("hussar.")) &&
         std::any_of(inputs.begin(), inputs.end(),
                     [](const Tensor& input) { return input.valid() && is_half(input.dtype()); });
}

Status check_inputs(const Node& node, const OpDef* op, std::span<const Tensor> inputs) {
  HUSSAR_CHECK(op != nullptr, ErrorCode::kInvalidModel, "{}: unknown operator", describe(node));
  for (size_t i = 0; i < static_cast<size_t>(op->min_inputs); ++i) {
    HUSSAR_CHECK(i < inputs.size() && inputs[i].valid(), ErrorCode::kInvalidModel, "{}: input {} is missing",
                 describe(node), i);
  }
  for (const Tensor& input : inputs) {
    HUSSAR_CHECK(!input.valid() || dtype_size(input.dtype()) > 0, ErrorCode::kInvalidModel,
                 "{}: Hussar does not compute with {} tensors", describe(node), dtype_name(input.dtype()));
  }
  return {};
}

}  // namespace

Status evaluate_into(const Node& node, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                     const Evaluation& evaluation) {
  const OpDef* op = find_op(node.op);
  HUSSAR_TRY(check_inputs(node, op, inputs));
  if (is_widened(node, inputs)) {
    hand_over(HUSSAR_TRY(evaluate_widened(node, inputs, evaluation.workspace)), outputs);
    return {};
  }
  if (node.program && !has_trait(op, kOwnProgram)) return evaluate_fused(node, *op, inputs, outputs, evaluation);
  if (op->evaluate == nullptr) {
    hand_over(HUSSAR_TRY(evaluate_composite(node, inputs)), outputs);
    return {};
  }
  EvalContext context(node, inputs, outputs, evaluation);
  return op->evaluate(context);
}

Result<std::vector<Tensor>> evaluate_node(const Node& node, std::span<const Tensor> inputs, Workspace& workspace) {
  const OpDef* op = find_op(node.op);
  HUSSAR_TRY(check_inputs(node, op, inputs));
  std::vector<Tensor> outputs(node.outputs.size()), results;
  if (op->evaluate != nullptr && !is_widened(node, inputs)) outputs = HUSSAR_TRY(allocate_outputs(node, inputs));
  const BodyRunner run_body = [&](std::string_view name,
                                  std::span<const Tensor> arguments) -> Result<std::span<const Tensor>> {
    const Graph* body = node.body(name);
    HUSSAR_CHECK(body != nullptr, ErrorCode::kInvalidModel, "{} has no body '{}'", describe(node), name);
    results = HUSSAR_TRY(evaluate_graph(*body, {arguments.begin(), arguments.end()}));
    return std::span<const Tensor>(results);
  };
  HUSSAR_TRY(evaluate_into(node, inputs, outputs, {workspace, &run_body}));
  return outputs;
}

Result<std::vector<Tensor>> evaluate_graph(const Graph& graph, std::vector<Tensor> inputs, const Observer& observer) {
  HUSSAR_CHECK(inputs.size() == graph.inputs.size(), ErrorCode::kUsage, "graph '{}' takes {} inputs, {} were given",
               graph.name, graph.inputs.size(), inputs.size());
  Workspace workspace;
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
    std::vector<Tensor> results = HUSSAR_TRY(evaluate_node(*node, arguments, workspace));
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
