// What a model could gain by 2:4 weights on this machine, before anything is pruned for good.
#pragma once
#include <vector>

#include "compile/prune_model.h"
#include "tools/cli/sparsity_table.h"

namespace hussar::cli {

// The model with weights that were made sparse by magnitude, compiled in FP32 for this machine: of its products, what
// the fastest dense and sparse kernels take, measured for at most so long; 0 seconds: as predicted.
Result<std::vector<SparseRegion>> measure_sparse_gains(const std::string& model, const ModelPruneOptions& options,
                                                       double seconds);
std::string gains_text(const std::vector<SparseRegion>& regions);

}  // namespace hussar::cli
