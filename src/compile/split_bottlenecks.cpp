#include "compile/split_bottlenecks.h"

#include "base/error.h"
#include "graph/bottleneck.h"
#include "ops/builder.h"
#include "ops/infer.h"
#include "tactics/choose.h"

namespace hussar {

Status split_bottlenecks(Graph& graph, const Target& target) {
  bool is_split = false;
  for (Node* node : graph.snapshot()) {
    for (const Body& body : node->bodies) HUSSAR_TRY(split_bottlenecks(*body.graph, target));
    if (node->op != kBottleneck || has_own_kernel(Problem{*node, target})) continue;
    HUSSAR_TRY(expand_node(graph, node));
    is_split = true;
  }
  if (!is_split) return {};
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  return {};
}

}  // namespace hussar
