// One plan per product and part.
#include "compile/sensitivity.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "base/error.h"
#include "base/memory.h"
#include "compile/classes.h"
#include "compile/fake_quantize.h"
#include "compile/optimize.h"
#include "compile/sample.h"
#include "onnx/import.h"
#include "runtime/session.h"

namespace hussar {
namespace {

// Products that gain less are ranked as if they gained this share of the largest gain.
constexpr double kLeastGain = 0.01;

struct Outcome {
  Noise noise;
  Predictions predictions;
};

class Measuring {
 public:
  Measuring(const std::vector<SensitivitySample>& samples, const SensitivityOptions& options)
      : samples_(samples), options_(options) {
    compile_.shapes = options.shapes;
    compile_.threads = options.threads;
    compile_.isa = options.isa;
    // Every product is a step of its own, whose input no other step has a part in.
    compile_.disabled_passes = {"fuse_inverted_residual", "quantize_attention", "store_bytes", "slice_channels"};
  }

  Status open(const std::string& model_path, const std::shared_ptr<const Quantization>& quantization);
  Status run();
  std::vector<ProductSensitivity>& products() { return report_.products; }
  Result<SensitivityReport> finish();

 private:
  using Edit = std::function<Status(Graph&)>;

  Result<std::unique_ptr<Session>> session_with(const Edit& edit) const;
  Status run_in_float();
  Result<Outcome> measure(const Edit& edit);
  // Those from `first` on in INT8, by the order of the report.
  Result<Outcome> measure_from(size_t first);
  const QuantizedProduct& product_of(const std::string& node) const;

  const std::vector<SensitivitySample>& samples_;
  const SensitivityOptions& options_;
  CompileOptions compile_;
  Graph graph_;
  std::vector<QuantizedProduct> products_;
  std::vector<std::vector<Tensor>> outputs_;   // in FP32, by sample
  std::vector<std::vector<int64_t>> classes_;  // the same
  SensitivityReport report_;
  size_t done_ = 0;
};

Status Measuring::open(const std::string& model_path, const std::shared_ptr<const Quantization>& quantization) {
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path));
  // What is divided per channel is so in either graph, so that the weights fit both.
  auto divided = std::make_shared<Quantization>();
  divided->divisors = quantization->divisors;
  CompileOptions in_float = compile_;
  in_float.quantization = divided;
  graph_ = HUSSAR_TRY(optimize_graph(model.graph.clone(), in_float));
  CompileOptions in_int8 = compile_;
  in_int8.quantization = quantization;
  products_ = quantized_products(graph_, HUSSAR_TRY(optimize_graph(std::move(model.graph), in_int8)));
  HUSSAR_CHECK(!products_.empty(), ErrorCode::kUsage,
               "'{}' has no convolution and no product that INT8 has a form for: there is nothing to be sensitive",
               model_path);
  report_.samples = samples_.size();
  report_.has_labels = !samples_.empty() && !samples_[0].labels.empty();
  return {};
}

Result<std::unique_ptr<Session>> Measuring::session_with(const Edit& edit) const {
  Graph graph = graph_.clone();
  if (edit) HUSSAR_TRY(edit(graph));
  return Session::create(std::make_shared<const Plan>(HUSSAR_TRY(freeze_graph(std::move(graph), compile_))));
}

Status Measuring::run_in_float() {
  auto session = HUSSAR_TRY(session_with(nullptr));
  for (size_t i = 0; i < samples_.size(); ++i) {
    auto outputs = HUSSAR_TRY(session->run_in_order(samples_[i].inputs));
    outputs_.emplace_back();
    for (const Tensor& output : outputs) outputs_.back().push_back(output.clone());
    classes_.push_back(outputs.empty() ? std::vector<int64_t>() : classes_of(outputs[0]));
    report_.rows += static_cast<int64_t>(classes_.back().size());
    if (!report_.has_labels) continue;
    HUSSAR_CHECK(!outputs.empty(), ErrorCode::kUsage, "labels need a first output with classes; there is none");
    HUSSAR_TRY(check_labels(samples_[i].labels, std::ssize(classes_.back()), class_count(outputs[0])));
    for (size_t row = 0; row < classes_[i].size(); ++row) {
      report_.right_in_float += classes_[i][row] == samples_[i].labels[row] ? 1 : 0;
    }
  }
  return {};
}

