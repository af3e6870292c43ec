#include "tools/cli/forced_sparsity.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "compile/prune_model.h"
#include "tools/cli/console.h"

namespace hussar::cli {

constexpr int64_t kForcedColumns = 64;

ForcedSparsity::~ForcedSparsity() {
  if (!path_.empty()) std::remove(path_.c_str());
}

Status ForcedSparsity::apply(std::string& model, const std::string& output, ModelPruneOptions options) {
  HUSSAR_CHECK(!is_plan_file(model), ErrorCode::kUsage,
               "'{}' is a plan: weights can be overwritten in an ONNX model only", model);
  options.layer.method = PruneMethod::kMagnitude;
  path_ = fmt::format("{}.{}.forced.onnx", output, ::getpid());
  const ModelPruneReport report = HUSSAR_TRY(prune_model(model, nullptr, path_, options));
  const auto pruned =
      std::count_if(report.layers.begin(), report.layers.end(), [](const auto& layer) { return layer.is_pruned; });
  what_ = fmt::format("forced: the weights of {} of {} products were overwritten by {} ones; results mean nothing",
                      pruned, report.layers.size(), spell(options.layer.pattern));
  original_ = model.substr(model.rfind('/') + 1);
  model = path_;
  return {};
}

Status ForcedSparsity::force(std::string& model, const std::string& output, const NamedShapes& shapes) {
  ModelPruneOptions options;
  options.shapes = shapes;
  options.layer.pattern.shared_rows = kForcedColumns;
  HUSSAR_TRY(apply(model, output, options));
  warn("--sparsity " + what_);
  return {};
}

void ForcedSparsity::mark(Plan& plan) const {
  if (what_.empty()) return;
  plan.meta["model"] = original_;
  plan.meta["sparsity"] = what_;
}

}  // namespace hussar::cli
