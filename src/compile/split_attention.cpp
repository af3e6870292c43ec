#include "compile/split_attention.h"

#include "base/error.h"
#include "ops/builder.h"
#include "ops/infer.h"
#include "tactics/choose.h"
#include "tensor/projected_attention.h"

namespace hussar {

Status split_attention(Graph& graph, const Target& target) {
  for (const auto& node : graph.nodes()) {
    for (const Body& body : node->bodies) HUSSAR_TRY(split_attention(*body.graph, target));
  }
  bool has_split = false;
  for (Node* node : graph.snapshot()) {
    if (!is_projected_attention(node->op) || has_own_kernel(Problem{*node, target})) continue;
    HUSSAR_TRY(expand_node(graph, node));
    has_split = true;
  }
  if (!has_split) return {};
  graph.sweep();
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  return {};
}

}  // namespace hussar
