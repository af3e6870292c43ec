#include "compile/smooth.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/thread_pool.h"
#include "compile/output_error.h"
#include "passes/support/smoothable.h"

namespace hussar {
namespace {

// What the error must fall to: of images, whose factors are free, and of rows, for which a GPU loads a vector more.
constexpr double kWorthwhileOfImages = 0.95, kWorthwhileOfRows = 0.5;
// Divisors may not be farther apart: what is divided by much more is as good as lost.
constexpr double kLargestDivisor = 1e4;

using Products = std::vector<const ProductSamples*>;

// Over all products that read the value: their squared errors in parts of their power.
class Errors {
 public:
  explicit Errors(const Products& products) {
    for (const ProductSamples* product : products) errors_.emplace_back(*product);
  }
  Errors(const Products& products, const std::vector<float>& divisors, const Errors& undivided) {
    for (size_t i = 0; i < products.size(); ++i) {
      errors_.emplace_back(*products[i], per_row_element(*products[i]->node, divisors), std::vector<uint8_t>(),
                           &undivided.errors_[i]);
    }
  }
  double at(const Range& range) const {
    const QuantParams params = params_of(range, DType::kUInt8);
    double sum = 0;
    for (const OutputError& error : errors_) sum += error.power() > 0 ? error.noise(params) / error.power() : 0;
    return sum / static_cast<double>(errors_.size());
  }

 private:
  std::vector<OutputError> errors_;
};

std::vector<float> largest_weights(const Products& products, size_t channels) {
  std::vector<float> largest(channels);
  for (const ProductSamples* product : products) {
    const ProductWeights weights = *product_weights(*product->node);
    const int64_t taps = product->row_size() / static_cast<int64_t>(channels);
    const int64_t per_group = weights.channels / product->groups;
    for (int64_t channel = 0; channel < weights.channels; ++channel) {
      const int64_t first = channel / per_group * product->elements;
      for (int64_t i = 0; i < weights.elements; ++i) {
        float& most = largest[static_cast<size_t>((first + i) / taps)];
        most = std::max(most, std::fabs(weights.at(channel, i)));
      }
    }
  }
  return largest;
}

// With a geometric mean of 1; channels that are all zero on either side stay as they are.
std::vector<float> divisors_for(double alpha, const TensorCalibration& tensor, const std::vector<float>& weights) {
  std::vector<double> logarithms(weights.size(), std::numeric_limits<double>::quiet_NaN());
  double sum = 0, count = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    const double x = std::max(-double(tensor.channel_min[i]), double(tensor.channel_max[i]));
    if (!(x > 0) || !(weights[i] > 0)) continue;
    logarithms[i] = alpha * std::log(x) - (1 - alpha) * std::log(double(weights[i]));
    sum += logarithms[i];
    ++count;
  }
  std::vector<float> divisors(weights.size(), 1.0F);
  for (size_t i = 0; i < weights.size(); ++i) {
    if (std::isnan(logarithms[i])) continue;
    const double divisor = std::exp(logarithms[i] - sum / count);
    divisors[i] = static_cast<float>(std::clamp(divisor, 1 / kLargestDivisor, kLargestDivisor));
  }
  return divisors;
}

Range divided_range(const TensorCalibration& tensor, const std::vector<float>& divisors) {
  Range range;
  for (size_t i = 0; i < divisors.size(); ++i) {
    range.low = std::min(range.low, tensor.channel_min[i] / divisors[i]);
    range.high = std::max(range.high, tensor.channel_max[i] / divisors[i]);
  }
  return range;
}

Smoothing best_smoothing(const Products& products, const TensorCalibration& tensor) {
  const std::vector<float> weights = largest_weights(products, tensor.channel_min.size());
  Smoothing best;
  const Errors undivided(products);
  best.error = undivided.at(tensor.range);
  best.smoothed_error = std::numeric_limits<double>::infinity();
  for (int tenths = 0; tenths <= 10; ++tenths) {
    std::vector<float> divisors = divisors_for(tenths / 10.0, tensor, weights);
    const Range range = divided_range(tensor, divisors);
    const double error = Errors(products, divisors, undivided).at(range);
    if (!(error < best.smoothed_error)) continue;
    best.smoothed_error = error;
    best.alpha = tenths / 10.0;
    best.range = range;
    best.divisors = std::move(divisors);
  }
  // Clipping may pay all the same.
  const Errors errors(products, best.divisors, undivided);
  const Range whole = best.range;
  for (int quarter = 1; quarter <= 4; ++quarter) {
    Range range = whole;
    range.low *= std::exp2(-static_cast<float>(quarter) / 4);
    range.high *= std::exp2(-static_cast<float>(quarter) / 4);
    const double error = errors.at(range);
    if (error >= best.smoothed_error) continue;
    best.smoothed_error = error;
    best.range = range;
    best.range.method = Method::kMse;
  }
  return best;
}

}  // namespace

void smooth(const Graph& graph, const std::vector<ProductSamples>& products, Calibration& calibration) {
  calibration.smoothings.clear();
  std::map<const Value*, Products> readers;
  for (const ProductSamples& product : products) {
    if (product.count() > 0) readers[product.node->inputs[0]].push_back(&product);
  }
  struct Work {
    std::string value;
    const Products* products;
    double worthwhile;
    Smoothing result;
  };
  std::vector<Work> work;
  for (const auto& [value, list] : readers) {
    auto it = calibration.tensors.find(value->name);
    if (it == calibration.tensors.end()) continue;
    const int64_t channels = smoothable_channels(graph, *value);
    const bool has_all_products = std::all_of(value->users.begin(), value->users.end(), [&](const Node* user) {
      const auto is_user = [&](const ProductSamples* product) { return product->node == user; };
      return !multiplies_channels(*user, *value) || std::any_of(list.begin(), list.end(), is_user);
    });
    const double worthwhile = value->layout == Layout::kPlain ? kWorthwhileOfRows : kWorthwhileOfImages;
    if (channels > 0 && has_all_products && channels == std::ssize(it->second.channel_min))
      work.push_back({value->name, &list, worthwhile, {}});
  }
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease lease(pool, pool.cores());
  lease.run(static_cast<int>(work.size()), [&](int index) {
    Work& entry = work[static_cast<size_t>(index)];
    entry.result = best_smoothing(*entry.products, calibration.tensors.at(entry.value));
  });
  for (Work& entry : work) {
    if (entry.result.smoothed_error < entry.worthwhile * entry.result.error)
      calibration.smoothings[entry.value] = std::move(entry.result);
  }
}

}  // namespace hussar
