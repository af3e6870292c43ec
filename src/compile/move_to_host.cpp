// Types first, then layouts: kernels are chosen by both.
#include "compile/move_to_host.h"

#include <algorithm>

#include "base/error.h"
#include "compile/split_embeddings.h"
#include "ops/infer.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

constexpr DType kFloat = DType::kFloat32;

bool is_boundary(const Graph& graph, const Value* value) {
  return std::find(graph.inputs.begin(), graph.inputs.end(), value) != graph.inputs.end() || graph.is_output(value);
}

Value* add_like(Graph& graph, const Value& value, DType dtype, Layout layout) {
  Value* other = graph.add_value(graph.unique_name(value.name), dtype, value.dims);
  other->layout = layout;
  return other;
}

void add_cast(Graph& graph, Value* from, Value* to) {
  Attributes attributes;
  attributes.set("to", static_cast<int64_t>(to->dtype));
  graph.add_node("Cast", to->name, {from}, {to}, std::move(attributes));
}

// A value of the model's own interface stays what it is: the nodes inside use a wide copy.
void widen_boundary(Graph& graph, Value* value) {
  Value* wide = add_like(graph, *value, kFloat, value->layout);
  const std::vector<Node*> users = value->users;
  for (Node* user : users) {
    for (size_t i = 0; i < user->inputs.size(); ++i) {
      if (user->inputs[i] == value) graph.set_input(user, i, wide);
    }
  }
  if (value->producer == nullptr) return add_cast(graph, value, wide);
  std::replace(value->producer->outputs.begin(), value->producer->outputs.end(), value, wide);
  wide->producer = value->producer;
  value->producer = nullptr;
  add_cast(graph, wide, value);
}

void widen(Graph& graph) {
  std::vector<Value*> halves;
  for (const auto& value : graph.values()) {
    if (is_half(value->dtype)) halves.push_back(value.get());
  }
  for (Value* value : halves) {
    if (is_boundary(graph, value)) {
      widen_boundary(graph, value);
    } else {
      if (value->is_constant()) value->constant = converted(*value->constant, kFloat);
      value->dtype = kFloat;
    }
  }
  // Attributes that name a type, of nodes whose results are wide now.
  for (Node* node : graph.snapshot()) {
    const bool is_wide = !node->outputs.empty() && node->outputs[0] != nullptr && node->outputs[0]->dtype == kFloat;
    for (const char* name : {"to", "dtype", "y_type"}) {
      if (is_wide && is_half(static_cast<DType>(node->attributes.get_int(name, 0))))
        node->attributes.set(name, static_cast<int64_t>(kFloat));
    }
    const Value* x = node->input(0);
    if (node->op == "Cast" && !node->program && x != nullptr && is_wide && x->dtype == kFloat)
      bypass(graph, node, node->inputs[0]);
  }
}

// What kernels of a GPU round to bytes themselves (the passes round_in_place and store_bytes), others do in a step of
// its own.
void round_apart(Graph& graph, Node* node) {
  const bool is_norm = node->op == "hussar.NormToBytes", is_conv = node->op == "hussar.ConvToBytes";
  if (!is_norm && !is_conv && !(node->op == "hussar.Attention" && node->attributes.has("y_scale"))) return;
  Value* const bytes = node->outputs[0];
  Value* real = node->output(1);
  if (real == nullptr) real = add_like(graph, *bytes, kFloat, bytes->layout);
  real->producer = node;
  node->outputs = {real};
  const Value* factors = is_norm ? node->input(3) : nullptr;
  const Shape shape = factors == nullptr ? Shape{} : factors->constant->shape();
  Tensor scale(kFloat, shape), zero_point(bytes->dtype, shape);
  for (int64_t i = 0; i < scale.elements(); ++i) {
    const float factor = factors == nullptr ? 1 : factors->constant->data<float>()[i];
    scale.data<float>()[i] = node->attributes.get_float("y_scale", 1) / factor;
    zero_point.data<uint8_t>()[i] = static_cast<uint8_t>(node->attributes.get_int("y_zero_point", 0));
  }
  if (factors != nullptr) {
    graph.set_input(node, 3, nullptr);
    node->inputs.resize(3);
  }
  node->attributes.erase("y_scale");
  node->attributes.erase("y_zero_point");
  node->attributes.erase("y_type");
  if (is_norm) {
    node->op = node->attributes.get_int("center", 1) != 0 ? "LayerNormalization" : "RMSNormalization";
    node->attributes.erase("center");
  }
  if (is_conv) node->op = "Conv";
  bytes->producer = nullptr;
  Node* quantize = graph.add_node("QuantizeLinear", "quantize " + real->name,
                                  {real, graph.add_constant(graph.unique_name(real->name + "_scale"), std::move(scale)),
                                   graph.add_constant(graph.unique_name(real->name + "_zero"), std::move(zero_point))},
                                  {bytes});
  if (factors != nullptr) quantize->attributes.set("axis", int64_t{-1});
}

// hussar.NormToRows => LayerNormalization -> hussar.QuantizeRows
void quantize_apart(Graph& graph, Node* node) {
  if (node->op != "hussar.NormToRows") return;
  Value *const bytes = node->outputs[0], *const scales = node->outputs[1];
  Value* real = node->output(2);
  if (real == nullptr) real = add_like(graph, *bytes, kFloat, bytes->layout);
  bytes->producer = scales->producer = nullptr;
  real->producer = node;
  node->outputs = {real};
  node->op = node->attributes.get_int("center", 1) != 0 ? "LayerNormalization" : "RMSNormalization";
  node->attributes.erase("center");
  graph.add_node("hussar.QuantizeRows", "quantize " + real->name, {real}, {bytes, scales});
}

// Gives the node plain data, and its users what they had.
void make_plain(Graph& graph, Node* node) {
  for (size_t i = 0; i < node->inputs.size(); ++i) {
    Value* input = node->inputs[i];
    if (input == nullptr || input->layout == Layout::kPlain) continue;
    Value* plain = add_like(graph, *input, input->dtype, Layout::kPlain);
    graph.add_node("hussar.Reformat", input->name, {input}, {plain});
    graph.set_input(node, i, plain);
  }
  for (Value*& output : node->outputs) {
    if (output == nullptr || output->layout == Layout::kPlain) continue;
    Value* plain = add_like(graph, *output, output->dtype, Layout::kPlain);
    Value* before = output;
    output = plain;
    plain->producer = node;
    before->producer = nullptr;
    graph.add_node("hussar.Reformat", before->name, {plain}, {before});
  }
}

}  // namespace

Status move_to_host(Graph& graph, const Target& target) {
  for (const auto& node : graph.nodes()) {
    for (const Body& body : node->bodies) HUSSAR_TRY(move_to_host(*body.graph, target));
  }
  HUSSAR_TRY(split_embeddings(graph));
  widen(graph);
  for (Node* node : graph.snapshot()) {
    round_apart(graph, node);
    quantize_apart(graph, node);
  }
  return make_reference_steps_plain(graph, target);
}

Status make_reference_steps_plain(Graph& graph, const Target& target) {
  for (Node* node : graph.snapshot()) {
    if (node->op != "hussar.Reformat" && choose(Problem{*node, target}).tactic() == nullptr) make_plain(graph, node);
  }
  graph.sweep();
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  return {};
}

}  // namespace hussar
