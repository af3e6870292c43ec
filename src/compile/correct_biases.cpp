#include "compile/correct_biases.h"

#include <cmath>

#include "base/thread_pool.h"
#include "compile/output_error.h"
#include "passes/support/smoothable.h"

namespace hussar {
namespace {

// Mean errors of the outputs, per channel, of the rows of either half, which count as OutputError has it.
struct MeanErrors {
  std::vector<double> errors[2];
  double weights[2] = {0, 0};
};

MeanErrors mean_errors(const ProductSamples& product, const OutputError& output, const QuantParams& params,
                       const std::vector<float>& divisors, const ProductWeights& weights,
                       const Int8Weights& quantized) {
  const auto size = static_cast<size_t>(product.row_size());
  std::vector<double> real[2], rounded[2];
  MeanErrors mean;
  std::vector<float> x(size), bytes(size);
  for (auto* sums : {&real[0], &real[1], &rounded[0], &rounded[1]}) sums->resize(size);
  for (int64_t row = 0; row < product.count(); ++row) {
    const size_t half = product.halves[static_cast<size_t>(row)];
    const double weight = output.weight_of(row);
    for (size_t i = 0; i < size; ++i) x[i] = product.row(row)[i] / (divisors.empty() ? 1.0F : divisors[i]);
    quantize_row(x.data(), product.row_size(), params, bytes.data());
    for (size_t i = 0; i < size; ++i) {
      real[half][i] += weight * x[i];
      rounded[half][i] += weight * bytes[i];
    }
    mean.weights[half] += weight;
  }
  const bool is_conv = product.node->op == "Conv";
  const int64_t per_group = weights.channels / product.groups;
  const int64_t to_channel = is_conv ? product.elements : 1, to_element = is_conv ? 1 : weights.channels;
  for (size_t half = 0; half < 2 && mean.weights[half] > 0; ++half) {
    for (int64_t channel = 0; channel < weights.channels; ++channel) {
      const auto first = static_cast<size_t>(channel / per_group * product.elements);
      const int8_t* number = quantized.numbers.data<int8_t>() + channel * to_channel;
      const float scale = quantized.scales.data<float>()[channel];
      double error = 0;
      for (int64_t i = 0; i < product.elements; ++i, number += to_element) {
        const size_t at = first + static_cast<size_t>(i);
        error += rounded[half][at] * (static_cast<float>(*number) * scale) - real[half][at] * weights.at(channel, i);
      }
      mean.errors[half].push_back(error / mean.weights[half]);
    }
  }
  return mean;
}

void correct(const ProductSamples& product, const QuantParams& params, const std::vector<float>& channels,
             ProductCalibration& result) {
  const std::vector<float> divisors = per_row_element(*product.node, channels);
  ProductWeights weights = *product_weights(*product.node);
  Tensor holder;
  if (!divisors.empty()) {
    holder = Tensor(DType::kFloat32, {weights.channels * weights.elements});
    weights = scale_weights(weights, divisors, holder.data<float>());
  }
  Int8Weights quantized = quantize_weights(*product.node, weights);
  result.weights = quantized.fingerprint();
  flip_roundings(*product.node, weights, result.flips, quantized);
  result.scale = params.scale;
  result.zero_point = params.zero_point;
  const OutputError output(product, divisors, result.flips);
  if (product.count() == 0 || output.power() <= 0) return;
  result.nearest_error = result.error = result.corrected_error = output.mean_noise(params) / output.power();
  if (!result.flips.empty()) result.nearest_error = OutputError(product, divisors).mean_noise(params) / output.power();
  const MeanErrors mean = mean_errors(product, output, params, divisors, weights, quantized);
  if (mean.weights[0] == 0 || mean.weights[1] == 0 || !std::isfinite(result.error)) return;
  double gain = 0;
  for (size_t channel = 0; channel < mean.errors[0].size(); ++channel) {
    const double a = mean.errors[0][channel], b = mean.errors[1][channel];
    gain += mean.weights[1] * (2 * a * b - a * a) + mean.weights[0] * (2 * a * b - b * b);
  }
  if (!(gain > 0)) return;
  result.corrected_error = std::max(0.0, result.error - gain / output.power());
  for (size_t channel = 0; channel < mean.errors[0].size(); ++channel) {
    const double sum = mean.errors[0][channel] * mean.weights[0] + mean.errors[1][channel] * mean.weights[1];
    result.bias.push_back(static_cast<float>(-sum / (mean.weights[0] + mean.weights[1])));
  }
}

}  // namespace

void correct_biases(const std::vector<ProductSamples>& products, Calibration& calibration) {
  struct Work {
    const ProductSamples* product;
    ProductCalibration* result;
  };
  std::vector<Work> work;
  for (const ProductSamples& product : products) {
    if (calibration.tensors.count(product.input) > 0)
      work.push_back({&product, &calibration.products[product.node->outputs[0]->name]});
  }
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease lease(pool, pool.cores());
  lease.run(static_cast<int>(work.size()), [&](int index) {
    const auto [product, result] = work[static_cast<size_t>(index)];
    auto smoothing = calibration.smoothings.find(product->input);
    const bool is_smoothed = smoothing != calibration.smoothings.end();
    const Range& range = is_smoothed ? smoothing->second.range : calibration.tensors.at(product->input).range;
    static const std::vector<float> kNone;
    correct(*product, params_of(range, DType::kUInt8), is_smoothed ? smoothing->second.divisors : kNone, *result);
  });
}

}  // namespace hussar
