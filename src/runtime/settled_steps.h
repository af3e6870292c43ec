// Steps whose outputs depend on the shapes of the graph's inputs only, never on their elements: shape arithmetic, masks
// and grids made of it. A run with the shapes of the last one need not repeat them.
#pragma once
#include <vector>

#include "plan/plan.h"

namespace hussar {

// One entry per step of the graph.
std::vector<bool> settled_steps(const PlanGraph& graph);

// The values, by their index, that settled steps write and other steps use, or the graph gives: their memory must be
// left alone from run to run. Views are counted as their holder.
std::vector<int32_t> settled_values(const PlanGraph& graph, const std::vector<bool>& settled);

}  // namespace hussar
