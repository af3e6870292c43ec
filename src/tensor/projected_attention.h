// The operators hussar.ProjectedAttention and hussar.QuantizedProjectedAttention: a product that makes queries, keys
// and values side by side, and the self-attention that alone reads them (ops/projected_attention.h).
#pragma once
#include <string>
#include <string_view>

#include "tensor/attributes.h"
#include "tensor/program.h"

namespace hussar {

inline constexpr std::string_view kProjectedAttention = "hussar.ProjectedAttention";
inline constexpr std::string_view kQuantizedProjectedAttention = "hussar.QuantizedProjectedAttention";
inline bool is_projected_attention(std::string_view op) {
  return op == kProjectedAttention || op == kQuantizedProjectedAttention;
}

namespace projected {

// Up to kMask those of hussar.QuantizedMatMul; of floats the bias is input 2. Scales are those of
// hussar.QuantizedAttention.
enum Input : size_t { kX, kW, kWScale, kBias, kXScale, kXZeroPoint, kMask, kQScale, kKScale, kVScale, kInputs };
inline constexpr size_t kFloatBias = kWScale;

// Names the second operator.
inline constexpr std::string_view kAttention = "attention";
// The names of the two nodes that it was made of.
inline constexpr std::string_view kParts = "parts";

// The attributes of the product, in the node's; and what is left, those of the attention.
inline constexpr std::string_view kOfProduct = "product_";
Attributes product_attributes(const Attributes& attributes);
Attributes attention_attributes(const Attributes& attributes);

// The product's operator; and the program that adds the bias to one of floats, its operand.
inline std::string_view product_of(std::string_view op) {
  return op == kQuantizedProjectedAttention ? "hussar.QuantizedMatMul" : "MatMul";
}
Program sum_with_bias();

// What the attention on bytes of such a node was called; "": there is none.
std::string byte_attention(const Attributes& attributes);

}  // namespace projected
}  // namespace hussar
