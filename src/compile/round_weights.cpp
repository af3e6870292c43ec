#include "compile/round_weights.h"

#include <algorithm>
#include <optional>

#include "base/thread_pool.h"
#include "compile/product_samples.h"
#include "ops/product_weights.h"
#include "passes/support/smoothable.h"
#include "quantize/adaptive_rounding.h"

namespace hussar {
namespace {

constexpr int64_t kFewestRoundingRows = 512, kMostRoundingRows = 2048;
constexpr int64_t kRowsPerElement = 4;
constexpr int64_t kMostFloatsAtOnce = int64_t(32) << 20;

// Of a product, as the pass that quantizes will see it: divided by what was decided.
struct Decided {
  QuantParams input;
  std::vector<float> divisors;  // of each element of a row
};

std::optional<Decided> decided(const ProductSamples& product, const Calibration& calibration) {
  auto tensor = calibration.tensors.find(product.input);
  if (tensor == calibration.tensors.end()) return std::nullopt;
  auto smoothing = calibration.smoothings.find(product.input);
  if (smoothing == calibration.smoothings.end()) return Decided{params_of(tensor->second.range, DType::kUInt8), {}};
  return Decided{params_of(smoothing->second.range, DType::kUInt8),
                 per_row_element(*product.node, smoothing->second.divisors)};
}

// The channels of one group that are rounded together.
struct Block {
  int64_t group, first, channels;
};

class ProductRounding {
 public:
  ProductRounding(ProductSamples& product, const Decided& decided) : product_(product) {
    ProductWeights weights = *product_weights(*product.node);
    if (!decided.divisors.empty()) {
      scaled_ = Tensor(DType::kFloat32, {weights.channels * weights.elements});
      weights = scale_weights(weights, decided.divisors, scaled_.data<float>());
      for (size_t i = 0; i < product.rows.size(); ++i) product.rows[i] /= decided.divisors[i % decided.divisors.size()];
    }
    weights_ = weights;
    nearest_ = quantize_weights(*product.node, weights);
    flips_.resize(static_cast<size_t>(weights.channels));
    for (int64_t group = 0; group < product.groups; ++group) {
      const RoundingRows rows{product.rows.data() + group * product.elements, product.row_size(), product.elements,
                              product.halves.data(), product.count()};
      groups_.emplace_back(rows, decided.input);
    }
    const int64_t per_group = weights.channels / product.groups;
    for (int64_t group = 0; group < product.groups; ++group) {
      for (int64_t first = 0; first < per_group; first += AdaptiveRounding::kTogether)
        blocks_.push_back({group, group * per_group + first, std::min(AdaptiveRounding::kTogether, per_group - first)});
    }
  }

  void run(ThreadPool::Lease& lease) {
    const int64_t parts = groups_[0].parts();
    lease.run(static_cast<int>(parts * product_.groups),
              [&](int index) { groups_[static_cast<size_t>(index / parts)].make(index % parts); });
    lease.run(static_cast<int>(blocks_.size()), [&](int index) { round(blocks_[static_cast<size_t>(index)]); });
  }

  // As flip_roundings() takes them.
  std::vector<uint8_t> flips() const {
    std::vector<uint8_t> bits(flip_bytes(weights_));
    bool any = false;
    for (size_t channel = 0; channel < flips_.size(); ++channel) {
      for (int32_t i : flips_[channel]) {
        const size_t bit = channel * static_cast<size_t>(product_.elements) + static_cast<size_t>(i);
        bits[bit / 8] = static_cast<uint8_t>(bits[bit / 8] | 1U << bit % 8);
        any = true;
      }
    }
    return any ? bits : std::vector<uint8_t>();
  }

 private:
  void round(const Block& block) {
    const bool is_conv = product_.node->op == "Conv";
    const int64_t elements = product_.elements;
    std::vector<float> weights;
    std::vector<int8_t> numbers;
    for (int64_t i = 0; i < elements; ++i) {
      for (int64_t channel = block.first; channel < block.first + block.channels; ++channel) {
        weights.push_back(weights_.at(channel, i) / nearest_.scales.data<float>()[channel]);
        numbers.push_back(nearest_.number(is_conv, channel, i));
      }
    }
    auto lists = groups_[static_cast<size_t>(block.group)].round(weights.data(), numbers.data(), block.channels);
    std::move(lists.begin(), lists.end(), flips_.begin() + block.first);
  }

  ProductSamples& product_;
  Tensor scaled_;
  ProductWeights weights_{};
  Int8Weights nearest_;
  std::vector<AdaptiveRounding> groups_;
  std::vector<Block> blocks_;
  std::vector<std::vector<int32_t>> flips_;  // by channel
};

int64_t floats_of(const ProductSamples& product) { return product.most_rows * product.row_size(); }

}  // namespace

Status round_weights(const Graph& graph, Session& session, const std::vector<DataRun>& runs, Calibration& calibration,
                     const std::function<void(double fraction)>& progress) {
  std::vector<ProductSamples> products;
  double all = 0, done = 0;
  for (ProductSamples& product : sampled_products(graph)) {
    if (!decided(product, calibration)) continue;
    product.most_rows = std::clamp(kRowsPerElement * product.elements, kFewestRoundingRows, kMostRoundingRows);
    all += static_cast<double>(floats_of(product));
    products.push_back(std::move(product));
  }
  ThreadPool& pool = ThreadPool::shared();
  for (size_t first = 0; first < products.size();) {
    int64_t floats = 0;
    std::vector<ProductSamples> some;
    for (; first < products.size() && (some.empty() || floats + floats_of(products[first]) <= kMostFloatsAtOnce);
         ++first) {
      floats += floats_of(products[first]);
      some.push_back(std::move(products[first]));
    }
    ProductSampler sampler(std::move(some), runs.size());
    for (const DataRun& run : runs) HUSSAR_TRY(sampler.run(session, run));
    ThreadPool::Lease lease(pool, pool.cores());
    for (ProductSamples& product : sampler.take()) {
      const Decided input = *decided(product, calibration);
      if (product.count() > 0) {
        ProductRounding rounding(product, input);
        rounding.run(lease);
        ProductCalibration& result = calibration.products[product.node->outputs[0]->name];
        result.flips = rounding.flips();
      }
      done += static_cast<double>(floats_of(product));
      product.rows = {};
      if (progress) progress(done / all);
    }
  }
  return {};
}

}  // namespace hussar