Result<Outcome> Measuring::measure(const Edit& edit) {
  auto session = HUSSAR_TRY(session_with(edit));
  Outcome outcome;
  // Three parts per product, all in INT8, and the advice.
  const double runs = static_cast<double>((3 * products_.size() + 2) * samples_.size());
  for (size_t i = 0; i < samples_.size(); ++i) {
    auto outputs = HUSSAR_TRY(session->run_in_order(samples_[i].inputs));
    for (size_t k = 0; k < outputs.size(); ++k) {
      const Tensor& expected = outputs_[i][k];
      // Where the number of results depends on the data, it may change with them.
      if (is_floating(expected.dtype()) && expected.shape() == outputs[k].shape()) {
        outcome.noise.add(expected, outputs[k]);
      }
    }
    const std::vector<int64_t> classes = outputs.empty() ? std::vector<int64_t>() : classes_of(outputs[0]);
    for (size_t row = 0; row < classes_[i].size(); ++row) {
      const int64_t before = classes_[i][row], now = row < classes.size() ? classes[row] : -1;
      ++outcome.predictions.rows;
      outcome.predictions.agreeing += before == now ? 1 : 0;
      if (!report_.has_labels) continue;
      const int64_t label = samples_[i].labels[row];
      outcome.predictions.won += before != label && now == label ? 1 : 0;
      outcome.predictions.lost += before == label && now != label ? 1 : 0;
    }
    if (options_.stage_progress) options_.stage_progress(std::min(1.0, static_cast<double>(++done_) / runs));
  }
  return outcome;
}

const QuantizedProduct& Measuring::product_of(const std::string& node) const {
  return *std::find_if(products_.begin(), products_.end(), [&](const auto& product) { return product.node == node; });
}

Result<Outcome> Measuring::measure_from(size_t first) {
  return measure([&](Graph& graph) -> Status {
    for (size_t i = first; i < report_.products.size(); ++i) {
      HUSSAR_TRY(fake_quantize(graph, product_of(report_.products[i].node), QuantizedPart::kBoth));
    }
    return {};
  });
}

Status Measuring::run() {
  if (options_.progress) options_.progress("sensitivity");
  HUSSAR_TRY(run_in_float());
  for (const QuantizedProduct& product : products_) {
    auto measure_part = [&](QuantizedPart part) {
      return measure([&](Graph& graph) { return fake_quantize(graph, product, part); });
    };
    Outcome both = HUSSAR_TRY(measure_part(QuantizedPart::kBoth));
    ProductSensitivity entry{product.node, both.noise, {}, {}, both.predictions, {}, {}};
    entry.weights = HUSSAR_TRY(measure_part(QuantizedPart::kWeights)).noise;
    entry.activations = HUSSAR_TRY(measure_part(QuantizedPart::kActivations)).noise;
    report_.products.push_back(std::move(entry));
  }
  Outcome all = HUSSAR_TRY(measure_from(0));
  report_.all_int8 = all.noise;
  report_.all_predictions = all.predictions;
  return {};
}

bool has_part(const std::string& whole, const std::string& part) {
  return ("+" + whole + "+").find("+" + part + "+") != std::string::npos;
}

