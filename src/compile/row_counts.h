// Which nodes of a graph that leaves out padding need not compute all rows of their outputs.
#pragma once
#include <unordered_map>

#include "graph/graph.h"

namespace hussar {

// Of the rows of the outputs, which their first `axes` dimensions count, nobody reads those from number *count on:
// the last element of that value.
struct RowCountHint {
  Value* count = nullptr;
  int axes = 0;
};

std::unordered_map<const Node*, RowCountHint> find_row_counts(const Graph& graph);

}  // namespace hussar
