#include "tools/cli/sparse_gains.h"

#include <fmt/format.h>

#include <filesystem>

#include "compile/compile.h"
#include "compile/optimize.h"
#include "onnx/import.h"
#include "tactics/tactic.h"
#include "tools/cli/console.h"
#include "tools/cli/forced_sparsity.h"

namespace hussar::cli {

namespace {

// All products in INT8, with some range for what they read.
Result<std::shared_ptr<const Quantization>> some_quantization(const std::string& path, const CompileOptions& options) {
  const Graph graph = HUSSAR_TRY(optimize_graph(std::move(HUSSAR_TRY(onnx::import_file(path)).graph), options));
  auto quantization = std::make_shared<Quantization>();
  for (const auto& node : graph.nodes()) {
    if (has_weight_form(*node)) quantization->activations[node->inputs[0]->name] = {1.0F / 64, 128, DType::kUInt8};
  }
  return quantization;
}

Result<std::vector<SparseRegion>> regions_of(const std::string& path, const CompileOptions& options) {
  const Plan plan = HUSSAR_TRY(compile_file(path, options));
  int dense_weights = 0;
  return sparse_regions(plan.graph, dense_weights);
}

}  // namespace

Result<SparseGains> measure_sparse_gains(const std::string& model, const ModelPruneOptions& options, double seconds) {
  std::string path = model;
  ForcedSparsity forced;
  HUSSAR_TRY(forced.apply(path, std::filesystem::temp_directory_path() / "hussar", options));
  CompileOptions compile;
  compile.shapes = options.shapes;
  compile.threads = options.layer.threads;
  compile.tune_seconds = seconds / 2;
  SparseGains gains;
  gains.fp32 = HUSSAR_TRY(regions_of(path, compile));
  compile.quantization = HUSSAR_TRY(some_quantization(path, compile));
  compile.chooses_int8 = false;
  gains.int8 = HUSSAR_TRY(regions_of(path, compile));
  return gains;
}

std::string gains_text(const std::vector<SparseRegion>& regions, std::string_view precision) {
  Table table(
      {fmt::format("kernels on this machine, {}", precision), ">best dense us", ">best sparse us", ">gain", ""});
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
    return fmt::format(
        "{}: no kernel for sparse weights takes any of them: masks must be shared by 16 output channels, or rows be "
        "few\n",
        precision);
  }
  return table.to_string() +
         fmt::format("these products in {}: {:.0f} us dense, {:.0f} us with the faster kernel of each, {}\n", precision,
                     dense, best, is_measured ? "measured" : "predicted");
}

}  // namespace hussar::cli
