// Accuracy and time, layer by layer.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "passes/support/products.h"
#include "tools/cli/layer_table.h"
#include "tools/cli/page/markup.h"
#include "tools/cli/page/page.h"

namespace hussar::cli {
namespace {

// Beyond this, errors do not matter; below that, they do.
constexpr double kGoodDecibels = 60, kBadDecibels = 20;
// Of a long list the first ones tell what there is to tell.
constexpr size_t kMostRows = 400;

BarRow::Bar sqnr_bar(const char* what, double sqnr, const char* colour) {
  const double value = std::isinf(sqnr) && sqnr > 0 ? kGoodDecibels : sqnr;
  return {value, value < kBadDecibels ? "bad" : colour,
          fmt::format("{} {}{}", what, decibels(sqnr), std::isfinite(sqnr) ? " dB" : "")};
}

std::string left_out(size_t count) {
  return count > kMostRows ? fmt::format("<p>and {} more, less harmful</p>\n", count - kMostRows) : "";
}

}  // namespace

std::string sensitivity_section(const SensitivityReport& report) {
  std::vector<BarRow> rows;
  for (size_t i = 0; i < std::min(report.products.size(), kMostRows); ++i) {
    const ProductSensitivity& product = report.products[i];
    BarRow row{product.node + (i < report.advice ? " [fp32]" : ""), {}};
    const std::optional<double> gained = product.gained_ms();
    std::string gain;
    if (gained) gain = *gained > 0 ? fmt::format("; gains {:.3f} ms", *gained) : "; not faster";
    row.bars.push_back(sqnr_bar("alone", product.both.sqnr_db(), "a"));
    row.bars.back().text += gain;
    row.bars.push_back(sqnr_bar("weights", product.weights.sqnr_db(), "b"));
    row.bars.push_back(sqnr_bar("activations", product.activations.sqnr_db(), "b"));
    rows.push_back(std::move(row));
  }
  std::string html = fmt::format("<h2>Sensitivity of {} products</h2>\n", report.products.size());
  html += fmt::format(
      "<p>Signal to noise of the outputs over {} samples with one product in INT8 and the rest in FP32, worst first{}; "
      "then with its weights or its input alone rounded. Longer is better. All in INT8: {} dB; with the {} marked "
      "[fp32] left out: {} dB.</p>\n",
      report.samples, !report.products.empty() && report.products[0].gained_ms() ? " per millisecond gained" : "",
      decibels(report.all_int8.sqnr_db()), report.advice, decibels(report.advised.sqnr_db()));
  return html + bar_chart(rows, kGoodDecibels) + left_out(report.products.size());
}

std::string layer_section(const LayerReport& report, const std::string& note) {
  std::vector<BarRow> rows;
  for (size_t i = 0; i < std::min(report.layers.size(), kMostRows); ++i) {
    const LayerError& layer = report.layers[i];
    BarRow row{fmt::format("{} ({})", layer.node, layer.precision), {}};
    if (layer.own) row.bars.push_back(sqnr_bar("own", *layer.own, "a"));
    if (layer.sqnr_out) row.bars.push_back(sqnr_bar("out", *layer.sqnr_out, "b"));
    if (!row.bars.empty()) rows.push_back(std::move(row));
  }
  std::string html = fmt::format("<h2>Error of {} layers</h2>\n", report.layers.size());
  html += fmt::format(
      "<p>Signal to noise of what each layer gives, against FP32, {}: with exact inputs (own) and as it is (out). "
      "Worst "
      "first; longer is better. {} layers have no counterpart in FP32.</p>\n",
      escaped(note), report.without_reference);
  return html + bar_chart(rows, kGoodDecibels) + left_out(report.layers.size());
}

std::string latency_section(const Int8Report& report) {
  std::string html = "<h2>Latency before and after</h2>\n";
  if (report.choices.empty()) return html + "<p>Nothing was measured (--budget 0).</p>\n";
  auto milliseconds = [](double microseconds) { return fmt::format("{:.3f} ms", microseconds / 1e3); };
  std::vector<BarRow> total;
  total.push_back({"whole model in FP32", {{report.float_microseconds, "b", milliseconds(report.float_microseconds)}}});
  total.push_back({fmt::format("everything in {} that can be", report.name),
                   {{report.all_int8_microseconds, "a", milliseconds(report.all_int8_microseconds)}}});
  total.push_back({"this plan", {{report.chosen_microseconds, "a", milliseconds(report.chosen_microseconds)}}});
  html +=
      bar_chart(total, std::max({report.float_microseconds, report.all_int8_microseconds, report.chosen_microseconds}));
  html += fmt::format("<p>Products, longest in FP32 first: FP32, then {} with conversions.</p>\n", report.name);
  std::vector<const Int8Choice*> order;
  for (const Int8Choice& choice : report.choices) order.push_back(&choice);
  std::stable_sort(order.begin(), order.end(), [](const Int8Choice* a, const Int8Choice* b) {
    return a->float_microseconds > b->float_microseconds;
  });
  std::vector<BarRow> rows;
  double greatest = 0;
  for (size_t i = 0; i < std::min(order.size(), kMostRows); ++i) {
    const Int8Choice& choice = *order[i];
    greatest = std::max({greatest, choice.float_microseconds, choice.int8_microseconds});
    rows.push_back({choice.name,
                    {{choice.float_microseconds, "b", "FP32 " + milliseconds(choice.float_microseconds)},
                     {choice.int8_microseconds, "a",
                      fmt::format("{} {}{}", report.name, milliseconds(choice.int8_microseconds),
                                  choice.int8 ? "" : ", not taken")}}});
  }
  return html + bar_chart(rows, greatest);
}

std::string kept_section(const Plan& plan) {
  std::string rows;
  for (const PlanStep& step : plan.graph.steps) {
    const auto reason = reason_in(step.report);
    if (reason) rows += fmt::format("<tr><td>{}</td><td>{}</td></tr>\n", escaped(step.name), escaped(*reason));
  }
  std::string html = "<h2>Products that stayed in FP32</h2>\n";
  if (rows.empty()) return html + "<p>None.</p>\n";
  return html + "<table><tr><th>layer</th><th>why</th></tr>\n" + rows + "</table>\n";
}

}  // namespace hussar::cli
