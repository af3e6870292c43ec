// The constant weights of convolutions and products, one channel after another, and what INT8 and FP8 make of them.
#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"
#include "hussar/tensor.h"

namespace hussar {

// The weights as [channel][element], with the steps from one channel and one element to the next.
struct ProductWeights {
  const float* data;
  int64_t channels, elements, channel_stride, element_stride;

  float at(int64_t channel, int64_t element) const { return data[channel * channel_stride + element * element_stride]; }
};

// nullopt: not a product of FP32 activations with constant, finite weights that has an INT8 form. Layouts are not
// looked at.
std::optional<ProductWeights> product_weights(const Node& node);
// The same of a Gemm, which has no INT8 form before it becomes a MatMul. Its alpha is not looked at.
std::optional<ProductWeights> gemm_weights(const Node& node);

// The weights multiplied by one factor per element of a row that the product reads ([group][element]), in the same
// order in `result`, which has as many.
ProductWeights scale_weights(const ProductWeights& weights, const std::vector<float>& factors, float* result);

// Symmetric, one scale per channel. Conv keeps the shape of its filter; the right side of a product becomes k x n.
struct Int8Weights {
  Tensor numbers, scales;

  // What weights.at(channel, element) became.
  int8_t& number(bool is_conv, int64_t channel, int64_t element);
  int8_t number(bool is_conv, int64_t channel, int64_t element) const {
    return const_cast<Int8Weights*>(this)->number(is_conv, channel, element);
  }
  // What stands for weights.at(channel, element).
  float real(bool is_conv, int64_t channel, int64_t element) const;
  // 16 hexadecimal digits.
  std::string fingerprint() const;
};
// The scales with which the largest magnitude of each channel becomes `largest`.
std::vector<float> weight_scales(const ProductWeights& weights, float largest = 127);
int8_t quantize_weight(float weight, float scale, float offset = 0);
// offsets: what the integers of each channel are less than the weights in units of its scale; none: 0.
Int8Weights quantize_weights(const Node& node, const ProductWeights& weights, const std::vector<float>& scales,
                             const std::vector<int32_t>& offsets = {});
inline Int8Weights quantize_weights(const Node& node, const ProductWeights& weights) {
  return quantize_weights(node, weights, weight_scales(weights));
}

// The same in FP8: `numbers` are float8e4m3fn, and number() and real() have no meaning.
Int8Weights quantize_weights_to_fp8(const Node& node, const ProductWeights& weights, const std::vector<float>& scales);

// The integer on the other side of the weight, in units of the scale, than `nearest`; nothing else when there is none
// from -127 to 127.
int other_neighbour(float weight, int nearest);
// How many bytes hold one bit per weight.
inline size_t flip_bytes(const ProductWeights& weights) {
  return static_cast<size_t>((weights.channels * weights.elements + 7) / 8);
}
// Takes the other neighbour for every weight whose bit (channel * elements + element, of each byte the lowest first) is
// set. `flips` has flip_bytes() bytes, or none.
void flip_roundings(const Node& node, const ProductWeights& weights, const std::vector<uint8_t>& flips,
                    Int8Weights& quantized);

}  // namespace hussar
