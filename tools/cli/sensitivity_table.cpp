// Printing sensitivity.
#include "tools/cli/sensitivity_table.h"

#include <fmt/format.h>

#include "tools/cli/console.h"
#include "tools/cli/layer_table.h"

namespace hussar::cli {
namespace {

std::string milliseconds(const std::optional<double>& value) { return value ? fmt::format("{:.3f}", *value) : "-"; }

std::string agreement(const Predictions& predictions) {
  return predictions.rows > 0 ? fmt::format("{}/{}", predictions.agreeing, predictions.rows) : "-";
}

// In points of the share of right classes.
double top1_points(const Predictions& predictions) {
  if (predictions.rows == 0) return 0;
  return 100 * static_cast<double>(predictions.won - predictions.lost) / static_cast<double>(predictions.rows);
}

std::string whole(const char* what, const Noise& noise, const Predictions& predictions, bool has_labels) {
  std::string text = fmt::format("{}: {} dB", what, decibels(noise.sqnr_db()));
  if (predictions.rows > 0) text += ", same class " + agreement(predictions);
  if (has_labels && predictions.rows > 0) {
    text += fmt::format(", top-1 {:+.2f} points ({} won, {} lost)", top1_points(predictions), predictions.won,
                        predictions.lost);
  }
  return text + "\n";
}

Json to_json(const Noise& noise, const Predictions& predictions) {
  Json json = Json::object();
  json.set("sqnr_db", noise.sqnr_db()).set("rows", predictions.rows).set("same_class", predictions.agreeing);
  return std::move(json.set("won", predictions.won).set("lost", predictions.lost));
}

Json number(const std::optional<double>& value) { return value ? Json(*value) : Json(); }

// A file of lines cannot spell every name.
bool is_spellable(const std::string& node) {
  return !node.empty() && node[0] != '#' && node[0] != ' ' && node.find_first_of("\n\r\t") == std::string::npos;
}

std::string one_line(std::string text) {
  for (char& c : text) c = c == '\n' || c == '\r' ? ' ' : c;
  return text;
}

}  // namespace

std::string sensitivity_table(const SensitivityReport& report) {
  Table table({"node", ">SQNR dB", ">weights", ">activations", ">ms gained",
               report.has_labels ? ">top-1" : ">same class", "advice"});
  for (size_t i = 0; i < report.products.size(); ++i) {
    const ProductSensitivity& product = report.products[i];
    const Predictions& predictions = product.predictions;
    table.add({product.node, decibels(product.both.sqnr_db()), decibels(product.weights.sqnr_db()),
               decibels(product.activations.sqnr_db()), milliseconds(product.gained_ms()),
               report.has_labels ? fmt::format("{:+.2f}", top1_points(predictions)) : agreement(predictions),
               i < report.advice                      ? "fp32"
               : product.gained_ms().value_or(1) <= 0 ? "not faster"
                                                      : ""});
  }
  std::string text =
      "SQNR of the outputs with one product in INT8, " +
      std::string(report.products[0].gained_ms() ? "worst first by noise per millisecond gained\n" : "worst first\n");
  text += table.to_string();
  if (report.has_labels && report.rows > 0) {
    text +=
        fmt::format("FP32: top-1 {:.2f} % of {}\n",
                    100 * static_cast<double>(report.right_in_float) / static_cast<double>(report.rows), report.rows);
  }
  text += whole("all in INT8", report.all_int8, report.all_predictions, report.has_labels);
  const std::string advised = fmt::format("{} of {} in FP32 as advised", report.advice, report.products.size());
  return text + whole(advised.c_str(), report.advised, report.advised_predictions, report.has_labels);
}

Json to_json(const SensitivityReport& report) {
  Json products = Json::array(), json = Json::object(), advice = Json::array();
  for (size_t i = 0; i < report.products.size(); ++i) {
    const ProductSensitivity& product = report.products[i];
    Json entry = Json::object();
    entry.set("node", product.node).set("precision_node", first_node(product.node)).set("harm", product.harm());
    entry.append_fields(to_json(product.both, product.predictions));
    entry.set("weights_sqnr_db", product.weights.sqnr_db()).set("activations_sqnr_db", product.activations.sqnr_db());
    entry.set("fp32_ms", number(product.float_ms)).set("int8_ms", number(product.int8_ms));
    products.push(std::move(entry.set("gained_ms", number(product.gained_ms()))));
    if (i < report.advice) advice.push(first_node(product.node));
  }
  json.set("samples", report.samples).set("rows", report.rows);
  json.set("top1_fp32", report.has_labels && report.rows > 0
                            ? Json(static_cast<double>(report.right_in_float) / static_cast<double>(report.rows))
                            : Json());
  json.set("all_int8", to_json(report.all_int8, report.all_predictions));
  json.set("advised", to_json(report.advised, report.advised_predictions));
  return std::move(json.set("advice", std::move(advice)).set("products", std::move(products)));
}

std::string advice_text(const std::string& model, const SensitivityReport& report, double wanted_db) {
  std::string text = fmt::format(
      "# Of `hussar calibrate {} --sensitivity` with {} samples, for `hussar build --int8 "
      "--precision @FILE`.\n",
      one_line(model), report.samples);
  text += "# " + whole("All in INT8", report.all_int8, report.all_predictions, report.has_labels);
  text += "# " + whole("With this advice", report.advised, report.advised_predictions, report.has_labels);
  if (report.advised.sqnr_db() < wanted_db)
    text += fmt::format("# The {:g} dB that were asked for are not reached.\n", wanted_db);
  if (report.advice == 0) text += "# No node needs to stay in FP32.\n";
  for (size_t i = 0; i < report.advice; ++i) {
    const ProductSensitivity& product = report.products[i];
    text += fmt::format("\n# Alone in INT8: {} dB (weights {}, activations {})", decibels(product.both.sqnr_db()),
                        decibels(product.weights.sqnr_db()), decibels(product.activations.sqnr_db()));
    if (product.gained_ms()) text += fmt::format(", gains {} ms", milliseconds(product.gained_ms()));
    const std::string node = first_node(product.node);
    if (is_spellable(node))
      text += fmt::format("\n{}=fp32\n", node);
    else
      text += fmt::format("\n# its name needs a flag of its own: --precision '{}=fp32'\n", one_line(node));
  }
  return text;
}

}  // namespace hussar::cli
