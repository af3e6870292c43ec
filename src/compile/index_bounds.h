// How large the integers may be that a model takes as inputs: what it looks up with them has so many rows.
#pragma once
#include <optional>
#include <vector>

#include "graph/graph.h"
#include "plan/plan.h"

namespace hussar {

// For each input: the length of the shortest table, along the axis that is indexed, that elements of the input go to as
// indices as they are, through casts and whatever only moves them. nullopt: it indexes nothing of known length, or
// something else is computed with it.
std::vector<std::optional<int64_t>> index_bounds(const Graph& graph);
std::vector<std::optional<int64_t>> index_bounds(const PlanGraph& graph);

}  // namespace hussar
