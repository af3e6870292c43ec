// Arithmetic with its neutral element: x * 1, x / 1, x + 0, x - 0, x ^ 1.
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

std::optional<size_t> kept_operand(const Node& node) {
  if (node.op == "Mul" && is_filled_with(node, 0, 1)) return 1;
  if (node.op == "Add" && is_filled_with(node, 0, 0)) return 1;
  if ((node.op == "Mul" || node.op == "Div" || node.op == "Pow") && is_filled_with(node, 1, 1)) return 0;
  if ((node.op == "Add" || node.op == "Sub") && is_filled_with(node, 1, 0)) return 0;
  return std::nullopt;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) {
    if (node->program || node->inputs.size() != 2) return false;
    auto kept = kept_operand(*node);
    if (!kept || node->input(*kept) == nullptr || node->input(*kept)->is_constant()) return false;
    Value* to = node->inputs[*kept];
    // The neutral operand may still enlarge the shape.
    return to->dtype == node->output()->dtype && same_dims(to, node->output()) && bypass(context.graph, node, to);
  });
}

}  // namespace

extern const Pass drop_neutral_pass = {.name = "drop_neutral", .summary = "x * 1 => x, x + 0 => x", .run = run};

}  // namespace hussar
