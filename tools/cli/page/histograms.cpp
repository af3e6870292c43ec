// One small histogram per tensor, with the range of every method.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "quantize/method_ranges.h"
#include "tools/cli/layer_table.h"
#include "tools/cli/page/markup.h"
#include "tools/cli/page/page.h"

namespace hussar::cli {
namespace {

constexpr double kWidth = 340, kHeight = 110, kFloor = 92;
constexpr size_t kMostBars = 85;
constexpr size_t kColours = 8;  // m0 to m7 of the style sheet

// Counts differ by orders of magnitude: heights are logarithmic.
std::string outline(const Bars& bars) {
  const double most = *std::max_element(bars.counts.begin(), bars.counts.end());
  const double unit = kWidth / static_cast<double>(bars.counts.size());
  std::string path = fmt::format("M0 {:g}", kFloor);
  double x = 0, last = -1;
  for (double count : bars.counts) {
    const double height = most > 0 ? (kFloor - 8) * std::log1p(count) / std::log1p(most) : 0;
    const double y = std::round(kFloor - height);
    if (y != last) path += fmt::format("V{:g}", y);
    x += unit;
    // A run of equal bars is one line.
    path += fmt::format("H{:.0f}", x);
    last = y;
  }
  return fmt::format("<path class=\"fill\" d=\"{}V{:g}z\"/>", path, kFloor);
}

std::string marker(double value, const Bars& bars, const std::string& what, size_t colour, bool is_chosen, double top) {
  const double span = bars.width * static_cast<double>(bars.counts.size());
  const double x = span > 0 ? std::clamp((value - bars.begin) / span, 0.0, 1.0) * kWidth : kWidth / 2;
  return fmt::format(
      "<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:g}\" y2=\"{2:g}\" stroke=\"var(--m{3})\"{4}>"
      "<title>{5}: {6:g}</title></line>",
      std::clamp(x, 1.0, kWidth - 1), top, kFloor, colour, is_chosen ? " class=\"chosen\"" : "", what, value);
}

std::string figure(const TensorCalibration& tensor, const TensorRanges& entry) {
  const Statistics& statistics = tensor.statistics;
  const Bars bars = bars_of(statistics, kMostBars);
  std::string svg = fmt::format("<svg viewBox=\"0 0 {:g} {:g}\" role=\"img\">", kWidth, kHeight);
  if (!bars.counts.empty()) svg += outline(bars);
  for (size_t i = 0; i < entry.ranges.size(); ++i) {
    const Range& range = entry.ranges[i];
    const std::string what(method_name(range.method));
    // Each method begins a little lower, so that equal thresholds show.
    const double top = 8 + 6 * static_cast<double>(i);
    if (range.low < 0) svg += marker(range.low, bars, what, i % kColours, false, top);
    if (range.high > 0) svg += marker(range.high, bars, what, i % kColours, false, top);
  }
  const std::string chosen = "chosen, " + std::string(method_name(tensor.range.method));
  size_t colour = 0;
  while (colour + 1 < entry.ranges.size() && entry.ranges[colour].method != tensor.range.method) ++colour;
  if (!bars.counts.empty() && tensor.range.low < 0)
    svg += marker(tensor.range.low, bars, chosen, colour % kColours, true, 2);
  if (!bars.counts.empty() && tensor.range.high > 0)
    svg += marker(tensor.range.high, bars, chosen, colour % kColours, true, 2);
  svg += fmt::format("<line class=\"axis\" x1=\"0\" x2=\"{0:g}\" y1=\"{1:g}\" y2=\"{1:g}\"/>", kWidth, kFloor);
  svg += fmt::format(
      "<text class=\"soft\" x=\"0\" y=\"106\">{:.4g}</text><text class=\"soft\" x=\"{:g}\" y=\"106\" "
      "text-anchor=\"end\">{:.4g}</text></svg>",
      statistics.min(), kWidth, statistics.max());
  const double sqnr = sqnr_db(statistics, params_of(tensor.range, DType::kUInt8));
  std::string caption = fmt::format("<b>{}</b><br>{:.4g} to {:.4g} by {}", escaped(entry.name), tensor.range.low,
                                    tensor.range.high, method_name(tensor.range.method));
  if (statistics.elements() > 0) caption += fmt::format(", {} dB", decibels(sqnr));
  if (!tensor.range.note.empty()) caption += "; " + escaped(tensor.range.note);
  return fmt::format("<figure>{}<figcaption>{}</figcaption></figure>\n", svg, caption);
}

}  // namespace

std::string histogram_section(const Calibration& calibration) {
  const std::vector<TensorRanges> list = ranges_of_all_methods(calibration);
  std::string html =
      fmt::format("<h2>Activations: {} tensors over {} samples</h2>\n", list.size(), calibration.samples);
  html +=
      "<p>How often each number was seen, on a logarithmic scale, and where each method would clip; the thick "
      "lines are the range that was chosen.";
  size_t colour = 0;
  for (const Method method : methods_in_order()) {
    html += fmt::format("<span class=\"key\" style=\"background:var(--m{})\"></span>{}", colour++ % kColours,
                        method_name(method));
  }
  html += "</p>\n<div class=\"grid\">\n";
  for (const TensorRanges& entry : list) html += figure(calibration.tensors.at(entry.name), entry);
  return html + "</div>\n";
}

}  // namespace hussar::cli
