#include "ops/product_weights.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>

namespace hussar {

static bool is_finite(const Tensor& tensor) {
  const auto* data = tensor.data<float>();
  return std::all_of(data, data + tensor.elements(), [](float x) { return std::isfinite(x); });
}

std::optional<ProductWeights> product_weights(const Node& node) {
  const Value* x = node.input(0);
  const Value* w = node.input(1);
  if (x == nullptr || w == nullptr || !w->is_constant() || x->dtype != DType::kFloat32) return std::nullopt;
  if (w->dtype != DType::kFloat32 || w->constant->elements() == 0 || !is_finite(*w->constant)) return std::nullopt;
  const Shape& shape = w->constant->shape();
  const auto* data = w->constant->data<float>();
  if (node.op == "Conv") {
    const int64_t elements = shape.elements(1, shape.rank());
    return ProductWeights{data, shape[0], elements, elements, 1};
  }
  const Attributes& attributes = node.attributes;
  bool plain = node.op == "MatMul" || node.op == "com.microsoft.FusedMatMul";
  for (const char* name : {"transA", "transBatchA", "transBatchB"}) plain = plain && attributes.get_int(name, 0) == 0;
  if (!plain || attributes.get_float("alpha", 1.0F) != 1.0F || shape.rank() != 2 || x->rank() < 1) return std::nullopt;
  if (attributes.get_int("transB", 0) != 0) return ProductWeights{data, shape[0], shape[1], shape[1], 1};
  return ProductWeights{data, shape[1], shape[0], 1, shape[1]};
}

ProductWeights scale_weights(const ProductWeights& weights, const std::vector<float>& factors, float* result) {
  const int64_t per_group = weights.channels * weights.elements / std::ssize(factors);
  for (int64_t channel = 0; channel < weights.channels; ++channel) {
    const float* const own = factors.data() + channel / per_group * weights.elements;
    for (int64_t i = 0; i < weights.elements; ++i)
      result[channel * weights.channel_stride + i * weights.element_stride] = weights.at(channel, i) * own[i];
  }
  ProductWeights scaled = weights;
  scaled.data = result;
  return scaled;
}

std::vector<float> weight_scales(const ProductWeights& weights) {
  std::vector<float> scales;
  for (int64_t channel = 0; channel < weights.channels; ++channel) {
    float largest = 0;
    for (int64_t i = 0; i < weights.elements; ++i) largest = std::max(largest, std::fabs(weights.at(channel, i)));
    scales.push_back(largest > 0 ? largest / 127 : 1);
  }
  return scales;
}

Int8Weights quantize_weights(const Node& node, const ProductWeights& weights, const std::vector<float>& scales) {
  const bool is_conv = node.op == "Conv";
  const Shape shape = is_conv ? node.inputs[1]->constant->shape() : Shape{weights.elements, weights.channels};
  Int8Weights result{Tensor(DType::kInt8, shape), Tensor::from<float>(DType::kFloat32, {weights.channels}, scales)};
  auto* q = result.numbers.data<int8_t>();
  for (int64_t channel = 0; channel < weights.channels; ++channel) {
    for (int64_t i = 0; i < weights.elements; ++i) {
      const int64_t at = is_conv ? channel * weights.elements + i : i * weights.channels + channel;
      const float rounded = std::nearbyint(weights.at(channel, i) / scales[static_cast<size_t>(channel)]);
      q[at] = static_cast<int8_t>(std::clamp(rounded, -128.0F, 127.0F));
    }
  }
  return result;
}

float Int8Weights::real(bool is_conv, int64_t channel, int64_t element) const {
  const int64_t channels = scales.elements(), elements = numbers.elements() / channels;
  const int64_t at = is_conv ? channel * elements + element : element * channels + channel;
  return static_cast<float>(numbers.data<int8_t>()[at]) * scales.data<float>()[channel];
}

std::string Int8Weights::fingerprint() const {
  const uint64_t seed = XXH3_64bits(numbers.raw(), numbers.bytes());
  return fmt::format("{:016x}", XXH3_64bits_withSeed(scales.raw(), scales.bytes(), seed));
}

}  // namespace hussar
