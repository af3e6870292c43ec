// The inference engine: node contexts, element propagation, whole graphs.
#include "ops/infer.h"

#include <algorithm>
#include <set>

#include "ops/builder.h"
#include "ops/numeric.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

// Shape arithmetic happens on tiny tensors; following larger ones as expressions would only cost time.
constexpr int64_t kMaxTrackedElements = 256;

bool is_trackable(const Tensor& tensor) {
  bool integral = tensor.dtype() == DType::kInt64 || tensor.dtype() == DType::kInt32 || tensor.dtype() == DType::kBool;
  return integral && tensor.shape().rank() <= 1 && tensor.elements() <= kMaxTrackedElements;
}

}  // namespace

InferContext::InferContext(const Node& node, std::vector<ValueInfo> inputs, std::function<Dim()> fresh,
                           BodyInference infer_body)
    : node(node),
      attributes(node.attributes),
      outputs(node.outputs.size()),
      inputs_(std::move(inputs)),
      fresh_(std::move(fresh)),
      infer_body_(std::move(infer_body)) {}

std::optional<Dims> InferContext::elements(size_t input) const {
  if (!has(input)) return std::nullopt;
  const ValueInfo& info = inputs_[input];
  if (info.elements) return info.elements;
  if (info.constant == nullptr || !is_trackable(*info.constant)) return std::nullopt;
  Ints values(static_cast<size_t>(info.constant->elements()));
  load_elements<int64_t>(*info.constant, 0, info.constant->elements(), values.data());
  return Dims(values.begin(), values.end());
}

std::optional<Ints> InferContext::integers(size_t input) const {
  auto list = elements(input);
  if (!list) return std::nullopt;
  Ints values;
  for (const Dim& dim : *list) {
    if (!dim.is_constant()) return std::nullopt;
    values.push_back(dim.value());
  }
  return values;
}

Result<int> InferContext::normalize_axis(int64_t axis, int rank) const {
  if (axis < -rank || axis >= std::max(rank, 1)) return fail("axis {} is out of range for rank {}", axis, rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Result<Ints> InferContext::normalize_axes(const Ints& axes, int rank) const {
  Ints result;
  for (int64_t axis : axes) result.push_back(HUSSAR_TRY(normalize_axis(axis, rank)));
  if (std::set<int64_t>(result.begin(), result.end()).size() != result.size()) return fail("an axis is given twice");
  return result;
}

void InferContext::set(size_t output, DType dtype, Dims dims) {
  if (output >= outputs.size()) return;
  outputs[output].dtype = dtype;
  outputs[output].dims = std::move(dims);
}

void InferContext::set_unknown(size_t output, DType dtype) {
  if (output >= outputs.size()) return;
  outputs[output].dtype = dtype;
  outputs[output].dims.reset();
}

void InferContext::set_rank(size_t output, DType dtype, int rank) {
  Dims dims;
  for (int axis = 0; axis < rank; ++axis) dims.push_back(fresh());
  set(output, dtype, std::move(dims));
}

void InferContext::set_elements(size_t output, Dims elements) {
  if (output < outputs.size() && elements.size() <= kMaxTrackedElements) outputs[output].elements = std::move(elements);
}

Result<Dims> InferContext::broadcast_dims(const Dims& a, const Dims& b) const {
  size_t rank = std::max(a.size(), b.size());
  Dims result(rank);
  for (size_t i = 0; i < rank; ++i) {
    Dim x = i + a.size() >= rank ? a[i + a.size() - rank] : Dim(1);
    Dim y = i + b.size() >= rank ? b[i + b.size() - rank] : Dim(1);
    if (x.is(1) || x == y)
      result[i] = y;
    else if (y.is(1))
      result[i] = x;
    else if (x.is_constant() && y.is_constant()) {
      return fail("shapes {} and {} cannot be broadcast together", to_string(a), to_string(b));
    } else if (x.is_constant())
      result[i] = x;
    else if (y.is_constant())
      result[i] = y;
    else
      result[i] = max(x, y);
  }
  return result;
}

Result<std::optional<Dims>> InferContext::broadcast(std::vector<size_t> operands) const {
  Dims result;
  for (size_t operand : operands) {
    if (dims(operand) == nullptr) return std::optional<Dims>();
    result = HUSSAR_TRY(broadcast_dims(result, *dims(operand)));
  }
  return std::optional<Dims>(std::move(result));
}

Result<std::vector<ValueInfo>> InferContext::infer_body(std::string_view name, std::vector<ValueInfo> inputs) const {
  const Graph* body = node.body(name);
  if (body == nullptr) return fail("has no body '{}'", name);
  if (infer_body_) return infer_body_(*body, std::move(inputs));
  std::vector<ValueInfo> unknown;
  for (const Value* output : body->outputs) {
    ValueInfo info;
    info.dtype = output->dtype;
    unknown.push_back(info);
  }
  return unknown;
}

namespace {

// Infers a composite operator through a throw-away graph that holds its expansion.
Result<std::vector<ValueInfo>> infer_composite(const Node& node, const std::vector<ValueInfo>& inputs) {
  Graph graph;
  std::vector<Value*> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dtype == DType::kUndefined) {
      values.push_back(nullptr);
    } else if (inputs[i].constant != nullptr) {
      values.push_back(graph.add_constant("input" + std::to_string(i), *inputs[i].constant));
    } else {
      values.push_back(graph.add_value("input" + std::to_string(i), inputs[i].dtype, inputs[i].dims));
      graph.inputs.push_back(values.back());
    }
  }
  std::vector<Value*> outputs;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    outputs.push_back(node.outputs[i] == nullptr ? nullptr : graph.add_value("output" + std::to_string(i)));
    if (outputs.back() != nullptr) graph.outputs.push_back(outputs.back());
  }
  Node* copy = graph.add_node(node.op, node.name, values, outputs, node.attributes);
  HUSSAR_TRY(expand_node(graph, copy));
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  std::vector<ValueInfo> result(node.outputs.size());
  size_t next = 0;
  for (size_t i = 0; i < result.size(); ++i) {
    if (node.outputs[i] == nullptr) continue;
    result[i].dtype = graph.outputs[next]->dtype;
    result[i].dims = graph.outputs[next]->dims;
    ++next;
  }
  return result;
}

