// What a GPU's plan has as hussar.EmbeddingNorm, as targets without a kernel for that want it.
#pragma once
#include "graph/graph.h"
#include "hussar/status.h"

namespace hussar {

// hussar.EmbeddingNorm => its parts, with one loop for the sum. Infers the graph again where there was one.
Status split_embeddings(Graph& graph);

}  // namespace hussar
