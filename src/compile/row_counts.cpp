// All that is made of packed rows, up to where they are put back, has as many of them as there are tokens: the pass
// pack_tokens puts nothing else in between, and no pass behind it joins rows.
#include "compile/row_counts.h"

#include <algorithm>

#include "ops/op_def.h"
#include "passes/support/token_rows.h"
#include "tensor/expected_rows.h"

namespace hussar {

// The dimensions that count rows, the same for all outputs; 0: they have other rows.
static int common_axes(const Node& node, const Dim& batch, const Dim& length) {
  int axes = -1;
  for (const Value* output : node.outputs) {
    if (output == nullptr) continue;
    const int own = row_axes(output, batch, length);
    if (axes >= 0 && own != axes) return 0;
    axes = own;
  }
  return std::max(axes, 0);
}

static void follow(const Node& order, RowCounts& hints) {
  const Value* mask = order.input(0);
  const Value *index = order.output(0), *place = order.output(1);
  Value* starts = order.output(2);
  if (index == nullptr || starts == nullptr || mask->rank() != 2) return;
  std::vector<const Node*> waiting, seen;
  auto visit = [&](const Node* node) {
    const bool puts_back = node->op == "hussar.GatherRows" && node->input(1) == place;
    if (puts_back || has_trait(find_op(node->op), kShapeOnly)) return;
    if (std::find(seen.begin(), seen.end(), node) != seen.end()) return;
    seen.push_back(node);
    waiting.push_back(node);
  };
  for (const Node* user : index->users) visit(user);
  while (!waiting.empty()) {
    const Node* node = waiting.back();
    waiting.pop_back();
    const int axes = common_axes(*node, (*mask->dims)[0], (*mask->dims)[1]);
    if (axes > 0) hints[node] = {starts, axes};
    for (const Value* output : node->outputs) {
      if (output == nullptr) continue;
      for (const Node* user : output->users) visit(user);
    }
  }
}

RowCounts find_row_counts(const Graph& graph) {
  RowCounts hints;
  for (const auto& node : graph.nodes()) {
    if (node->op == "hussar.TokenOrder") follow(*node, hints);
  }
  return hints;
}

void expect_rows(Graph& graph, double part) {
  const RowCounts counts = find_row_counts(graph);
  for (const auto& node : graph.nodes()) {
    if (counts.contains(node.get())) node->attributes.set(kTokenPartAttribute, static_cast<float>(part));
  }
}

}  // namespace hussar