// What the build measures in the model. Products that it decides together share what they gain.
Status measure_times(const std::string& model_path, const std::shared_ptr<const Quantization>& quantization,
                     const std::vector<SensitivitySample>& samples, const SensitivityOptions& options,
                     std::vector<ProductSensitivity>& products) {
  CompileOptions compile;
  compile.shapes = options.shapes;
  compile.threads = options.threads;
  compile.isa = options.isa;
  compile.quantization = quantization;
  compile.tune_seconds = options.tune_seconds;
  compile.progress = options.progress;
  compile.stage_progress = options.stage_progress;
  onnx::ImportedModel model = HUSSAR_TRY(onnx::import_file(model_path));
  for (size_t i = 0; i < model.graph.inputs.size() && !samples.empty(); ++i) {
    const Shape& shape = samples[0].inputs[i].shape();
    compile.tune_shapes[model.graph.inputs[i]->name] = Dims(shape.begin(), shape.end());
  }
  CompileReport report;
  HUSSAR_TRY(compile_graph(std::move(model.graph), compile, &report));
  for (const Int8Choice& choice : report.int8.choices) {
    std::vector<ProductSensitivity*> inside;
    for (ProductSensitivity& product : products) {
      if (has_part(choice.name, first_node(product.node))) inside.push_back(&product);
    }
    const double share = 1e3 * static_cast<double>(std::max<size_t>(inside.size(), 1));
    for (ProductSensitivity* product : inside) {
      product->float_ms = choice.float_microseconds / share;
      product->int8_ms = choice.int8_microseconds / share;
    }
  }
  return {};
}

Result<SensitivityReport> Measuring::finish() {
  rank_products(report_.products);
  const double together = report_.all_int8.signal > 0 ? report_.all_int8.noise / report_.all_int8.signal : 0;
  report_.advice = choose_advice(report_.products, together, std::pow(10, -options_.advice_sqnr_db / 10));
  Outcome advised = HUSSAR_TRY(measure_from(report_.advice));
  // The sum of single errors is a guess: what it gives is measured, and corrected for a while.
  const size_t step = std::max<size_t>(1, report_.products.size() / 10);
  for (int tries = 0; tries < 4 && report_.advice < report_.products.size(); ++tries) {
    if (advised.noise.sqnr_db() >= options_.advice_sqnr_db) break;
    report_.advice = std::min(report_.advice + step, report_.products.size());
    advised = HUSSAR_TRY(measure_from(report_.advice));
  }
  report_.advised = advised.noise;
  report_.advised_predictions = advised.predictions;
  return std::move(report_);
}

}  // namespace

double ProductSensitivity::harm() const { return both.noise > 0 ? both.noise / both.signal : 0; }

std::optional<double> ProductSensitivity::gained_ms() const {
  if (!float_ms || !int8_ms) return std::nullopt;
  return *float_ms - *int8_ms;
}

void rank_products(std::vector<ProductSensitivity>& products) {
  double largest = 0;
  for (const ProductSensitivity& product : products) largest = std::max(largest, product.gained_ms().value_or(0));
  auto weight = [&](const ProductSensitivity& product) {
    if (largest <= 0) return product.harm();
    return product.harm() / std::max(product.gained_ms().value_or(0), kLeastGain * largest);
  };
  std::stable_sort(products.begin(), products.end(),
                   [&](const auto& a, const auto& b) { return weight(a) > weight(b); });
}

size_t choose_advice(const std::vector<ProductSensitivity>& ranked, double together, double most) {
  double sum = 0;
  for (const ProductSensitivity& product : ranked) sum += product.harm();
  const double correction = std::isfinite(together) && sum > 0 && std::isfinite(sum) ? together / sum : 1;
  size_t count = 0;
  while (count < ranked.size()) {
    double rest = 0;
    for (size_t i = count; i < ranked.size(); ++i) rest += ranked[i].harm();
    if (rest * correction <= most) break;
    ++count;
  }
  return count;
}

std::string first_node(const std::string& step) { return step.substr(0, step.find('+')); }

Result<SensitivityReport> measure_sensitivity(const std::string& model_path,
                                              const std::shared_ptr<const Quantization>& quantization,
                                              const std::vector<SensitivitySample>& samples,
                                              const SensitivityOptions& options) {
  return catching("measure sensitivity", [&]() -> Result<SensitivityReport> {
    Measuring measuring(samples, options);
    HUSSAR_TRY(measuring.open(model_path, quantization));
    HUSSAR_TRY(measuring.run());
    if (options.tune_seconds > 0) {
      HUSSAR_TRY(measure_times(model_path, quantization, samples, options, measuring.products()));
    }
    return measuring.finish();
  });
}

}  // namespace hussar