// What the operator itself reads: operands of a fused program come after.
size_t own_inputs(const Node& node) {
  bool fused = node.program && node.op != kPointwise;
  size_t count = fused ? std::min(static_cast<size_t>(node.program_inputs), node.inputs.size()) : node.inputs.size();
  while (fused && count > 0 && node.inputs[count - 1] == nullptr) --count;
  return count;
}

}  // namespace

Status check_arity(const Node& node, const OpDef& op) {
  auto inputs = static_cast<int>(own_inputs(node));
  HUSSAR_CHECK(inputs >= op.min_inputs && (op.max_inputs < 0 || inputs <= op.max_inputs), ErrorCode::kInvalidModel,
               "{} has {} inputs; {} takes {} to {}", describe(node), inputs, op.name, op.min_inputs,
               op.max_inputs < 0 ? std::string("any number") : std::to_string(op.max_inputs));
  auto outputs = static_cast<int>(node.outputs.size());
  HUSSAR_CHECK(outputs >= op.min_outputs && (op.max_outputs < 0 || outputs <= op.max_outputs), ErrorCode::kInvalidModel,
               "{} has {} outputs; {} gives at most {}", describe(node), outputs, op.name, op.max_outputs);
  for (int i = 0; i < op.min_inputs; ++i) {
    HUSSAR_CHECK(node.inputs[i] != nullptr, ErrorCode::kInvalidModel, "{}: required input {} is missing",
                 describe(node), i);
  }
  return {};
}

Result<std::vector<ValueInfo>> infer_node(const Node& node, std::vector<ValueInfo> inputs, std::function<Dim()> fresh,
                                          InferContext::BodyInference infer_body) {
  const OpDef* op = find_op(node.op);
  HUSSAR_CHECK(op != nullptr, ErrorCode::kInvalidModel, "{}: unknown operator", describe(node));
  HUSSAR_TRY(check_arity(node, *op));
  inputs.resize(own_inputs(node));
  if (op->infer == nullptr) return infer_composite(node, inputs);
  InferContext context(node, std::move(inputs), std::move(fresh), std::move(infer_body));
  HUSSAR_TRY(op->infer(context));
  for (const ValueInfo& info : context.outputs) {
    if (info.dims && info.dims->size() > kMaxRank)
      return context.fail("rank {} exceeds {}", info.dims->size(), kMaxRank);
  }
  return std::move(context.outputs);
}

namespace {

class GraphInference {
 public:
  explicit GraphInference(Graph& root) { next_symbol_ = count_fresh(root); }

