// Values that products read and that can be divided per channel at next to no cost: the products' weights take the
// divisors.
#pragma once
#include <vector>

#include "graph/graph.h"

namespace hussar {

// How many channels `value` has, along axis 1 of channels-last and along the last axis else, when it can be divided: 0,
// it cannot. What a product or fused program gives that can end with one more factor, where all that read it are
// products with constant weights. And of rows what a LayerNormalization or RMSNormalization gives, for those of its
// readers that multiplies_channels() holds of: they are divided while they become bytes, and whoever else reads the
// value, a residual for example, does not see it.
int64_t smoothable_channels(const Graph& graph, const Value& value);
bool is_normalization(const Node& node);
// Whether the node is a product that multiplies the value, all of its channels, with constant weights.
bool multiplies_channels(const Node& node, const Value& value);

// Per channel of what a product reads, as one number per element of its rows ([group][element]).
std::vector<float> per_row_element(const Node& product, const std::vector<float>& channels);

// The value is called as Quantization::smoothed_name() says, and its products' weights are multiplied. false: another
// value has that name already.
bool multiply_products(Graph& graph, Value* value, const std::vector<float>& divisors);

}  // namespace hussar
