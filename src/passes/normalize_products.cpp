// On a GPU rows of a product are normalized before they are written, where that was measured to be faster:
//   MatMul{add x} -> p -> LayerNormalization -> y             =>  hussar.MatMulNorm{add x} -> y
//   QuantizedMatMul{add x} -> p -> NormToBytes -> bytes, y    =>  hussar.QuantizedMatMulNorm{add x} -> bytes, y
// Whoever else reads p, a residual in front of the normalization, reads the third output.
#include "ops/product_norm.h"
#include "passes/pass.h"
#include "passes/support/node_cost.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

constexpr std::string_view kName = "normalize_products";
constexpr std::string_view kToBytes = "hussar.NormToBytes";
// Of the two steps' time, what one must take to replace them: noise decides nothing.
constexpr double kClear = 0.97;

// Whether it normalizes rows of the value, and nobody wants its statistics.
bool normalizes(const Graph& graph, const Node& node, const Value& value) {
  const bool to_bytes = node.op == kToBytes;
  if (!to_bytes && node.op != "LayerNormalization" && node.op != "RMSNormalization") return false;
  if (node.program || node.input(0) != &value || node.input(1) == nullptr || node.outputs[0] == nullptr) return false;
  const auto axis = axis_of(node, -1);
  if (!axis || *axis != value.rank() - 1) return false;
  for (size_t i = 1; i < node.outputs.size() && !to_bytes; ++i) {
    if (node.outputs[i] != nullptr && graph.use_count(node.outputs[i]) > 0) return false;
  }
  const Value* numbers = node.output(to_bytes ? 1 : 0);
  return node.input(1)->dtype == value.dtype && (numbers == nullptr || numbers->dtype == value.dtype);
}

Attributes joined_attributes(const Node& product, const Node& norm) {
  Attributes attributes = product.attributes;
  attributes.erase("y_type");
  for (const char* name : {"y_scale", "y_zero_point", "y_type", "epsilon"}) {
    const auto found = norm.attributes.all().find(name);
    if (found != norm.attributes.all().end()) attributes.set(name, found->second);
  }
  const bool centers =
      norm.op == kToBytes ? norm.attributes.get_int("center", 1) != 0 : norm.op == "LayerNormalization";
  attributes.set("center", int64_t{centers});
  return attributes;
}

Node fused_of(const Graph& graph, const Node& product, const Node& norm) {
  Node fused;
  fused.op = product_norm_of(product.op);
  fused.name = product.name + "+" + norm.name;
  const auto own = static_cast<std::ptrdiff_t>(own_inputs_of(product));
  fused.inputs = product.inputs;
  fused.inputs.insert(fused.inputs.begin() + own, {norm.input(2), norm.input(1)});
  fused.program = product.program;
  fused.program_inputs = product.program ? product.program_inputs + static_cast<int32_t>(kNormInputs) : 0;
  fused.attributes = joined_attributes(product, norm);
  Value* const value = product.outputs[0];
  fused.outputs = {norm.outputs[0], norm.op == kToBytes ? norm.output(1) : nullptr,
                   graph.use_count(value) > 1 ? value : nullptr};
  while (fused.outputs.back() == nullptr) fused.outputs.pop_back();
  return fused;
}

bool fuse(const PassContext& context, Node* norm) {
  Graph& graph = context.graph;
  const Value* value = norm->input(0);
  Node* product = value != nullptr ? value->producer : nullptr;
  if (product == nullptr || product_norm_of(product->op).empty() || product->outputs.size() != 1) return false;
  if (!normalizes(graph, *norm, *value) || value->slice_of != nullptr || value->layout != Layout::kPlain) return false;
  Node fused = fused_of(graph, *product, *norm);
  if (!has_own_kernel(Problem{fused, context.target})) return false;
  NodeCost together, apart;
  together.add(fused, context);
  apart.add(*product, context);
  apart.add(*norm, context);
  const bool is_measured = together.measured && apart.measured;
  const bool is_faster = is_measured && *together.measured < kClear * *apart.measured;
  if (!context.eager && !is_faster) {
    if (is_measured) add_note(product, describe_choice(kName, false, together, apart));
    return false;
  }
  std::string note = product->note;
  graph.remove(norm);
  graph.remove(product);
  Node* node = graph.add_node(fused.op, fused.name, fused.inputs, fused.outputs, std::move(fused.attributes));
  node->program = fused.program;
  node->program_inputs = fused.program_inputs;
  node->note = std::move(note);
  if (!context.eager) add_note(node, describe_choice(kName, true, together, apart));
  return true;
}

Result<int> run(PassContext& context) {
  if (context.target.place != Place::kDevice) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return fuse(context, node); });
}

}  // namespace

extern const Pass normalize_products_pass = {
    .name = kName,
    .summary = "MatMul{add x} -> LayerNormalization => hussar.MatMulNorm{add x}",
    .run = run,
    // Last: what it joins has its types, and what else could be done with the two is done.
    .after = "fuse_inverted_residual",
    .chooses = true};

}  // namespace hussar
