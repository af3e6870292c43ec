#include "ops/product_weights.h"

#include <fmt/format.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"
#include "tensor/convert.h"
#include "tensor/finite.h"
#include "tensor/quant_params.h"

namespace hussar {

static bool has_real_weights(const Node& node) {
  const Value* x = node.input(0);
  const Value* w = node.input(1);
  return x != nullptr && w != nullptr && w->is_constant() && x->dtype == DType::kFloat32 &&
         w->dtype == DType::kFloat32 && w->constant->elements() > 0 &&
         are_finite({w->constant->data<float>(), static_cast<size_t>(w->constant->elements())});
}

std::optional<ProductWeights> product_weights(const Node& node) {
  if (!has_real_weights(node)) return std::nullopt;
  const Value* x = node.inputs[0];
  const Value* w = node.inputs[1];
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

std::optional<ProductWeights> gemm_weights(const Node& node) {
  if (node.op != "Gemm" || !has_real_weights(node)) return std::nullopt;
  const Shape& shape = node.inputs[1]->constant->shape();
  const auto* data = node.inputs[1]->constant->data<float>();
  if (shape.rank() != 2) return std::nullopt;
  if (node.attributes.get_int("transB", 0) != 0) return ProductWeights{data, shape[0], shape[1], shape[1], 1};
  return ProductWeights{data, shape[1], shape[0], 1, shape[1]};
}

// visit(channel, element) for each weight, in the order of memory, of several channels at a time.
template <class Visit>
static void for_each_weight(const ProductWeights& weights, Visit visit) {
  constexpr int64_t kChannels = 64, kWorthAThread = int64_t{1} << 18;
  const int64_t blocks = (weights.channels + kChannels - 1) / kChannels;
  auto visit_block = [&](int block) {
    const int64_t first = block * kChannels, end = std::min(first + kChannels, weights.channels);
    if (weights.channel_stride == 1) {
      for (int64_t i = 0; i < weights.elements; ++i) {
        for (int64_t channel = first; channel < end; ++channel) visit(channel, i);
      }
    } else {
      for (int64_t channel = first; channel < end; ++channel) {
        for (int64_t i = 0; i < weights.elements; ++i) visit(channel, i);
      }
    }
  };
  ThreadPool& pool = ThreadPool::shared();
  const int64_t threads = weights.channels * weights.elements / kWorthAThread + 1;
  ThreadPool::Lease lease(pool, static_cast<int>(std::min<int64_t>(threads, pool.cores())));
  lease.run(static_cast<int>(blocks), visit_block);
}

ProductWeights scale_weights(const ProductWeights& weights, const std::vector<float>& factors, float* result) {
  const int64_t per_group = weights.channels * weights.elements / std::ssize(factors);
  for_each_weight(weights, [&](int64_t channel, int64_t i) {
    const float factor = factors[static_cast<size_t>(channel / per_group * weights.elements + i)];
    result[channel * weights.channel_stride + i * weights.element_stride] = weights.at(channel, i) * factor;
  });
  ProductWeights scaled = weights;
  scaled.data = result;
  return scaled;
}

std::vector<float> weight_scales(const ProductWeights& weights, float at_most) {
  std::vector<float> scales(static_cast<size_t>(weights.channels));
  float* const largest = scales.data();
  for_each_weight(weights, [&](int64_t channel, int64_t i) {
    largest[channel] = std::max(largest[channel], std::fabs(weights.at(channel, i)));
  });
  for (float& scale : scales) scale = scale > 0 ? scale / at_most : 1;
  return scales;
}

int8_t quantize_weight(float weight, float scale, float offset) {
  // Adding this rounds to an integer, ties to even, where std::nearbyint would be a call.
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23
  return static_cast<int8_t>((std::clamp(weight / scale - offset, -128.0F, 127.0F) + kMagic) - kMagic);
}

// byte(channel, weight): what becomes of it.
template <class Byte>
static Int8Weights bytes_of_weights(const Node& node, const ProductWeights& weights, const std::vector<float>& scales,
                                    DType dtype, Byte byte) {
  const bool is_conv = node.op == "Conv";
  const Shape shape = is_conv ? node.inputs[1]->constant->shape() : Shape{weights.elements, weights.channels};
  Int8Weights result{Tensor(dtype, shape), Tensor::from<float>(DType::kFloat32, {weights.channels}, scales)};
  auto* q = result.numbers.data<uint8_t>();
  for_each_weight(weights, [&](int64_t channel, int64_t i) {
    const int64_t at = is_conv ? channel * weights.elements + i : i * weights.channels + channel;
    q[at] = static_cast<uint8_t>(byte(static_cast<size_t>(channel), weights.at(channel, i)));
  });
  return result;
}

Int8Weights quantize_weights(const Node& node, const ProductWeights& weights, const std::vector<float>& scales,
                             const std::vector<int32_t>& offsets) {
  return bytes_of_weights(node, weights, scales, DType::kInt8, [&](size_t channel, float weight) {
    return quantize_weight(weight, scales[channel], offsets.empty() ? 0 : static_cast<float>(offsets[channel]));
  });
}

Int8Weights quantize_weights_to_fp8(const Node& node, const ProductWeights& weights, const std::vector<float>& scales) {
  return bytes_of_weights(node, weights, scales, kFp8, [&](size_t channel, float weight) {
    return float_to_small_float(weight / scales[channel], kFp8, true);
  });
}

int other_neighbour(float weight, int nearest) {
  const auto rounded = static_cast<float>(nearest);
  if (rounded == weight) return nearest;
  const int other = rounded > weight ? nearest - 1 : nearest + 1;
  return std::abs(other) > 127 ? nearest : other;
}

void flip_roundings(const Node& node, const ProductWeights& weights, const std::vector<uint8_t>& flips,
                    Int8Weights& quantized) {
  const bool is_conv = node.op == "Conv";
  for (size_t bit = 0; bit < flips.size() * 8; ++bit) {
    if ((flips[bit / 8] >> bit % 8 & 1) == 0) continue;
    const auto at = static_cast<int64_t>(bit);
    const int64_t channel = at / weights.elements, element = at % weights.elements;
    if (channel >= weights.channels) return;
    int8_t& number = quantized.number(is_conv, channel, element);
    const float weight = weights.at(channel, element) / quantized.scales.data<float>()[channel];
    number = static_cast<int8_t>(other_neighbour(weight, number));
  }
}

int8_t& Int8Weights::number(bool is_conv, int64_t channel, int64_t element) {
  const int64_t channels = scales.elements(), elements = numbers.elements() / channels;
  return numbers.data<int8_t>()[is_conv ? channel * elements + element : element * channels + channel];
}

float Int8Weights::real(bool is_conv, int64_t channel, int64_t element) const {
  return static_cast<float>(number(is_conv, channel, element)) * scales.data<float>()[channel];
}

std::string Int8Weights::fingerprint() const {
  const uint64_t seed = XXH3_64bits(numbers.raw(), numbers.bytes());
  return fmt::format("{:016x}", XXH3_64bits_withSeed(scales.raw(), scales.bytes(), seed));
}

}  // namespace hussar
