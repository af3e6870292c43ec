#include "compile/output_error.h"

#include <algorithm>
#include <cfloat>
#include <cmath>
#include <cstring>
#include <memory>
#include <numeric>

namespace hussar {
namespace {

constexpr int64_t kMostChannels = 32;
constexpr int64_t kWidth = 8;
// Rows of less power than this part of the median count as if they had it.
constexpr double kLeastPower = 0.1;
// Of matrix products: how many channels say what the power of a row is, and how many of those that are looked at are
// the greatest.
constexpr int64_t kMostWeighed = 4096, kGreatestChannels = 8;
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

int64_t padded_width(int64_t channels) { return channels == 1 ? 1 : (channels + kWidth - 1) / kWidth * kWidth; }

// Of every row: for what part of all rows it stands.
std::vector<double> shares_of(const ProductSamples& samples) {
  double rows = 0;
  for (float stands_for : samples.stands_for) rows += stands_for;
  std::vector<double> shares;
  for (float stands_for : samples.stands_for) shares.push_back(stands_for / rows);
  return shares;
}

// Of a matrix product, at `channels` of its channels: blocks of 32, filled up with zeros, as [row][channel].
std::vector<float> token_outputs(const ProductSamples& samples, const ProductWeights& weights, int64_t channels) {
  const int64_t blocks = (channels + kMostChannels - 1) / kMostChannels;
  std::vector<float> outputs(static_cast<size_t>(blocks * kMostChannels * samples.count()));
  std::vector<float> block(static_cast<size_t>(samples.elements * kMostChannels));
  for (int64_t first = 0; first < channels; first += kMostChannels) {
    std::fill(block.begin(), block.end(), 0.0F);
    const int64_t count = std::min(kMostChannels, channels - first);
    for (int64_t i = 0; i < samples.elements; ++i) {
      for (int64_t k = 0; k < count; ++k)
        block[static_cast<size_t>(i * kMostChannels + k)] = weights.at(weights.channels * (first + k) / channels, i);
    }
    kLoops.multiply(samples.rows.data(), samples.row_size(), samples.count(), samples.elements, block.data(),
                    kMostChannels, outputs.data() + first * samples.count());
  }
  return outputs;
}

}  // namespace

void quantize_row(const float* x, int64_t count, const QuantParams& params, float* result) {
  kLoops.quantize(x, count, params, result);
}

OutputError::OutputError(const ProductSamples& samples, const std::vector<float>& divisors,
                         const std::vector<uint8_t>& flips, const OutputError* undivided)
    : count_(samples.count()),
      row_size_(samples.row_size()),
      elements_(samples.elements),
      rows_(samples.rows.data()),
      are_tokens_(samples.node->op != "Conv") {
  if (undivided != nullptr) {
    channels_ = undivided->channels_;
    shares_ = undivided->shares_;
    row_weights_ = undivided->row_weights_;
    greatest_weight_ = undivided->greatest_weight_;
    power_ = undivided->power_;
  } else if (are_tokens_) {
    weigh_tokens(samples);
  } else {
    weigh_pixels(samples);
  }
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
    return;
  }
  outputs_.reserve(static_cast<size_t>(count_) * channels_.size());
  std::vector<float> sums(static_cast<size_t>(count_ * kMostChannels));
  for (const Block& block : blocks_) {
    kLoops.multiply(rows_ + block.group * elements_, row_size_, count_, elements_, block.real.data(), block.width,
                    sums.data());
    for (int64_t row = 0; row < count_; ++row)
      outputs_.insert(outputs_.end(), &sums[static_cast<size_t>(row * block.width)],
                      &sums[static_cast<size_t>(row * block.width)] + block.channels);
  }
  if (are_tokens_) return;
  double power = 0;
  const float* output = outputs_.data();
  for (const Block& block : blocks_) {
    for (double weight : row_weights_) {
      for (int64_t channel = 0; channel < block.channels; ++channel, ++output)
        power += weight * double(*output) * *output;
    }
  }
  power_ = power;
}

