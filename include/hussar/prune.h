// prune: 2:4 sparse weights for a model, as ONNX.
//
// Of every four weights along the input channels two are kept; with the pattern "2:4x64" 64 output channels share their
// masks, which kernels for CPUs make use of, too. With data, the kept weights are fitted to the outputs of the dense
// model. No labels are needed, and nothing is trained.
#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/calibrate.h"
#include "hussar/status.h"

namespace hussar {
inline namespace api {

struct PruneOptions {
  std::string shapes;           // as CompileOptions::shapes
  std::string pattern = "2:4";  // or "2:4x64", with any number of output channels
  std::string method;           // "magnitude", "wanda", "sparsegpt", "obc"; "": sparsegpt with data, else magnitude
  int samples = 2048;           // used at most; an eighth of them is held out
  int fewest_samples = 8;
  std::vector<std::string> only;  // names of ONNX nodes: no others, and these also where they are first, last or small
  std::vector<std::string> skip;  // names of ONNX nodes that stay dense
  double budget = 0;              // of the difference of the outputs, in parts of their norm; 0: none
  int threads = 0;                // 0: one per core
  // Told what the user should know: few samples, for instance.
  std::function<void(std::string_view text)> warning;
};

struct PrunedNode {
  std::string node;
  bool is_pruned = false;
  std::string reason;      // why not
  double kept_energy = 1;  // of the squares of its weights
  double error = -1;       // of its outputs, in parts of their norm; negative without data
};

struct PruneReport {
  std::vector<PrunedNode> nodes;
  double output_error = -1;  // of the model on held-out samples, in the same parts
};

// Writes the pruned model to `output_path`; only initializers change. `data` hands out batches as for calibrate(), its
// cache is not asked for; null: there are no data, and the method is magnitude.
Result<PruneReport> prune(const std::string& model_path, Calibrator* data, const std::string& output_path,
                          const PruneOptions& options = {});

}  // namespace api
}  // namespace hussar
