// Sensitivity: what each product that may compute in INT8 costs in accuracy, and what it gains in time.
//
// One product at a time computes with the numbers of INT8, everything else in FP32, on the same samples; then again
// with rounded weights alone and with a rounded input alone.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "compile/layer_errors.h"
#include "hussar/status.h"

namespace hussar {

struct SensitivitySample {
  std::vector<Tensor> inputs;   // in the model's order
  std::vector<int64_t> labels;  // the right class of each row of the first output; empty: nobody knows
};

struct SensitivityOptions {
  NamedShapes shapes;
  int threads = 0;
  int isa = -1;
  // For measuring times; 0: none are measured.
  double tune_seconds = 0;
  // What the advice shall keep of the outputs.
  double advice_sqnr_db = 25;
  std::function<void(std::string_view stage)> progress;
  std::function<void(double fraction)> stage_progress;
};

// Classes: where the largest element of a row of the first output is.
struct Predictions {
  int64_t rows = 0, agreeing = 0;  // with those of FP32
  int64_t won = 0, lost = 0;       // right here and wrong in FP32, and the other way round
};

struct ProductSensitivity {
  std::string node;  // the ONNX nodes of its step, joined by '+'
  // Of all outputs of the model over all samples: with both parts rounded, and with one of them.
  Noise both, weights, activations;
  Predictions predictions;
  // What its step takes, conversions included. nullopt: not measured.
  std::optional<double> float_ms, int8_ms;

  // Noise relative to the signal.
  double harm() const;
  std::optional<double> gained_ms() const;
};

struct SensitivityReport {
  std::vector<ProductSensitivity> products;  // worst first
  size_t samples = 0;
  int64_t rows = 0, right_in_float = 0;
  bool has_labels = false;
  Noise all_int8, advised;  // with all products in INT8, and with those that the advice leaves
  Predictions all_predictions, advised_predictions;
  // How many products of the ranking the advice keeps in FP32: the first ones.
  size_t advice = 0;
};

// By harm per millisecond gained; by harm alone where no times are known. What gains less than a hundredth of the
// largest gain counts as gaining that much.
void rank_products(std::vector<ProductSensitivity>& products);
// How many products, from the first on, must stay in FP32 for the harm of the others to be at most `most`. `together`:
// the harm of all of them at once, by which the sum of the single ones is corrected.
size_t choose_advice(const std::vector<ProductSensitivity>& ranked, double together, double most);

// The name that `--precision` takes: that of the first ONNX node of a step.
std::string first_node(const std::string& step);

Result<SensitivityReport> measure_sensitivity(const std::string& model_path,
                                              const std::shared_ptr<const Quantization>& quantization,
                                              const std::vector<SensitivitySample>& samples,
                                              const SensitivityOptions& options);

}  // namespace hussar
