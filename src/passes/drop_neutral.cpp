// Work with its neutral element: x * 1, x / 1, x + 0, x - 0, x ^ 1; x && true, x || false. Where a logical one enlarges
// the shape an Expand says so: attention masks of exported encoders are `true[S,1] && mask[B,1,1,S]`.
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// Input `side` holds nothing but `neutral`.
bool is_filled_with(const Node& node, size_t side, double neutral) {
  const Value* value = node.input(side);
  if (value == nullptr || !value->is_constant()) return false;
  auto first = number_of(value);
  if (first) return *first == neutral;
  auto numbers = numbers_of(value);
  return numbers && std::all_of(numbers->begin(), numbers->end(), [&](double number) { return number == neutral; });
}

bool is_filled_with(const Node& node, size_t side, bool neutral) {
  const Value* value = node.input(side);
  if (value == nullptr || !value->is_constant() || value->dtype != DType::kBool) return false;
  const bool* begin = value->constant->data<bool>();
  return std::all_of(begin, begin + value->constant->elements(), [&](bool it) { return it == neutral; });
}

std::optional<size_t> kept_operand(const Node& node) {
  if (node.op == "Mul" && is_filled_with(node, 0, 1.0)) return 1;
  if (node.op == "Add" && is_filled_with(node, 0, 0.0)) return 1;
  if ((node.op == "Mul" || node.op == "Div" || node.op == "Pow") && is_filled_with(node, 1, 1.0)) return 0;
  if ((node.op == "Add" || node.op == "Sub") && is_filled_with(node, 1, 0.0)) return 0;
  for (size_t side : {size_t{0}, size_t{1}}) {
    if (node.op == "And" && is_filled_with(node, side, true)) return 1 - side;
    if (node.op == "Or" && is_filled_with(node, side, false)) return 1 - side;
  }
  return std::nullopt;
}

// The node as an Expand to the shape of its neutral operand.
bool expand_instead(Graph& graph, Node* node, size_t kept) {
  if (node->op != "And" && node->op != "Or") return false;
  const Value* neutral = node->inputs[1 - kept];
  const Shape& shape = neutral->constant->shape();
  Value* wanted = add_integers(graph, neutral->name, Ints(shape.begin(), shape.end()));
  replace_node(graph, node, "Expand", {node->inputs[kept], wanted});
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) {
    if (node->program || node->inputs.size() != 2) return false;
    auto kept = kept_operand(*node);
    if (!kept || node->input(*kept) == nullptr || node->input(*kept)->is_constant()) return false;
    Value* to = node->inputs[*kept];
    // The neutral operand may still enlarge the shape.
    if (!same_dims(to, node->output())) return expand_instead(context.graph, node, *kept);
    return to->dtype == node->output()->dtype && bypass(context.graph, node, to);
  });
}

}  // namespace

extern const Pass drop_neutral_pass = {
    .name = "drop_neutral", .summary = "x * 1 => x, x + 0 => x, x && true => x", .run = run};

}  // namespace hussar
