// What a model could gain by 2:4 weights on this machine, before anything is pruned for good.
#pragma once
#include <vector>

#include "compile/prune_model.h"
#include "tools/cli/sparsity_table.h"

namespace hussar::cli {

// Of the products of the model with weights that were made sparse by magnitude, compiled for this machine, what the
// fastest dense and sparse kernels take.
struct SparseGains {
  std::vector<SparseRegion> fp32, int8;
};
// Measured for at most so long, half of it for each precision; 0 seconds: as predicted. No data are needed: times do
// not depend on ranges.
Result<SparseGains> measure_sparse_gains(const std::string& model, const ModelPruneOptions& options, double seconds);
std::string gains_text(const std::vector<SparseRegion>& regions, std::string_view precision);

}  // namespace hussar::cli
