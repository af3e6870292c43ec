#include "tools/cli/prune_table.h"

#include <fmt/format.h>

#include "tools/cli/console.h"

namespace hussar::cli {
namespace {

std::string percent(double part) { return fmt::format("{:.2f}", 100 * part); }

std::string joined(const std::vector<std::string>& notes) {
  std::string text;
  for (const std::string& note : notes) text += (text.empty() ? "" : "; ") + note;
  return text;
}

std::string list_table(const ModelPruneReport& report) {
  Table table({"node", "op", ">k", ">n", ">FLOP %", "", "reason"});
  for (const ModelPruneLayer& layer : report.layers) {
    table.add({layer.node, layer.op, std::to_string(layer.k), std::to_string(layer.n), percent(layer.flops_part),
               layer.is_pruned ? "eligible" : "no", layer.is_pruned ? joined(layer.notes) : layer.reason});
  }
  return table.to_string();
}

}  // namespace

std::string prune_table(const ModelPruneReport& report, bool is_list) {
  if (is_list) return list_table(report);
  const bool has_data = report.output_error >= 0;
  Table table({"node", ">k", ">n", ">FLOP %", ">rows", ">kept energy %", ">error %", "note"});
  for (const ModelPruneLayer& layer : report.layers) {
    const std::string k = std::to_string(layer.k), n = std::to_string(layer.n);
    if (layer.is_pruned) {
      table.add({layer.node, k, n, percent(layer.flops_part), has_data ? std::to_string(layer.rows) : "",
                 percent(layer.kept_energy), has_data ? percent(layer.error) : "", joined(layer.notes)});
    } else {
      table.add({layer.node, k, n, percent(layer.flops_part), "", "", "", "dense: " + layer.reason});
    }
  }
  std::string text = table.to_string();
  for (const PruneStage& stage : report.stages) {
    const std::string top1 =
        stage.top1 < 0 ? "" : fmt::format(", top-1 {} of {} %", percent(stage.top1), percent(report.dense_top1));
    text += fmt::format("{} products: outputs differ by {} %{}{}\n", stage.layers, percent(stage.output_error), top1,
                        stage.is_within ? "" : ", more than the budget");
  }
  return text;
}

Json to_json(const ModelPruneReport& report) {
  Json layers = Json::array(), stages = Json::array(), warnings = Json::array(), json = Json::object();
  auto known = [](double figure) { return figure < 0 ? Json() : Json(figure); };
  for (const ModelPruneLayer& layer : report.layers) {
    Json entry = Json::object(), notes = Json::array();
    for (const std::string& note : layer.notes) notes.push(note);
    entry.set("node", layer.node).set("op", layer.op).set("k", layer.k).set("n", layer.n);
    entry.set("flops_part", layer.flops_part).set("eligible", layer.is_pruned).set("reason", layer.reason);
    entry.set("code", layer.code.empty() ? Json() : Json(layer.code));
    entry.set("rows", layer.rows).set("kept_energy", layer.kept_energy);
    entry.set("error_before_refit", known(layer.error_before_refit)).set("error", known(layer.error));
    layers.push(std::move(entry.set("corrects_bias", layer.corrects_bias).set("notes", std::move(notes))));
  }
  for (const PruneStage& stage : report.stages) {
    Json entry = Json::object();
    entry.set("layers", stage.layers).set("output_error", stage.output_error);
    entry.set("top1", known(stage.top1));
    stages.push(std::move(entry.set("within_budget", stage.is_within)));
  }
  for (const std::string& warning : report.warnings) warnings.push(warning);
  json.set("samples", report.samples).set("held_out", report.held_out);
  json.set("output_error", known(report.output_error)).set("bytes", static_cast<int64_t>(report.bytes));
  json.set("top1_dense", known(report.dense_top1)).set("top1", known(report.top1));
  json.set("reordered", report.reordered)
      .set("seconds", report.seconds)
      .set("warnings", std::move(warnings))
      .set("stages", std::move(stages));
  return std::move(json.set("layers", std::move(layers)));
}

}  // namespace hussar::cli
