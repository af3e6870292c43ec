#include "tools/cli/sparsity_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "tactics/choose.h"
#include "tools/cli/console.h"

namespace hussar::cli {
namespace {

bool is_sparse_kernel(std::string_view name) { return name.find("_sparse") != std::string_view::npos; }

double time_of(const RivalLine& rival) { return rival.measured.value_or(rival.predicted.value_or(0)); }

// The weights without gaps and padding, less what is stored.
double bytes_saved(const PlanGraph& graph, const PlanStep& step) {
  const PlanValue& weights = graph.values[static_cast<size_t>(step.inputs[1])];
  const PlanValue& output = graph.values[static_cast<size_t>(step.outputs[0])];
  double k = static_cast<double>(step.attributes.get_int("hussar_k", 0));
  double n = static_cast<double>(step.attributes.get_int("hussar_n", 0));
  if (k == 0 && output.dims && output.dims->size() > 1 && (*output.dims)[1].is_constant()) {
    k = static_cast<double>(step.attributes.get_int("hussar_channels", 0));
    for (int64_t extent : step.attributes.get_ints("kernel_shape")) k *= static_cast<double>(extent);
    n = static_cast<double>((*output.dims)[1].value());
  }
  double elements = k * n, stored = 1;
  // Those for GPUs note no more than the shape.
  const Ints shape = step.attributes.get_ints("hussar_packed_1");
  if (elements == 0 && !shape.empty()) {
    elements = 1;
    for (int64_t dim : shape) elements *= static_cast<double>(dim);
  }
  for (const Dim& dim : weights.dims ? *weights.dims : Dims{}) stored *= static_cast<double>(dim.value());
  return (elements - stored) * static_cast<double>(dtype_size(weights.dtype));
}

std::string code_of(const SparseRegion& region) {
  if (region.is_sparse) return "sparse";
  // What a rival's verdict, or a kernel's refusal, begins with.
  constexpr std::pair<std::string_view, const char*> kCodes[] = {{"slower", "dense_faster"},
                                                                 {"within", "no_clear_win"},
                                                                 {"predicted as fast", "no_clear_win"},
                                                                 {"not measured", "not_measured"},
                                                                 {kNotTwoOfFour, "not_2_of_4"},
                                                                 {"weights are 2:4, but", "mask_not_shared"},
                                                                 {"--sparsity off", "switched_off"},
                                                                 {"groups", "grouped"},
                                                                 {"k is no multiple", "k_not_multiple"},
                                                                 {"more than", "many_rows"},
                                                                 {"channels of a tap", "partial_blocks"}};
  for (const auto& [begin, code] : kCodes) {
    if (region.reason.starts_with(begin)) return code;
  }
  return "no_kernel";
}

// Whether the step asked for a kernel for sparse weights. Those for other masks or more rows refuse what one takes, so
// their reasons count where all do: the first, but what the weights are not comes before what a kernel cannot.
bool read_region(const PlanGraph& graph, const PlanStep& step, SparseRegion& region) {
  region.name = step.name;
  bool asked = false;
  std::string refusal;
  for (const RivalLine& rival : read_description(step.report)) {
    const bool is_sparse = is_sparse_kernel(rival.name);
    if (rival.verdict == "chosen") {
      region.chosen = rival.name;
      region.is_sparse = is_sparse;
    }
    asked = asked || is_sparse;
    if (is_sparse && rival.is_refused) {
      const std::string why = rival.verdict.substr(std::string_view("refused, ").size());
      if (refusal.empty() || why == kNotTwoOfFour) refusal = why;
    }
    // Configurations ("conv_tile:six_rows") are rivals only when measured.
    if (rival.is_refused || (!rival.measured && rival.name.find(':') != std::string::npos)) continue;
    double& best = is_sparse ? region.sparse : region.dense;
    const bool is_best = best == 0 || time_of(rival) < best;
    if (is_best) best = time_of(rival);
    if (is_sparse && is_best) region.reason = rival.verdict;
    region.is_measured = region.is_measured || (is_sparse && rival.measured);
  }
  if (region.reason.empty()) region.reason = refusal;
  if (region.is_sparse) {
    region.reason = region.is_measured ? "faster" : "predicted to be faster";
    region.bytes_saved = bytes_saved(graph, step);
  }
  region.code = code_of(region);
  return asked;
}

}  // namespace

std::vector<SparseRegion> sparse_regions(const PlanGraph& graph, int& refused_dense) {
  std::vector<SparseRegion> regions;
  for (const PlanStep& step : graph.steps) {
    SparseRegion region;
    if (read_region(graph, step, region)) {
      if (region.reason == kNotTwoOfFour) {
        ++refused_dense;
      } else {
        regions.push_back(std::move(region));
      }
    }
    for (const auto& [name, body] : step.bodies) {
      for (SparseRegion& inner : sparse_regions(*body, refused_dense)) regions.push_back(std::move(inner));
    }
  }
  return regions;
}

std::string sparsity_text(const std::vector<SparseRegion>& regions, int refused_dense) {
  const bool none = std::none_of(regions.begin(), regions.end(), [](const auto& region) { return region.sparse > 0; });
  if (none) return "";
  Table table({"2:4 weights", ">best dense us", ">best sparse us", "chosen", ">bytes saved", "why"});
  for (const SparseRegion& region : regions) {
    auto time = [&](double us) { return us > 0 ? fmt::format("{:.1f}", us) : "-"; };
    table.add({region.name, time(region.dense), time(region.sparse), region.chosen,
               region.is_sparse ? format_bytes(region.bytes_saved) : "-", region.reason});
  }
  std::string text = table.to_string();
  if (refused_dense > 0) text += fmt::format("{} more products: {}\n", refused_dense, kNotTwoOfFour);
  return text;
}

Json sparsity_json(const std::vector<SparseRegion>& regions, int refused_dense) {
  Json list = Json::array(), json = Json::object();
  for (const SparseRegion& region : regions) {
    Json entry = Json::object();
    entry.set("name", region.name).set("chosen", region.chosen).set("reason", region.reason);
    entry.set("code", region.code);
    entry.set("dense_us", region.dense > 0 ? Json(region.dense) : Json());
    entry.set("sparse_us", region.sparse > 0 ? Json(region.sparse) : Json()).set("measured", region.is_measured);
    list.push(std::move(entry.set("is_sparse", region.is_sparse).set("bytes_saved", region.bytes_saved)));
  }
  return std::move(json.set("regions", std::move(list)).set("dense_weights", refused_dense));
}

}  // namespace hussar::cli
