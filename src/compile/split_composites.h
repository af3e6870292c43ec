// What a plan for GPUs of Hopper has as one step, as targets without a kernel for that want it.
#pragma once
#include "graph/graph.h"
#include "hussar/status.h"
#include "tactics/tactic.h"

namespace hussar {

// hussar.ConvSum and hussar.ProjectedAttention, those of bytes, too, => their parts, where no kernel of the target
// takes them. Infers the graph again where there was one.
Status split_composites(Graph& graph, const Target& target);

}  // namespace hussar
