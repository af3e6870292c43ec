// Grids are often counted in floating point, where nobody follows how many numbers there are:
//   Range(0.0, Cast(n), 1.0)  =>  Cast(Range(0, n, 1))
// The numbers are the same as long as they are below 2^24, which float32 counts exactly.
#include <cmath>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

constexpr double kExact = 1 << 20;

bool count_in_integers(Graph& graph, Node* node) {
  if (node->op != "Range" || node->program || node->inputs.size() != 3 || node->output() == nullptr) return false;
  const DType dtype = node->output()->dtype;
  Node* cast = produced_by(node->inputs[1], "Cast");
  const auto start = number_of(node->inputs[0]), delta = number_of(node->inputs[2]);
  if (cast == nullptr || cast->program || cast->input(0) == nullptr || !start || !delta) return false;
  Value* limit = cast->inputs[0];
  for (double number : {*start, *delta}) {
    if (number != std::nearbyint(number) || std::fabs(number) > kExact) return false;
  }
  if (*delta == 0 || (dtype != DType::kFloat32 && dtype != DType::kFloat64)) return false;
  if (limit->dtype != DType::kInt64 && limit->dtype != DType::kInt32) return false;
  Value* first = add_numbers(graph, node->name + "/start", limit->dtype, Shape{}, {*start});
  Value* step = add_numbers(graph, node->name + "/delta", limit->dtype, Shape{}, {*delta});
  Value* range =
      add_operation(graph, node->name, "Range", {first, limit, step}, {}, limit->dtype, node->output()->dims);
  Attributes to;
  to.set("to", static_cast<int64_t>(dtype));
  replace_node(graph, node, "Cast", {range}, std::move(to));
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return count_in_integers(context.graph, node); });
}

}  // namespace

extern const Pass integer_range_pass = {.name = "integer_range",
                                        .summary = "Range(0.0, Cast(n), 1.0) => Cast(Range(0, n, 1))",
                                        .run = run,
                                        .after = "fold_constants"};

}  // namespace hussar
