// freeze: Graph whose nodes have their final form -> Plan. Chooses a kernel per node and packs its weights.
#pragma once
#include <functional>

#include "base/memory.h"
#include "graph/graph.h"
#include "plan/plan.h"
#include "tactics/choose.h"

namespace hussar {

using Chooser = std::function<Choice(const Problem&)>;

// What became of a graph, for who will exchange steps of the plan: by the order that values and nodes had before.
struct FreezeRecord {
  std::vector<int32_t> values;  // of the main graph: where in PlanGraph::values; -1: nowhere
  std::vector<int32_t> steps;   // of its nodes: where in PlanGraph::steps; -1: nowhere
  // The plan's constants, with room behind them. Null: there would be too little memory.
  std::shared_ptr<GrowingPages> pages;
};

// `choose` decides for each node; without it every step is run by its reference evaluator.
Result<Plan> freeze(Graph& graph, const Target& target, const Chooser& choose, FreezeRecord* record = nullptr);

}  // namespace hussar
