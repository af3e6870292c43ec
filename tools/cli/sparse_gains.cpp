#include "tools/cli/sparse_gains.h"

#include <fmt/format.h>

#include <filesystem>

#include "compile/compile.h"
#include "tools/cli/console.h"
#include "tools/cli/forced_sparsity.h"

namespace hussar::cli {

Result<std::vector<SparseRegion>> measure_sparse_gains(const std::string& model, const ModelPruneOptions& options,
                                                       double seconds) {
  std::string path = model;
  ForcedSparsity forced;
  HUSSAR_TRY(forced.apply(path, std::filesystem::temp_directory_path() / "hussar", options));
  CompileOptions compile;
  compile.shapes = options.shapes;
  compile.threads = options.layer.threads;
  compile.tune_seconds = seconds;
  const Plan plan = HUSSAR_TRY(compile_file(path, compile));
  int dense_weights = 0;
  return sparse_regions(plan.graph, dense_weights);
}

std::string gains_text(const std::vector<SparseRegion>& regions) {
  Table table({"kernels on this machine, FP32", ">best dense us", ">best sparse us", ">gain", ""});
  double dense = 0, best = 0;
  bool is_measured = false;
  for (const SparseRegion& region : regions) {
    if (region.sparse <= 0) continue;
    table.add({region.name, fmt::format("{:.1f}", region.dense), fmt::format("{:.1f}", region.sparse),
               fmt::format("{:.2f}", region.dense / region.sparse), region.is_sparse ? "" : region.reason});
    dense += region.dense;
    best += region.is_sparse ? region.sparse : region.dense;
    is_measured = is_measured || region.is_measured;
  }
  if (dense <= 0) {
    return "no kernel for sparse weights takes any of them: masks must be shared by 16 output channels, or rows be "
           "few\n";
  }
  return table.to_string() +
         fmt::format("these products: {:.0f} us dense, {:.0f} us with the faster kernel of each, {}\n", dense, best,
                     is_measured ? "measured" : "predicted");
}

}  // namespace hussar::cli
