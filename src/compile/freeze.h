// freeze: Graph whose nodes have their final form -> Plan. Chooses a kernel per node and packs its weights.
#pragma once
#include <functional>

#include "graph/graph.h"
#include "plan/plan.h"
#include "tactics/choose.h"

namespace hussar {

using Chooser = std::function<Choice(const Problem&)>;

// `choose` decides for each node; without it every step is run by its reference evaluator.
Result<Plan> freeze(Graph& graph, const Target& target, const Chooser& choose);

}  // namespace hussar
