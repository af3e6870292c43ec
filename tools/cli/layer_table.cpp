// Printing layers.
#include "tools/cli/layer_table.h"

#include <fmt/format.h>

#include <cmath>

#include "tools/cli/console.h"

namespace hussar::cli {

std::string decibels(const std::optional<double>& sqnr) {
  if (!sqnr) return "-";
  if (std::isinf(*sqnr) && *sqnr > 0) return "exact";
  return std::isfinite(*sqnr) ? fmt::format("{:.1f}", *sqnr) : "none";
}

std::string layer_table(const LayerReport& report) {
  Table table({"node", "op", "precision", ">SQNR in", ">SQNR out", ">own dB"});
  for (const LayerError& layer : report.layers) {
    table.add({layer.node, layer.op, layer.precision, decibels(layer.sqnr_in), decibels(layer.sqnr_out),
               decibels(layer.own)});
  }
  std::string text = table.to_string();
  text += fmt::format("{} layers, worst first by their own error (with exact inputs)", report.layers.size());
  if (report.without_reference > 0) text += fmt::format("; {} have no counterpart", report.without_reference);
  if (report.fused_away > 0) {
    text += fmt::format("; {} tensors of the first model have none (fused away)", report.fused_away);
  }
  return text + "\n";
}

static Json figure(const std::optional<double>& sqnr) { return sqnr ? Json(*sqnr) : Json(); }

Json to_json(const LayerReport& report) {
  Json layers = Json::array(), json = Json::object();
  for (const LayerError& layer : report.layers) {
    Json entry = Json::object();
    entry.set("node", layer.node).set("op", layer.op).set("precision", layer.precision).set("tensor", layer.tensor);
    // Infinite figures are null in JSON.
    entry.set("is_known", layer.own.has_value()).set("sqnr_in_db", figure(layer.sqnr_in));
    layers.push(std::move(entry.set("sqnr_out_db", figure(layer.sqnr_out)).set("own_sqnr_db", figure(layer.own))));
  }
  json.set("layers", std::move(layers)).set("without_counterpart", report.without_reference);
  return std::move(json.set("fused_away", report.fused_away));
}

}  // namespace hussar::cli
