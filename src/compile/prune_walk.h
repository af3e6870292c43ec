// prune_on_data: prunes products one after another, in the order of execution, for the outputs that the dense model has
// on data.
//
// A product's inputs are those of the model whose earlier products are pruned already, its wanted outputs those of the
// dense model, so that it makes good what it can of earlier errors.
#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "compile/prunable.h"
#include "sparsify/prune_layer.h"

namespace hussar {

// More rows than this of one product are a sample of them: about 550 GFLOP of second moments, 131,072 rows at most.
int64_t most_rows(int64_t k);
// Of products with more columns, second moments do not fit.
constexpr int64_t kMostMomentColumns = 8192;

struct LayerChange {
  size_t layer = 0;  // in PrunableModel::layers
  Tensor weights;    // in the order of the file
  std::optional<BiasPlace> bias_place;
  std::vector<float> bias_change;  // where there is a place
  int64_t rows = 0;                // of data
  double kept_energy = 1;
  // Of the norm of the wanted outputs; negative without data.
  double error_before_refit = -1, error = -1;
  std::vector<std::string> notes;
};

struct PruneData {
  std::vector<DataRun> runs;      // of equal shapes
  std::vector<DataRun> held_out;  // that nothing is chosen by
};

struct WalkResult {
  std::vector<LayerChange> changes;
  // Layers that data are too few for, and why.
  std::vector<std::pair<size_t, PruneReason>> refused;
  // The difference of the model's outputs on the samples held out, in parts of their norm.
  double output_error = 0;
  // Parts of these samples whose classes are those of their labels; negative without labels.
  double dense_top1 = -1, top1 = -1;
};

// `layers`: those to prune. `progress` is told how much is done, 0 to 1.
Result<WalkResult> prune_on_data(const PrunableModel& model, const std::vector<size_t>& layers, const PruneData& data,
                                 const PruneOptions& options, const std::function<void(double fraction)>& progress);

// The same from the weights alone.
Result<WalkResult> prune_without_data(const PrunableModel& model, const std::vector<size_t>& layers,
                                      const PruneOptions& options);

// The least bytes that samples take while they are walked, per run.
double walk_bytes_per_run(const PrunableModel& model, const std::vector<size_t>& layers);

}  // namespace hussar