// Channels at equal distances.
void OutputError::weigh_pixels(const ProductSamples& samples) {
  const int64_t channels = product_weights(*samples.node)->channels, per_group = channels / samples.groups;
  const int64_t looked_at = std::min(kMostChannels, per_group);
  for (int64_t group = 0; group < samples.groups; ++group) {
    for (int64_t k = 0; k < looked_at; ++k) channels_.push_back({group * per_group + per_group * k / looked_at, 1});
  }
  shares_ = shares_of(samples);
  row_weights_ = shares_;
  greatest_weight_ = double(per_group) / double(looked_at);
  for (double& weight : row_weights_) weight *= greatest_weight_;
}

// The channels that have the greatest part of any token's power, and others at equal distances.
void OutputError::weigh_tokens(const ProductSamples& samples) {
  const ProductWeights weights = *product_weights(*samples.node);
  const int64_t channels = std::min(weights.channels, kMostWeighed);
  const double of_all = double(weights.channels) / double(channels);
  const std::vector<float> outputs = token_outputs(samples, weights, channels);
  std::vector<double> powers(static_cast<size_t>(count_)), parts(static_cast<size_t>(channels));
  auto output = [&](size_t row, size_t channel) {
    return double(outputs[channel / kMostChannels * kMostChannels * powers.size() + row * kMostChannels +
                          channel % kMostChannels]);
  };
  for (size_t row = 0; row < powers.size(); ++row) {
    for (size_t channel = 0; channel < parts.size(); ++channel)
      powers[row] += output(row, channel) * output(row, channel);
    powers[row] *= of_all;
  }
  shares_ = row_weights_ = shares_of(samples);
  std::vector<double> sorted = powers;
  const auto middle = sorted.begin() + std::ssize(sorted) / 2;
  if (middle != sorted.end()) std::nth_element(sorted.begin(), middle, sorted.end());
  const double least = middle == sorted.end() ? 1 : std::max(kLeastPower * *middle, double(FLT_MIN));
  double power = 0, squares = 0;
  for (size_t row = 0; row < powers.size(); ++row) {
    power += shares_[row] * powers[row];
    squares += shares_[row] * powers[row] * powers[row];
    const double of_row = std::max(powers[row], least);
    row_weights_[row] /= of_row;
    power_ += row_weights_[row] * powers[row];
    for (size_t channel = 0; channel < parts.size(); ++channel)
      parts[channel] = std::max(parts[channel], output(row, channel) * output(row, channel) / of_row);
  }
  if (power > 0) greatest_weight_ = power / squares;
  std::vector<int64_t> order(parts.size());
  std::iota(order.begin(), order.end(), 0);
  const int64_t looked_at = std::min(kMostChannels, channels), greatest = std::min(kGreatestChannels, channels);
  std::partial_sort(order.begin(), order.begin() + greatest, order.end(), [&](int64_t a, int64_t b) {
    const double of_a = parts[static_cast<size_t>(a)], of_b = parts[static_cast<size_t>(b)];
    return of_a != of_b ? of_a > of_b : a < b;
  });
  std::sort(order.begin() + greatest, order.end());
  const int64_t rest = channels - greatest, others = looked_at - greatest;
  auto number = [&](int64_t at) { return weights.channels * order[static_cast<size_t>(at)] / channels; };
  for (int64_t k = 0; k < greatest; ++k) channels_.push_back({number(k), static_cast<float>(std::sqrt(of_all))});
  const auto factor = static_cast<float>(std::sqrt(of_all * double(rest) / double(std::max<int64_t>(others, 1))));
  for (int64_t k = 0; k < others; ++k) channels_.push_back({number(greatest + rest * k / others), factor});
}

