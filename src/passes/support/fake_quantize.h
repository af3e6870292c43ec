// What passes know of values that are quantized bytes in disguise: fake-quantized numbers and what only moves them.
#pragma once
#include <optional>
#include <string_view>

#include "graph/graph.h"
#include "tensor/quant_params.h"

namespace hussar {

// The note of a product that is INT8 because the model says so.
inline constexpr std::string_view kQuantizedInModel = "INT8: quantized in the model";

// Of a QuantizeLinear or DequantizeLinear between float32 and bytes with one constant scale, its bytes as uint8: the
// zero point of signed ones is moved by 128. nullopt: another one, or with a scale that is not positive.
std::optional<QuantParams> byte_params(const Node& node);
// The same, and of what converts to FP8 or back where the zero point is 0 (`fp8`).
std::optional<QuantParams> quantized_params(const Node& node, bool fp8);
// Of a hussar.FakeQuantize, or of a hussar.Pointwise that does nothing else.
std::optional<QuantParams> fake_quantize_params(const Node& node);
bool same_params(const QuantParams& a, const QuantParams& b);

// hussar.FakeQuantize(x), named `name`.
Value* add_fake_quantize(Graph& graph, const std::string& name, Value* x, const QuantParams& params);

// Whether output 0 holds elements of input 0 only, chosen without regard to their values but for their order: rounding
// them before or after is the same. Reshape, Slice, MaxPool and the like.
bool only_moves(const Node& node);

// Whether the value is what a convolution or product with constant weights multiplies with them.
bool is_multiplied(const Value* value);

// Moves a FakeQuantize, also a dynamic one, behind what only moves its result, for a product.
bool lower_fake_quantize(Graph& graph, Node* node);

}  // namespace hussar
