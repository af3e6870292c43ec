// What a GPU's plan has as hussar.ConvSum, as targets without a kernel for that want it.
#pragma once
#include "graph/graph.h"
#include "hussar/status.h"
#include "tactics/tactic.h"

namespace hussar {

// hussar.ConvSum, and that of bytes, which no kernel of the target takes => its convolutions. Infers the graph again
// where there was one.
Status split_shortcuts(Graph& graph, const Target& target);

}  // namespace hussar
