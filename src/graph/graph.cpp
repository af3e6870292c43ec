// Graph editing, ordering, verification and printing.
#include "graph/graph.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>
#include <unordered_set>

#include "base/error.h"

namespace hussar {

std::optional<Shape> Value::static_shape() const {
  if (constant) return constant->shape();
  if (!dims || dims->size() > kMaxRank) return std::nullopt;
  Shape shape;
  for (const Dim& dim : *dims) {
    if (!dim.is_constant()) return std::nullopt;
    shape.push_back(dim.value());
  }
  return shape;
}

Graph* Node::body(std::string_view body_name) const {
  for (const Body& entry : bodies) {
    if (entry.name == body_name) return entry.graph.get();
  }
  return nullptr;
}

Graph Graph::clone() const {
  Graph copy;
  copy.name = name;
  copy.last_number_ = last_number_;
  std::unordered_map<const Value*, Value*> value_of;
  for (const auto& value : values_) {
    auto duplicate = std::make_unique<Value>(*value);
    duplicate->producer = nullptr;
    duplicate->users.clear();
    value_of[value.get()] = duplicate.get();
    copy.values_.push_back(std::move(duplicate));
  }
  for (const auto& value : copy.values_) {
    if (value->slice_of != nullptr) value->slice_of = value_of.at(value->slice_of);
  }
  auto translate = [&](const std::vector<Value*>& list) {
    std::vector<Value*> result;
    for (const Value* value : list) result.push_back(value == nullptr ? nullptr : value_of.at(value));
    return result;
  };
  copy.inputs = translate(inputs);
  copy.outputs = translate(outputs);
  for (const auto& node : nodes_) {
    Node* duplicate =
        copy.add_node(node->op, node->name, translate(node->inputs), translate(node->outputs), node->attributes);
    duplicate->program = node->program;
    duplicate->program_inputs = node->program_inputs;
    duplicate->note = node->note;
    for (const Body& body : node->bodies) {
      duplicate->bodies.push_back({body.name, std::make_unique<Graph>(body.graph->clone())});
    }
  }
  return copy;
}

// Keeps `unique_name` from giving out a name that a model brought.
void Graph::note_number(std::string_view value_name) {
  const size_t tilde = value_name.rfind('~');
  if (tilde == std::string_view::npos) return;
  int32_t number = 0;  // greater ones are never reached
  std::from_chars(value_name.data() + tilde + 1, value_name.data() + value_name.size(), number);
  int64_t& last = last_number_[std::string(value_name.substr(0, tilde))];
  last = std::max<int64_t>(last, number);
}

Value* Graph::add_value(std::string value_name, DType dtype, std::optional<Dims> dims) {
  auto value = std::make_unique<Value>();
  note_number(value_name);
  value->name = std::move(value_name);
  value->dtype = dtype;
  value->dims = std::move(dims);
  values_.push_back(std::move(value));
  return values_.back().get();
}

Value* Graph::add_constant(std::string value_name, Tensor tensor) {
  Dims dims(tensor.shape().begin(), tensor.shape().end());
  Value* value = add_value(std::move(value_name), tensor.dtype(), std::move(dims));
  value->constant = std::move(tensor);
  return value;
}

Node* Graph::add_node(std::string op, std::string node_name, std::vector<Value*> node_inputs,
                      std::vector<Value*> node_outputs, Attributes attributes) {
  auto node = std::make_unique<Node>();
  node->op = std::move(op);
  node->name = std::move(node_name);
  node->attributes = std::move(attributes);
  for (Value* value : node_inputs) {
    if (value != nullptr) value->users.push_back(node.get());
  }
  for (Value* value : node_outputs) {
    if (value != nullptr) value->producer = node.get();
  }
  node->inputs = std::move(node_inputs);
  node->outputs = std::move(node_outputs);
  nodes_.push_back(std::move(node));
  return nodes_.back().get();
}

namespace {
void erase_user(Value* value, const Node* node) {
  auto it = std::find(value->users.begin(), value->users.end(), node);
  if (it != value->users.end()) value->users.erase(it);
}
}  // namespace

void Graph::set_input(Node* node, size_t index, Value* value) {
  if (node->inputs.size() <= index) node->inputs.resize(index + 1, nullptr);
  if (node->inputs[index] != nullptr) erase_user(node->inputs[index], node);
  node->inputs[index] = value;
  if (value != nullptr) value->users.push_back(node);
}

void Graph::append_input(Node* node, Value* value) { set_input(node, node->inputs.size(), value); }

void Graph::replace_uses(Value* from, Value* to) {
  for (Node* user : std::vector<Node*>(from->users)) {
    for (size_t i = 0; i < user->inputs.size(); ++i) {
      if (user->inputs[i] == from) set_input(user, i, to);
    }
  }
  for (Value*& output : outputs) {
    if (output != from) continue;
    // Graph inputs, constants and other outputs keep their own name: only an inner value can take over the public one.
    bool is_input = std::find(inputs.begin(), inputs.end(), to) != inputs.end();
    bool can_rename = !is_input && !to->is_constant() && !is_output(to);
    if (can_rename) {
      std::swap(to->name, from->name);
      output = to;
    } else {
      Value* renamed = add_value(from->name, to->dtype, to->dims);
      from->name = unique_name(from->name);
      add_node("Identity", renamed->name, {to}, {renamed});
      output = renamed;
    }
  }
}

void Graph::remove(Node* node) {
  for (Value* value : node->inputs) {
    if (value != nullptr) erase_user(value, node);
  }
  for (Value* value : node->outputs) {
    if (value != nullptr && value->producer == node) value->producer = nullptr;
  }
  std::erase_if(nodes_, [&](const auto& entry) { return entry.get() == node; });
}

bool Graph::is_output(const Value* value) const {
  return std::find(outputs.begin(), outputs.end(), value) != outputs.end();
}

size_t Graph::use_count(const Value* value) const {
  return value->users.size() + std::count(outputs.begin(), outputs.end(), value);
}

Status Graph::sort() {
  std::unordered_map<const Node*, size_t> waiting;
  for (const auto& node : nodes_) {
    size_t pending = 0;
    for (const Value* value : node->inputs) pending += value != nullptr && value->producer != nullptr ? 1 : 0;
    waiting[node.get()] = pending;
  }
  std::unordered_map<const Node*, size_t> position;
  for (size_t i = 0; i < nodes_.size(); ++i) position[nodes_[i].get()] = i;
  auto later = [&](const Node* a, const Node* b) { return position[a] > position[b]; };
  std::vector<Node*> ready;
  for (const auto& node : nodes_) {
    if (waiting[node.get()] == 0) ready.push_back(node.get());
  }
  std::make_heap(ready.begin(), ready.end(), later);
  std::vector<size_t> order;
  while (!ready.empty()) {
    std::pop_heap(ready.begin(), ready.end(), later);
    Node* node = ready.back();
    ready.pop_back();
    order.push_back(position[node]);
    for (const Value* value : node->outputs) {
      if (value == nullptr) continue;
      for (Node* user : value->users) {
        if (--waiting[user] == 0) {
          ready.push_back(user);
          std::push_heap(ready.begin(), ready.end(), later);
        }
      }
    }
  }
  if (order.size() != nodes_.size()) {
    for (const auto& node : nodes_) {
      HUSSAR_CHECK(waiting[node.get()] == 0, ErrorCode::kInvalidModel,
                   "{} is part of a cycle: its inputs depend on its own outputs", describe(*node));
    }
  }
  std::vector<std::unique_ptr<Node>> sorted;
  for (size_t index : order) sorted.push_back(std::move(nodes_[index]));
  nodes_ = std::move(sorted);
  return {};
}

size_t Graph::sweep() {
  size_t before = nodes_.size();
  std::unordered_set<const Node*> live;
  std::vector<const Node*> stack;
  auto visit = [&](const Value* value) {
    if (value != nullptr && value->producer != nullptr && live.insert(value->producer).second) {
      stack.push_back(value->producer);
    }
  };
  for (const Value* output : outputs) visit(output);
  while (!stack.empty()) {
    const Node* node = stack.back();
    stack.pop_back();
    for (const Value* value : node->inputs) visit(value);
  }
  for (const auto& node : nodes_) {
    if (live.count(node.get()) != 0) continue;
    for (Value* value : node->inputs) {
      if (value != nullptr) erase_user(value, node.get());
    }
    for (Value* value : node->outputs) {
      if (value != nullptr && value->producer == node.get()) value->producer = nullptr;
    }
  }
  std::erase_if(nodes_, [&](const auto& node) { return live.count(node.get()) == 0; });
  std::unordered_set<const Value*> kept(inputs.begin(), inputs.end());
  kept.insert(outputs.begin(), outputs.end());
  for (const auto& node : nodes_) {
    kept.insert(node->inputs.begin(), node->inputs.end());
    kept.insert(node->outputs.begin(), node->outputs.end());
  }
  for (const auto& value : values_) {
    if (kept.count(value->slice_of) == 0) value->slice_of = nullptr;
  }
  std::erase_if(values_, [&](const auto& value) { return kept.count(value.get()) == 0; });
  return before - nodes_.size();
}

Status Graph::verify() const {
  std::unordered_set<const Value*> defined(inputs.begin(), inputs.end());
  for (const auto& value : values_) {
    if (value->is_constant()) defined.insert(value.get());
  }
  for (const Value* input : inputs) {
    HUSSAR_CHECK(!input->is_constant(), ErrorCode::kInvalidModel, "graph input '{}' is also a constant", input->name);
  }
  for (const auto& node : nodes_) {
    for (const Value* value : node->inputs) {
      HUSSAR_CHECK(value == nullptr || defined.count(value) != 0, ErrorCode::kInvalidModel,
                   "{} reads '{}', which nothing before it produces", describe(*node), value->name);
    }
    for (const Value* value : node->outputs) {
      if (value == nullptr) continue;
      bool is_new = value->producer == node.get() && defined.insert(value).second;
      HUSSAR_CHECK(is_new, ErrorCode::kInvalidModel,
                   "{} produces '{}', which is also a constant, a graph input or the output of another node",
                   describe(*node), value->name);
    }
    for (const Body& body : node->bodies) HUSSAR_TRY(body.graph->verify());
  }
  for (const Value* output : outputs) {
    HUSSAR_CHECK(defined.count(output) != 0, ErrorCode::kInvalidModel, "graph output '{}' is never produced",
                 output->name);
  }
  return {};
}

std::vector<Node*> Graph::snapshot() const {
  std::vector<Node*> list;
  for (const auto& node : nodes_) list.push_back(node.get());
  return list;
}

bool Graph::is_live(const Node* node) const {
  return std::any_of(nodes_.begin(), nodes_.end(), [&](const auto& entry) { return entry.get() == node; });
}

std::string Graph::unique_name(std::string_view prefix) {
  return fmt::format("{}~{}", prefix, ++last_number_[std::string(prefix)]);
}

std::string describe(const Value& value) {
  return fmt::format("{}:{}[{}]", value.name, dtype_name(value.dtype), value.dims ? to_string(*value.dims) : "?");
}

std::string describe(const Node& node) { return fmt::format("node '{}' ({})", node.name, node.op); }

namespace {

std::string print(const Attribute& attribute) {
  if (const auto* value = std::get_if<int64_t>(&attribute)) return fmt::format("{}", *value);
  if (const auto* value = std::get_if<float>(&attribute)) return fmt::format("{:g}", *value);
  if (const auto* value = std::get_if<std::string>(&attribute)) return fmt::format("\"{}\"", *value);
  if (const auto* value = std::get_if<Ints>(&attribute)) return fmt::format("[{}]", fmt::join(*value, ","));
  if (const auto* value = std::get_if<Floats>(&attribute)) return fmt::format("[{}]", fmt::join(*value, ","));
  if (const auto* value = std::get_if<Strings>(&attribute)) return fmt::format("[{}]", fmt::join(*value, ","));
  const auto& tensor = std::get<Tensor>(attribute);
  return fmt::format("{}[{}]", dtype_name(tensor.dtype()), tensor.shape().to_string());
}

void print(const Graph& graph, int indent, std::string& text) {
  std::string margin(static_cast<size_t>(indent), ' ');
  for (const Value* input : graph.inputs) text += fmt::format("{}input {}\n", margin, describe(*input));
  for (const auto& node : graph.nodes()) {
    text += margin;
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      const Value* value = node->outputs[i];
      text += (i == 0 ? "" : ", ") + (value == nullptr ? std::string("-") : describe(*value));
      if (value != nullptr && value->layout == Layout::kChannelsLast) text += "@channels_last";
    }
    text += fmt::format(" = {}(", node->op);
    for (size_t i = 0; i < node->inputs.size(); ++i) {
      const Value* value = node->inputs[i];
      text += i == 0 ? "" : ", ";
      if (value == nullptr)
        text += "-";
      else
        text += value->is_constant() ? "const " + describe(*value) : value->name;
    }
    text += ")";
    for (const auto& [key, attribute] : node->attributes.all()) text += fmt::format(" {}={}", key, print(attribute));
    text += fmt::format("  # {}\n", node->name);
    for (const Body& body : node->bodies) {
      text += fmt::format("{}  {}:\n", margin, body.name);
      print(*body.graph, indent + 4, text);
    }
  }
  for (const Value* output : graph.outputs) text += fmt::format("{}output {}\n", margin, output->name);
}

}  // namespace

std::string Graph::to_string() const {
  std::string text;
  print(*this, 0, text);
  return text;
}

}  // namespace hussar
