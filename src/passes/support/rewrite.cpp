// Graph edits and constant access for passes.
#include "passes/support/rewrite.h"

#include <algorithm>
#include <cmath>

#include "ops/infer.h"
#include "ops/numeric.h"

namespace hussar {

namespace {

bool is_used(const Graph& graph, const Node* node) {
  return std::any_of(node->outputs.begin(), node->outputs.end(),
                     [&](const Value* value) { return value != nullptr && graph.use_count(value) > 0; });
}

}  // namespace

int rewrite_each(Graph& graph, const std::function<bool(Node*)>& rule) {
  int rewrites = 0;
  for (Node* node : graph.snapshot()) {
    if (is_used(graph, node) && rule(node)) ++rewrites;
  }
  return rewrites;
}

Result<int> rewrite_if_cheaper(Graph& graph, const std::function<int(Graph&)>& edit,
                               const std::function<double(const Graph&)>& cost) {
  Graph copy = graph.clone();
  int rewrites = edit(copy);
  if (rewrites == 0) return 0;
  copy.sweep();
  HUSSAR_TRY(copy.sort());
  HUSSAR_TRY(infer_graph(copy));
  if (cost(copy) >= cost(graph)) return 0;
  graph = std::move(copy);
  return rewrites;
}

void unlink_unused(Graph& graph, Node* node) {
  if (is_used(graph, node)) return;
  std::vector<Node*> producers;
  for (size_t i = 0; i < node->inputs.size(); ++i) {
    if (node->inputs[i] != nullptr && node->inputs[i]->producer != nullptr) {
      producers.push_back(node->inputs[i]->producer);
    }
    graph.set_input(node, i, nullptr);
  }
  for (Node* producer : producers) {
    if (!producer->op.empty()) unlink_unused(graph, producer);
  }
}

Node* replace_node(Graph& graph, Node* node, std::string op, std::vector<Value*> inputs, Attributes attributes) {
  std::vector<Value*> outputs = std::move(node->outputs);
  node->outputs.clear();
  // The new node first: values that both read must not become unused in between.
  Node* replacement = graph.add_node(std::move(op), node->name, std::move(inputs), outputs, std::move(attributes));
  unlink_unused(graph, node);
  return replacement;
}

Value* add_operation(Graph& graph, const std::string& name, std::string op, std::vector<Value*> inputs,
                     Attributes attributes, DType dtype, std::optional<Dims> dims) {
  Value* output = graph.add_value(graph.unique_name(name), dtype, std::move(dims));
  graph.add_node(std::move(op), name, std::move(inputs), {output}, std::move(attributes));
  return output;
}

bool bypass(Graph& graph, Node* node, Value* to) {
  Value* from = node->output();
  if (graph.is_output(from) && (to->producer == nullptr || graph.is_output(to))) return false;
  graph.replace_uses(from, to);
  unlink_unused(graph, node);
  return true;
}

Node* produced_by(const Value* value, std::string_view op) {
  return value != nullptr && value->producer != nullptr && value->producer->op == op ? value->producer : nullptr;
}

Node* only_user(const Graph& graph, const Value* value) {
  return value->users.size() == 1 && !graph.is_output(value) ? value->users[0] : nullptr;
}

std::optional<double> number_of(const Value* value) {
  if (value == nullptr || !value->is_constant() || value->constant->elements() != 1) return std::nullopt;
  if (compute_type(value->constant->dtype()) == '-') return std::nullopt;
  double number = 0;
  load_elements<double>(*value->constant, 0, 1, &number);
  return number;
}

std::optional<double> scalar_beside(const Value* value, const Value* other) {
  auto number = number_of(value);
  if (!number || other == nullptr) return std::nullopt;
  bool broadcasts = value->rank() == 0 || value->rank() <= other->rank();
  return broadcasts ? number : std::nullopt;
}

bool is_close(double value, double expected) {
  return value == expected || std::abs(value - expected) <= 1e-5 * std::abs(expected);
}

std::optional<std::vector<double>> numbers_of(const Value* value) {
  if (value == nullptr || !value->is_constant() || compute_type(value->constant->dtype()) == '-') return std::nullopt;
  std::vector<double> numbers(static_cast<size_t>(value->constant->elements()));
  load_elements<double>(*value->constant, 0, value->constant->elements(), numbers.data());
  return numbers;
}

std::optional<Ints> integers_of(const Value* value) {
  if (value == nullptr || !value->is_constant() || is_floating(value->constant->dtype())) return std::nullopt;
  if (compute_type(value->constant->dtype()) == '-') return std::nullopt;
  Ints integers(static_cast<size_t>(value->constant->elements()));
  load_elements<int64_t>(*value->constant, 0, value->constant->elements(), integers.data());
  return integers;
}

Value* add_numbers(Graph& graph, const std::string& name, DType dtype, const Shape& shape,
                   const std::vector<double>& values) {
  Tensor tensor(dtype, shape);
  store_elements<double>(tensor, 0, tensor.elements(), values.data());
  return graph.add_constant(graph.unique_name(name), std::move(tensor));
}

Value* add_integers(Graph& graph, const std::string& name, const Ints& values) {
  Shape shape{static_cast<int64_t>(values.size())};
  return graph.add_constant(graph.unique_name(name), Tensor::from<int64_t>(DType::kInt64, shape, values));
}

std::optional<Ints> reduced_axes(const Node& node) {
  const Value* x = node.input(0);
  if (x == nullptr || x->rank() < 0) return std::nullopt;
  Ints axes;
  if (node.input(1) != nullptr) {
    auto given = integers_of(node.input(1));
    if (!given) return std::nullopt;
    axes = *given;
  }
  if (axes.empty()) {
    if (node.attributes.get_int("noop_with_empty_axes", 0) != 0) return Ints();
    for (int axis = 0; axis < x->rank(); ++axis) axes.push_back(axis);
  }
  for (int64_t& axis : axes) axis += axis < 0 ? x->rank() : 0;
  std::sort(axes.begin(), axes.end());
  return axes;
}

bool keeps_dims(const Node& node) { return node.attributes.get_int("keepdims", 1) != 0; }

std::optional<int> axis_of(const Node& node, int64_t otherwise) {
  if (node.input(0) == nullptr || node.input(0)->rank() < 0) return std::nullopt;
  int64_t axis = node.attributes.get_int("axis", otherwise);
  return static_cast<int>(axis < 0 ? axis + node.input(0)->rank() : axis);
}

bool same_dims(const Value* a, const Value* b) { return a->dims && b->dims && *a->dims == *b->dims; }

int64_t static_dim(const Value* value, int axis) {
  if (value == nullptr || axis < 0 || axis >= value->rank()) return -1;
  const Dim& dim = (*value->dims)[static_cast<size_t>(axis)];
  return dim.is_constant() ? dim.value() : -1;
}

std::optional<Ints> reshape_target(const Dims& from, const Dims& to) {
  Ints target;
  bool has_rest = false;
  for (size_t i = 0; i < to.size(); ++i) {
    if (to[i].is_constant()) {
      if (to[i].value() <= 0) return std::nullopt;
      target.push_back(to[i].value());
    } else if (i < from.size() && from[i] == to[i]) {
      target.push_back(0);
    } else if (!has_rest) {
      target.push_back(-1);
      has_rest = true;
    } else {
      return std::nullopt;
    }
  }
  return target;
}

}  // namespace hussar
