#include "compile/split_composites.h"

#include "base/error.h"
#include "ops/builder.h"
#include "ops/conv_sum.h"
#include "ops/infer.h"
#include "tactics/choose.h"
#include "tensor/projected_attention.h"

namespace hussar {

Status split_composites(Graph& graph, const Target& target) {
  for (const auto& node : graph.nodes()) {
    for (const Body& body : node->bodies) HUSSAR_TRY(split_composites(*body.graph, target));
  }
  bool has_split = false;
  for (Node* node : graph.snapshot()) {
    const bool is_sum = is_conv_sum(node->op);
    if (!is_sum && !is_projected_attention(node->op)) continue;
    if (has_own_kernel(Problem{*node, target})) continue;
    HUSSAR_TRY(is_sum ? split_conv_sum(graph, node) : expand_node(graph, node));
    has_split = true;
  }
  if (!has_split) return {};
  graph.sweep();
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  return {};
}

}  // namespace hussar
