// Public prune over the inner one.
#include "compile/prune_model.h"

#include <optional>

#include "api/core.h"
#include "base/error.h"

#include "api/callback_source.h"
#include "hussar/prune.h"

namespace hussar {
inline namespace api {
namespace {

Result<ModelPruneOptions> inner_options(const PruneOptions& options, bool has_data) {
  ModelPruneOptions inner;
  inner.shapes = HUSSAR_TRY(parse_shapes(options.shapes));
  inner.layer.pattern = HUSSAR_TRY(parse_pattern(options.pattern));
  const std::string usual = has_data ? "sparsegpt" : "magnitude";
  inner.layer.method = HUSSAR_TRY(parse_prune_method(options.method.empty() ? usual : options.method));
  inner.layer.swaps = inner.reorder = has_data;
  inner.layer.threads = options.threads;
  inner.most_samples = options.samples;
  inner.fewest_samples = options.fewest_samples;
  inner.only = options.only;
  inner.skip = options.skip;
  inner.budget = options.budget;
  return inner;
}

}  // namespace

Result<PruneReport> prune(const std::string& model_path, Calibrator* data, const std::string& output_path,
                          const PruneOptions& options) {
  return core::guarded([&]() -> Result<PruneReport> {
    const ModelPruneOptions inner = HUSSAR_TRY(inner_options(options, data != nullptr));
    std::optional<CallbackSource> source;
    if (data != nullptr) source.emplace(*data);
    const ModelPruneReport full = HUSSAR_TRY(prune_model(model_path, source ? &*source : nullptr, output_path, inner));
    for (const std::string& warning : full.warnings) {
      if (options.warning) options.warning(warning);
    }
    PruneReport report;
    report.output_error = full.output_error;
    for (const ModelPruneLayer& layer : full.layers)
      report.nodes.push_back({layer.node, layer.is_pruned, layer.reason, layer.kept_energy, layer.error});
    return report;
  });
}

}  // namespace api
}  // namespace hussar
