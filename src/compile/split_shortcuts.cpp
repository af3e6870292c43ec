#include "compile/split_shortcuts.h"

#include "base/error.h"
#include "ops/conv_sum.h"
#include "ops/infer.h"
#include "tactics/choose.h"

namespace hussar {

Status split_shortcuts(Graph& graph, const Target& target) {
  bool found = false;
  for (Node* node : graph.snapshot()) {
    if (!is_conv_sum(node->op) || has_own_kernel(Problem{*node, target})) continue;
    HUSSAR_TRY(split_conv_sum(graph, node));
    found = true;
  }
  if (!found) return {};
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_graph(graph));
  return {};
}

}  // namespace hussar
