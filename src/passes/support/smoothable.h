// Normalizations whose result only products read: what they give can be divided per channel at no cost.
#pragma once
#include "graph/graph.h"

namespace hussar {

// Whether `value` is what a LayerNormalization or RMSNormalization over the last axis gives, with constant scale and
// bias, and all that read it are products with constant weights.
bool is_smoothable(const Graph& graph, const Value& value);

}  // namespace hussar
