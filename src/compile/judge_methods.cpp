#include "compile/judge_methods.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/thread_pool.h"
#include "compile/output_error.h"
#include "quantize/cells.h"

namespace hussar {
namespace {

struct Reading {
  std::string input;
  std::vector<const ProductSamples*> products;
  std::map<Method, double> errors;
};

// Of all elements counted.
double clipping(const Cells& cells, const QuantParams& params, uint64_t elements) {
  const double low = -params.zero_point * double(params.scale), high = (255 - params.zero_point) * double(params.scale);
  return cells.clipping_error(low, high) / static_cast<double>(elements);
}

void judge(const Statistics& statistics, Reading& reading) {
  std::map<Method, QuantParams> params;
  for (Method method : kRangeMethods)
    params[method] = params_of(choose_range(statistics, method, DType::kUInt8), DType::kUInt8);
  const Cells cells(statistics);
  for (const ProductSamples* product : reading.products) {
    const OutputError output(*product);
    if (product->count() == 0 || output.power() <= 0) continue;
    std::map<std::pair<float, int32_t>, double> known;
    for (const auto& [method, quantization] : params) {
      auto [it, is_new] = known.emplace(std::pair(quantization.scale, quantization.zero_point), 0.0);
      if (is_new) {
        const double unseen = clipping(cells, quantization, statistics.finite()) - output.clipping(quantization);
        it->second = (output.noise(quantization) + std::max(0.0, unseen) * output.gain()) / output.power();
      }
      reading.errors[method] += it->second / static_cast<double>(reading.products.size());
    }
  }
}

}  // namespace

void judge_methods(const std::vector<ProductSamples>& products, Calibration& calibration) {
  std::map<std::string, Reading> by_input;
  for (const ProductSamples& product : products) {
    auto it = calibration.tensors.find(product.input);
    if (it == calibration.tensors.end() || it->second.statistics.finite() == 0) continue;
    by_input[product.input].input = product.input;
    by_input[product.input].products.push_back(&product);
  }
  std::vector<Reading*> readings;
  for (auto& [input, reading] : by_input) readings.push_back(&reading);
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease lease(pool, pool.cores());
  lease.run(static_cast<int>(readings.size()), [&](int index) {
    Reading& reading = *readings[static_cast<size_t>(index)];
    judge(calibration.tensors.at(reading.input).statistics, reading);
  });
  for (Reading* reading : readings) {
    const bool is_known = std::all_of(reading->errors.begin(), reading->errors.end(),
                                      [](const auto& entry) { return std::isfinite(entry.second); });
    if (!is_known) reading->errors.clear();
    calibration.tensors[reading->input].output_errors = reading->errors;
    // Copies in other layouts are the same numbers.
    for (const ProductSamples* product : reading->products) {
      auto copy = calibration.tensors.find(product->node->inputs[0]->name);
      if (copy != calibration.tensors.end()) copy->second.output_errors = reading->errors;
    }
  }
}

}  // namespace hussar
