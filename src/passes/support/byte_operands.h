// What passes know of the nodes that read and write bytes, which stand for real numbers.
#pragma once
#include "graph/graph.h"
#include "tactics/tactic.h"
#include "tensor/place.h"
#include "tensor/quant_params.h"

namespace hussar {

// Of an INT8 product: the name of its correction (PassContext::quantization), until the pass correct_biases knows the
// scale that its bytes have in the end.
inline constexpr std::string_view kCorrectionAttribute = "hussar_correction";

// Kernels divide by the scale of their output with its reciprocal, which must leave room in the exponents.
bool can_divide_by(const QuantParams& params);
bool is_int8_product(const Node& node);
bool is_byte_average(const Node& node);
// Whether the node can write its result as bytes: INT8 products and attention, elementwise programs, averages.
bool can_write_bytes(const Node& node);
// Whether it can round for those who read it, without another rounding of its own: convolutions of floats on a device,
// too, the first ones of networks.
bool can_round(Node& node, const Target& target);
// A convolution of floats becomes hussar.ConvToBytes.
void set_byte_output(Node* node, const QuantParams& params);
// Whether the node can read the value as bytes of this type, beside what an INT8 product multiplies: what products add,
// and elementwise work and averages of images. What transformers add up stays real, and FP8 is not averaged.
bool can_read_bytes(const Node& node, const Value* value, DType bytes);
// The node reads `bytes` instead of `real`.
void read_bytes(Graph& graph, Node* node, const Value* real, Value* bytes, const QuantParams& params);

}  // namespace hussar
