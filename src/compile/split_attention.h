// What a plan for GPUs of Hopper has as a projection with its attention, as targets without a kernel for that want it.
#pragma once
#include "graph/graph.h"
#include "hussar/status.h"
#include "tactics/tactic.h"

namespace hussar {

// hussar.ProjectedAttention, of bytes too, => its parts, where no kernel of the target takes it. Infers the graph again
// where there was one.
Status split_attention(Graph& graph, const Target& target);

}  // namespace hussar
