// The two halves of compile_graph, for those who change the graph between them.
#pragma once
#include "compile/compile.h"
#include "graph/graph.h"

namespace hussar {

// The graph that compile_graph would freeze: shapes fixed, passes done. Nothing is measured.
Result<Graph> optimize_graph(Graph graph, const CompileOptions& options);
// Chooses kernels for such a graph, by predicted times.
Result<Plan> freeze_graph(Graph graph, const CompileOptions& options);

}  // namespace hussar
