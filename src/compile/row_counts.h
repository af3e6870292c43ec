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

using RowCounts = std::unordered_map<const Node*, RowCountHint>;
RowCounts find_row_counts(const Graph& graph);

// Says of all these nodes that this part of their rows is expected to be needed (tensor/expected_rows.h).
void expect_rows(Graph& graph, double part);

}  // namespace hussar
