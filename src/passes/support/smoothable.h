// Values that can be divided per channel at next to no cost, where only products read them: their weights take the
// divisors.
#pragma once
#include <vector>

#include "graph/graph.h"

namespace hussar {

// How many channels `value` has, along axis 1 of channels-last and along the last axis else, when it can be divided and
// all that read it are products with constant weights: what a LayerNormalization or RMSNormalization over the last axis
// with constant scale and bias gives, or between convolutions a product or fused program that can end with one more
// factor. 0: it cannot.
int64_t smoothable_channels(const Graph& graph, const Value& value);
bool is_normalization(const Node& node);

// Per channel of what a product reads, as one number per element of its rows ([group][element]).
std::vector<float> per_row_element(const Node& product, const std::vector<float>& channels);

// The value is called as Quantization::smoothed_name() says, and its products' weights are multiplied. false: another
// value has that name already.
bool multiply_products(Graph& graph, Value* value, const std::vector<float>& divisors);

}  // namespace hussar
