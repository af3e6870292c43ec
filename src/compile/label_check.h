// The gate before a classifier is quantized or pruned: does it know anything about the data in FP32?
#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "compile/calibration_data.h"
#include "compile/compile.h"

namespace hussar {

struct LabelScore {
  int64_t samples = 0, right = 0, classes = 0;  // classes: of the model
  int64_t label_classes = 0;                    // that labels have
  // How many would be right if what the model says had nothing to do with the labels: from how often it says each
  // class, and how often that is the label.
  double by_chance = 0;
  // Whether `right` is within two standard deviations of that.
  bool is_chance() const;
};
LabelScore score_classes(std::span<const int64_t> predicted, std::span<const int64_t> labels, int64_t classes);

struct LabelCheckOptions {
  NamedShapes shapes;
  int threads = 0;
  CutOptions cut;
  int64_t most_samples = 512;  // taken evenly from the data
};
// Runs the model in FP32 on samples, whose right classes are `labels`: one for each sample of the data.
Result<LabelScore> score_in_float(const std::string& model_path, DataSource& data, std::span<const int64_t> labels,
                                  const LabelCheckOptions& options);
// The same of runs that are cut already and have labels, all of one shape.
Result<LabelScore> score_runs(const std::string& model_path, std::span<const DataRun> runs, const NamedShapes& shapes,
                              int threads);
// Fails when that is chance.
Status check_knows_labels(const LabelScore& score);

}  // namespace hussar
