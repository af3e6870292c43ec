#include "compile/output_error.h"

#include <algorithm>
#include <cstring>
#include <memory>

namespace hussar {
namespace {

constexpr int64_t kMostChannels = 32;
constexpr int64_t kWidth = 8;
// Rows that go through the weights together: their sums wait for each other less.
constexpr int64_t kRows = 2, kRowsOfOne = 8;

// The loops that see every element, once for all x86-64 and once for those with AVX2. Neither has fused multiply-adds:
// the same bits.
#define HUSSAR_INLINE __attribute__((always_inline)) inline

using Vector = float __attribute__((vector_size(32), aligned(4), may_alias));

// sums[row][channel] = sum over elements of x[row][element] * weights[element][channel]
template <int64_t kVectors, int64_t kCount>
HUSSAR_INLINE void multiply_rows(const float* x, int64_t stride, int64_t elements, const float* weights, float* sums) {
  Vector total[kCount][kVectors] = {};
  for (int64_t i = 0; i < elements; ++i) {
    const auto* weight = reinterpret_cast<const Vector*>(weights + i * kVectors * kWidth);
    for (int64_t row = 0; row < kCount; ++row) {
      for (int64_t k = 0; k < kVectors; ++k) total[row][k] += x[row * stride + i] * weight[k];
    }
  }
  std::memcpy(sums, total, sizeof(total));
}

template <int64_t kVectors>
HUSSAR_INLINE void multiply_vectors(const float* x, int64_t stride, int64_t rows, int64_t elements,
                                    const float* weights, float* sums) {
  for (; rows >= kRows; rows -= kRows, x += kRows * stride, sums += kRows * kVectors * kWidth)
    multiply_rows<kVectors, kRows>(x, stride, elements, weights, sums);
  if (rows > 0) multiply_rows<kVectors, 1>(x, stride, elements, weights, sums);
}

// Of one channel.
HUSSAR_INLINE void multiply_one(const float* x, int64_t stride, int64_t rows, int64_t elements, const float* weights,
                                float* sums) {
  for (; rows >= kRowsOfOne; rows -= kRowsOfOne, x += kRowsOfOne * stride, sums += kRowsOfOne) {
    float total[kRowsOfOne] = {};
    for (int64_t i = 0; i < elements; ++i) {
      for (int64_t row = 0; row < kRowsOfOne; ++row) total[row] += x[row * stride + i] * weights[i];
    }
    std::copy_n(total, kRowsOfOne, sums);
  }
  for (; rows > 0; --rows, x += stride) {
    float total = 0;
    for (int64_t i = 0; i < elements; ++i) total += x[i] * weights[i];
    *sums++ = total;
  }
}

// `width` channels: 1, 8, 16, 24 or 32.
HUSSAR_INLINE void multiply_any(const float* x, int64_t stride, int64_t rows, int64_t elements, const float* weights,
                                int64_t width, float* sums) {
  switch (width / kWidth) {
    case 4: return multiply_vectors<4>(x, stride, rows, elements, weights, sums);
    case 3: return multiply_vectors<3>(x, stride, rows, elements, weights, sums);
    case 2: return multiply_vectors<2>(x, stride, rows, elements, weights, sums);
    case 1: return multiply_vectors<1>(x, stride, rows, elements, weights, sums);
    default: return multiply_one(x, stride, rows, elements, weights, sums);
  }
}

HUSSAR_INLINE void quantize(const float* x, int64_t count, const QuantParams& params, float* result) {
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

struct Loops {
  void (*multiply)(const float*, int64_t, int64_t, int64_t, const float*, int64_t, float*);
  void (*quantize)(const float*, int64_t, const QuantParams&, float*);
};

void multiply_anywhere(const float* x, int64_t stride, int64_t rows, int64_t elements, const float* weights,
                       int64_t width, float* sums) {
  multiply_any(x, stride, rows, elements, weights, width, sums);
}
void quantize_anywhere(const float* x, int64_t count, const QuantParams& params, float* result) {
  quantize(x, count, params, result);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) void multiply_avx2(const float* x, int64_t stride, int64_t rows, int64_t elements,
                                                   const float* weights, int64_t width, float* sums) {
  multiply_any(x, stride, rows, elements, weights, width, sums);
}
__attribute__((target("avx2"))) void quantize_avx2(const float* x, int64_t count, const QuantParams& params,
                                                   float* result) {
  quantize(x, count, params, result);
}
const Loops kLoops = __builtin_cpu_supports("avx2") != 0 ? Loops{multiply_avx2, quantize_avx2}
                                                         : Loops{multiply_anywhere, quantize_anywhere};
#else
const Loops kLoops = {multiply_anywhere, quantize_anywhere};
#endif

struct Bounds {
  float low, high;
};

Bounds bounds_of(const QuantParams& params) {
  return {static_cast<float>(-params.zero_point) * params.scale,
          static_cast<float>(255 - params.zero_point) * params.scale};
}

}  // namespace

void quantize_row(const float* x, int64_t count, const QuantParams& params, float* result) {
  kLoops.quantize(x, count, params, result);
}

OutputError::OutputError(const ProductSamples& samples, const std::vector<float>& divisors,
                         const std::vector<uint8_t>& flips, const OutputError* undivided)
    : count_(samples.count()), row_size_(samples.row_size()), elements_(samples.elements), rows_(samples.rows.data()) {
  fill(samples, divisors, flips);
  if (!divisors.empty()) {
    scaled_.resize(samples.rows.size());
    for (size_t i = 0; i < scaled_.size(); i += divisors.size()) {
      for (size_t k = 0; k < divisors.size(); ++k) scaled_[i + k] = samples.rows[i + k] / divisors[k];
    }
    rows_ = scaled_.data();
  }
  for (const Block& block : blocks_) {
    for (float weight : block.real) gain_ += double(weight) * weight;
  }
  if (undivided != nullptr) {
    outputs_ = undivided->outputs_;
    power_ = undivided->power_;
    return;
  }
  outputs_.reserve(static_cast<size_t>(count_ * channels_));
  std::vector<float> sums(static_cast<size_t>(count_ * kMostChannels));
  for (const Block& block : blocks_) {
    kLoops.multiply(rows_ + block.group * elements_, row_size_, count_, elements_, block.real.data(), block.width,
                    sums.data());
    for (int64_t row = 0; row < count_; ++row)
      outputs_.insert(outputs_.end(), &sums[static_cast<size_t>(row * block.width)],
                      &sums[static_cast<size_t>(row * block.width)] + block.channels);
  }
  for (float output : outputs_) power_ += double(output) * output;
  power_ /= static_cast<double>(std::max<int64_t>(count_, 1));
}

// What quantize_weights and flip_roundings make of the channels that are looked at.
void OutputError::fill(const ProductSamples& samples, const std::vector<float>& divisors,
                       const std::vector<uint8_t>& flips) {
  const ProductWeights weights = *product_weights(*samples.node);
  const int64_t per_group = weights.channels / samples.groups, looked_at = std::min(kMostChannels, per_group);
  channels_ = samples.groups * looked_at;
  std::vector<float> channel(static_cast<size_t>(elements_));
  for (int64_t group = 0; group < samples.groups; ++group) {
    const int64_t width = looked_at == 1 ? 1 : (looked_at + kWidth - 1) / kWidth * kWidth;
    Block block{group, looked_at, width, {}, {}};
    block.real.resize(static_cast<size_t>(elements_ * width));
    block.quantized.resize(block.real.size());
    const float* factors = divisors.empty() ? nullptr : divisors.data() + group * elements_;
    for (int64_t k = 0; k < looked_at; ++k) {
      const int64_t number = group * per_group + per_group * k / looked_at;
      for (int64_t i = 0; i < elements_; ++i)
        channel[static_cast<size_t>(i)] = weights.at(number, i) * (factors != nullptr ? factors[i] : 1);
      const float scale = weight_scales({channel.data(), 1, elements_, elements_, 1})[0];
      for (int64_t i = 0; i < elements_; ++i) {
        const float weight = channel[static_cast<size_t>(i)];
        int integer = quantize_weight(weight, scale);
        const auto bit = static_cast<size_t>(number * elements_ + i);
        if (bit / 8 < flips.size() && (flips[bit / 8] >> bit % 8 & 1) != 0)
          integer = other_neighbour(weight / scale, integer);
        block.real[static_cast<size_t>(i * width + k)] = weight;
        block.quantized[static_cast<size_t>(i * width + k)] = static_cast<float>(integer) * scale;
      }
    }
    blocks_.push_back(std::move(block));
  }
}

double OutputError::noise(const QuantParams& params) const {
  const auto x = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count_ * row_size_));
  const auto sums = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count_ * kMostChannels));
  quantize_row(rows_, count_ * row_size_, params, x.get());
  double noise = 0;
  const float* expected = outputs_.data();
  for (const Block& block : blocks_) {
    kLoops.multiply(x.get() + block.group * elements_, row_size_, count_, elements_, block.quantized.data(),
                    block.width, sums.get());
    for (int64_t row = 0; row < count_; ++row, expected += block.channels) {
      const float* own = sums.get() + row * block.width;
      for (int64_t channel = 0; channel < block.channels; ++channel) {
        const double error = double(own[channel]) - expected[channel];
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
