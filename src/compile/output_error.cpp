#include "compile/output_error.h"

#include <algorithm>

namespace hussar {
namespace {

constexpr int64_t kMostChannels = 32;

// sums[channel] = sum over elements of x[element] * weights[element][channel]
void multiply(const float* x, int64_t elements, const float* weights, int64_t channels, float* sums) {
  std::fill_n(sums, channels, 0.0F);
  if (channels == kMostChannels) {
    // A fixed number of channels, so that compilers vectorise.
    for (int64_t i = 0; i < elements; ++i) {
      for (int64_t channel = 0; channel < kMostChannels; ++channel)
        sums[channel] += x[i] * weights[i * kMostChannels + channel];
    }
    return;
  }
  for (int64_t i = 0; i < elements; ++i) {
    for (int64_t channel = 0; channel < channels; ++channel) sums[channel] += x[i] * weights[i * channels + channel];
  }
}

struct Bounds {
  float low, high;
};

Bounds bounds_of(const QuantParams& params) {
  return {static_cast<float>(-params.zero_point) * params.scale,
          static_cast<float>(255 - params.zero_point) * params.scale};
}

}  // namespace

void quantize_row(const float* x, int64_t count, const QuantParams& params, float* result) {
  // Adding this rounds to an integer.
  constexpr float kMagic = 12582912.0F;  // 1.5 * 2^23
  const auto least = static_cast<float>(-params.zero_point), greatest = static_cast<float>(255 - params.zero_point);
  auto quantize_one = [&](int64_t i) {
    const float scaled = std::min(std::max(x[i] / params.scale, least), greatest);
    result[i] = ((scaled + kMagic) - kMagic) * params.scale;
  };
  constexpr int64_t kTogether = 8;
  int64_t i = 0;
  for (; i + kTogether <= count; i += kTogether) {
    for (int64_t k = 0; k < kTogether; ++k) quantize_one(i + k);
  }
  for (; i < count; ++i) quantize_one(i);
}

OutputError::OutputError(const ProductSamples& samples, const std::vector<float>& divisors,
                         const std::vector<uint8_t>& flips)
    : count_(samples.count()), row_size_(samples.row_size()), elements_(samples.elements), rows_(samples.rows.data()) {
  ProductWeights weights = *product_weights(*samples.node);
  Tensor holder;
  if (!divisors.empty()) {
    holder = Tensor(DType::kFloat32, {weights.channels * weights.elements});
    weights = scale_weights(weights, divisors, holder.data<float>());
    scaled_.resize(samples.rows.size());
    for (size_t i = 0; i < scaled_.size(); ++i) scaled_[i] = samples.rows[i] / divisors[i % divisors.size()];
    rows_ = scaled_.data();
  }
  fill(samples, weights, flips);
  std::vector<float> sums(kMostChannels);
  for (const Block& block : blocks_) {
    for (int64_t row = 0; row < count_; ++row) {
      multiply(rows_ + row * row_size_ + block.group * elements_, elements_, block.real.data(), block.channels,
               sums.data());
      outputs_.insert(outputs_.end(), sums.begin(), sums.begin() + block.channels);
    }
    for (float weight : block.real) gain_ += double(weight) * weight;
  }
  for (float output : outputs_) power_ += double(output) * output;
  power_ /= static_cast<double>(std::max<int64_t>(count_, 1));
}

void OutputError::fill(const ProductSamples& samples, const ProductWeights& weights,
                       const std::vector<uint8_t>& flips) {
  Int8Weights quantized = quantize_weights(*samples.node, weights);
  flip_roundings(*samples.node, weights, flips, quantized);
  const bool is_conv = samples.node->op == "Conv";
  const int64_t per_group = weights.channels / samples.groups, looked_at = std::min(kMostChannels, per_group);
  channels_ = samples.groups * looked_at;
  for (int64_t group = 0; group < samples.groups; ++group) {
    Block block{group, looked_at, {}, {}};
    for (int64_t i = 0; i < elements_; ++i) {
      for (int64_t k = 0; k < looked_at; ++k) {
        const int64_t channel = group * per_group + per_group * k / looked_at;
        block.real.push_back(weights.at(channel, i));
        block.quantized.push_back(quantized.real(is_conv, channel, i));
      }
    }
    blocks_.push_back(std::move(block));
  }
}

double OutputError::noise(const QuantParams& params) const {
  std::vector<float> sums(kMostChannels), x(static_cast<size_t>(elements_));
  double noise = 0;
  const float* expected = outputs_.data();
  for (const Block& block : blocks_) {
    for (int64_t row = 0; row < count_; ++row, expected += block.channels) {
      quantize_row(rows_ + row * row_size_ + block.group * elements_, elements_, params, x.data());
      multiply(x.data(), elements_, block.quantized.data(), block.channels, sums.data());
      for (int64_t channel = 0; channel < block.channels; ++channel) {
        const double error = double(sums[static_cast<size_t>(channel)]) - expected[channel];
        noise += error * error;
      }
    }
  }
  return noise / static_cast<double>(std::max<int64_t>(count_, 1));
}

double OutputError::clipping(const QuantParams& params) const {
  const Bounds bounds = bounds_of(params);
  double sum = 0;
  for (int64_t i = 0; i < count_ * row_size_; ++i) {
    const double beyond = rows_[i] - std::clamp(rows_[i], bounds.low, bounds.high);
    sum += beyond * beyond;
  }
  return sum / static_cast<double>(std::max<int64_t>(count_ * row_size_, 1));
}

}  // namespace hussar