  Status run(Graph& graph) {
    for (const auto& node : graph.nodes()) {
      std::vector<ValueInfo> inputs;
      for (const Value* value : node->inputs) inputs.push_back(info_of(value));
      auto infer_body = [this](const Graph& body, std::vector<ValueInfo> arguments) {
        return run_body(const_cast<Graph&>(body), std::move(arguments));
      };
      auto fresh = [this] { return Dim::symbol("u" + std::to_string(next_symbol_++)); };
      std::vector<ValueInfo> outputs = HUSSAR_TRY(infer_node(*node, std::move(inputs), fresh, infer_body));
      for (size_t i = 0; i < node->outputs.size(); ++i) {
        if (node->outputs[i] != nullptr && i < outputs.size()) HUSSAR_TRY(merge(*node, *node->outputs[i], outputs[i]));
      }
    }
    return {};
  }

  ElementFacts facts;

 private:
  static bool is_fresh(const Dim& dim) {
    std::string text = dim.is_constant() ? "" : dim.to_string();
    return text.size() > 1 && text[0] == 'u' &&
           std::all_of(text.begin() + 1, text.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  // Symbols u0, u1, ... from earlier runs must not be handed out again.
  static int64_t count_fresh(const Graph& graph) {
    int64_t next = 0;
    for (const auto& value : graph.values()) {
      if (!value->dims) continue;
      for (const Dim& dim : *value->dims) {
        if (dim.is_constant()) continue;
        for (const std::string& symbol : dim.symbols()) {
          if (is_fresh(Dim::symbol(symbol)) && symbol.size() < 12)
            next = std::max<int64_t>(next, std::stoll(symbol.substr(1)) + 1);
        }
      }
    }
    for (const auto& node : graph.nodes()) {
      for (const Body& body : node->bodies) next = std::max(next, count_fresh(*body.graph));
    }
    return next;
  }

  ValueInfo info_of(const Value* value) const {
    ValueInfo info;
    if (value == nullptr) return info;
    info.dtype = value->dtype;
    info.dims = value->dims;
    if (value->constant) info.constant = &*value->constant;
    if (auto it = facts.find(value); it != facts.end()) info.elements = it->second;
    return info;
  }

  Status merge(const Node& node, Value& value, const ValueInfo& inferred) {
    HUSSAR_CHECK(
        value.dtype == DType::kUndefined || inferred.dtype == DType::kUndefined || value.dtype == inferred.dtype,
        ErrorCode::kInvalidModel, "{}: output '{}' is declared {} but computes as {}", describe(node), value.name,
        dtype_name(value.dtype), dtype_name(inferred.dtype));
    if (inferred.dtype != DType::kUndefined) value.dtype = inferred.dtype;
    if (inferred.elements) facts[&value] = *inferred.elements;
    if (!inferred.dims) return {};
    if (!value.dims || value.dims->size() != inferred.dims->size()) {
      value.dims = inferred.dims;
      return {};
    }
    for (size_t i = 0; i < value.dims->size(); ++i) {
      const Dim& dim = (*inferred.dims)[i];
      if (!is_fresh(dim)) (*value.dims)[i] = dim;
    }
    return {};
  }

  Result<std::vector<ValueInfo>> run_body(Graph& body, std::vector<ValueInfo> arguments) {
    if (++depth_ > 32) return hussar::fail(ErrorCode::kInvalidModel, "control flow is nested deeper than 32 levels");
    // Nested loops infer their bodies a few times each, at every level.
    constexpr int64_t kMaxBodyRuns = 100000;
    if (++body_runs_ > kMaxBodyRuns)
      return hussar::fail(ErrorCode::kInvalidModel, "the nested loops are too intricate");
    bool same = true;
    for (size_t i = 0; i < body.inputs.size() && i < arguments.size(); ++i) {
      Value& input = *body.inputs[i];
      if (arguments[i].dtype != DType::kUndefined) input.dtype = arguments[i].dtype;
      same = same && input.dims == arguments[i].dims && info_of(&input).elements == arguments[i].elements;
      input.dims = arguments[i].dims;
      if (arguments[i].elements)
        facts[&input] = *arguments[i].elements;
      else
        facts.erase(&input);
    }
    // What was found for other arguments (a loop before its state was widened) no longer holds.
    for (const auto& value : body.values()) {
      if (same || value->producer == nullptr) continue;
      value->dims.reset();
      facts.erase(value.get());
    }
    HUSSAR_TRY(run(body));
    std::vector<ValueInfo> results;
    for (const Value* output : body.outputs) {
      results.push_back(info_of(output));
      results.back().constant = nullptr;
    }
    --depth_;
    return results;
  }

  int64_t next_symbol_ = 0;
  int depth_ = 0;
  int64_t body_runs_ = 0;
};

}  // namespace

Result<ElementFacts> infer_graph(Graph& graph) {
  GraphInference inference(graph);
  HUSSAR_TRY(inference.run(graph));
  return std::move(inference.facts);
}

}  // namespace hussar
