// freeze: Graph whose nodes have their final form -> Plan. Chooses a kernel per node and packs its weights.
#pragma once
#include "compile/compile.h"
#include "graph/graph.h"
#include "plan/plan.h"

namespace hussar {

Result<Plan> freeze(Graph& graph, const Target& target, bool reference_only);

}  // namespace hussar
