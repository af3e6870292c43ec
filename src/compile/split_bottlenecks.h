// What a plan for Hopper has as hussar.Bottleneck, as other targets want it.
#pragma once
#include "graph/graph.h"
#include "hussar/status.h"
#include "tactics/tactic.h"

namespace hussar {

// hussar.Bottleneck => its two convolutions, where the target has no kernel for both. Infers the graph again where
// there was one.
Status split_bottlenecks(Graph& graph, const Target& target);

}  // namespace hussar