// What quantize_weights and flip_roundings make of the channels that are looked at.
void OutputError::fill(const ProductSamples& samples, const std::vector<float>& divisors,
                       const std::vector<uint8_t>& flips) {
  const ProductWeights weights = *product_weights(*samples.node);
  const int64_t looked_at = std::ssize(channels_) / samples.groups;
  std::vector<float> channel(static_cast<size_t>(elements_));
  for (int64_t group = 0; group < samples.groups; ++group) {
    const int64_t width = padded_width(looked_at);
    Block block{group, looked_at, width, {}, {}};
    block.real.resize(static_cast<size_t>(elements_ * width));
    block.quantized.resize(block.real.size());
    const float* factors = divisors.empty() ? nullptr : divisors.data() + group * elements_;
    for (int64_t k = 0; k < looked_at; ++k) {
      const auto [number, multiple] = channels_[static_cast<size_t>(group * looked_at + k)];
      for (int64_t i = 0; i < elements_; ++i)
        channel[static_cast<size_t>(i)] = weights.at(number, i) * (factors != nullptr ? factors[i] : 1);
      const float scale = weight_scales({channel.data(), 1, elements_, elements_, 1})[0];
      for (int64_t i = 0; i < elements_; ++i) {
        const float weight = channel[static_cast<size_t>(i)];
        int integer = quantize_weight(weight, scale);
        const auto bit = static_cast<size_t>(number * elements_ + i);
        if (bit / 8 < flips.size() && (flips[bit / 8] >> bit % 8 & 1) != 0)
          integer = other_neighbour(weight / scale, integer);
        block.real[static_cast<size_t>(i * width + k)] = multiple * weight;
        block.quantized[static_cast<size_t>(i * width + k)] = multiple * (static_cast<float>(integer) * scale);
      }
    }
    blocks_.push_back(std::move(block));
  }
}

std::vector<double> OutputError::squares(const QuantParams& params) const {
  const auto x = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count_ * row_size_));
  const auto sums = std::make_unique_for_overwrite<float[]>(static_cast<size_t>(count_ * kMostChannels));
  quantize_row(rows_, count_ * row_size_, params, x.get());
  std::vector<double> squares(static_cast<size_t>(count_));
  const float* expected = outputs_.data();
  for (const Block& block : blocks_) {
    kLoops.multiply(x.get() + block.group * elements_, row_size_, count_, elements_, block.quantized.data(),
                    block.width, sums.get());
    for (int64_t row = 0; row < count_; ++row, expected += block.channels) {
      const float* own = sums.get() + row * block.width;
      double sum = 0;
      for (int64_t channel = 0; channel < block.channels; ++channel) {
        const double error = double(own[channel]) - expected[channel];
        sum += error * error;
      }
      squares[static_cast<size_t>(row)] += sum;
    }
  }
  return squares;
}

double OutputError::mean_noise(const QuantParams& params) const {
  const std::vector<double> errors = squares(params);
  return std::inner_product(errors.begin(), errors.end(), row_weights_.begin(), 0.0);
}

double OutputError::noise(const QuantParams& params) const {
  if (!are_tokens_) return mean_noise(params);
  const std::vector<double> errors = squares(params);
  double sum = 0;
  for (size_t row = 0; row < errors.size(); ++row)
    sum += row_weights_[row] * row_weights_[row] / shares_[row] * errors[row] * errors[row];
  return std::sqrt(sum);
}

double OutputError::clipping(const QuantParams& params) const {
  const Bounds bounds = bounds_of(params);
  double sum = 0;
  const float* x = rows_;
  for (double share : shares_) {
    double squares = 0;
    for (int64_t i = 0; i < row_size_; ++i, ++x) {
      const double beyond = *x - std::clamp(*x, bounds.low, bounds.high);
      squares += beyond * beyond;
    }
    sum += share * squares;
  }
  return sum / static_cast<double>(std::max<int64_t>(row_size_, 1));
}

}  // namespace hussar
