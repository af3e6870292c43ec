// prune_model: a user's ONNX file with 2:4 sparse weights. Only initializers change: weights, and biases that take what
// the means of outputs change by.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "compile/calibration_data.h"
#include "plan/shapes.h"
#include "sparsify/prune_layer.h"

namespace hussar {

// Samples are kept in memory with what the model makes of them between two products: fewer are taken where they would
// need more bytes than this.
constexpr double kMostWalkBytes = 2e9;
constexpr int64_t kUsualPruneSamples = 2048, kFewestPruneSamples = 8;

struct ModelPruneOptions {
  NamedShapes shapes;  // as CompileOptions::shapes
  PruneOptions layer;
  // Of those that the data have, the ones with the least hashes. An eighth of them is held out: nothing is chosen by
  // it, and the outputs of the model are compared on it.
  int64_t most_samples = kUsualPruneSamples;
  int64_t fewest_samples = kFewestPruneSamples;
  // Names of ONNX nodes or of their outputs. `only`: no others, and these also where they are first, last or small.
  std::vector<std::string> only, skip;
  // Channels between products come in an order under which the pattern keeps more, where nobody else reads them.
  bool reorder = false;
  // Layers are pruned in growing stages of so many parts of all, those with the least errors first, until the outputs
  // differ by more than the budget, in parts of their norm; the last stage within it counts. 0: no budget.
  double budget = 0;
  double step = 0.1;
  // The right class of each sample of the data, in their order; empty: nobody knows. With labels there can be a budget
  // of what top-1 may lose, in parts of all; with both budgets both hold.
  std::vector<int64_t> labels;
  double most_lost = 0;
  std::function<void(std::string_view stage)> progress;
  std::function<void(double fraction)> stage_progress;
};

struct ModelPruneLayer {
  std::string node, op;
  int64_t n = 0, k = 0;
  double flops_part = 0;   // of all nodes
  bool is_pruned = false;  // in a list: it could be
  std::string reason;      // why it is not, and the same as one word that does not change
  std::string code;
  int64_t rows = 0;  // of data
  double kept_energy = 1;
  // Of its outputs, in parts of their norm, by the data that it was pruned on; negative without.
  double error_before_refit = -1, error = -1;
  bool corrects_bias = false;
  std::vector<std::string> notes;
};

struct PruneStage {
  int64_t layers = 0;
  double output_error = 0;
  double top1 = -1;       // on what was held out; negative without labels
  bool is_within = true;  // the budget
};

struct ModelPruneReport {
  std::vector<ModelPruneLayer> layers;  // in the order of the file
  int64_t samples = 0, held_out = 0;
  double output_error = -1;  // on what was held out, in parts of the norm of the outputs; negative without data
  double dense_top1 = -1, top1 = -1;  // on what was held out; negative without labels
  std::vector<PruneStage> stages;     // with a budget
  int64_t reordered = 0;              // chains of channels
  uint64_t bytes = 0;
  double seconds = 0;
  std::vector<std::string> warnings;
};

// Writes the model at `model_path` to `output_path`. `data` may be null for PruneMethod::kMagnitude. A failure leaves
// no file behind.
Result<ModelPruneReport> prune_model(const std::string& model_path, DataSource* data, const std::string& output_path,
                                     const ModelPruneOptions& options);

// The products of the model and which of them would be pruned. Nothing runs.
Result<ModelPruneReport> list_prunable(const std::string& model_path, const ModelPruneOptions& options);

}  // namespace hussar
