// Text and JSON of a build.
#include "tools/cli/build_report.h"

#include <fmt/format.h>

#include <algorithm>

#include "compile/float_products.h"
#include "compile/precision.h"
#include "plan/kernel.h"
#include "tools/cli/console.h"

namespace hussar::cli {

std::string pass_table(const CompileReport& report) {
  bool is_verified = std::any_of(report.passes.begin(), report.passes.end(),
                                 [](const PassRecord& pass) { return pass.error.has_value(); });
  std::vector<std::string> header = {"pass", ">rewrites", ">ms", ">nodes after"};
  if (is_verified) header.push_back(">error of the outputs");
  Table table(header);
  for (const PassRecord& pass : report.passes) {
    std::vector<std::string> row = {pass.name, std::to_string(pass.rewrites), fmt::format("{:.2f}", pass.milliseconds),
                                    std::to_string(pass.nodes_after)};
    if (is_verified) row.push_back(pass.error ? fmt::format("{:.1e}", *pass.error) : "");
    table.add(row);
  }
  return table.to_string();
}

int64_t reference_steps(const PlanGraph& graph) {
  return std::count_if(graph.steps.begin(), graph.steps.end(),
                       [](const PlanStep& step) { return step.kernel == kReferenceKernel; });
}

void warn_about_kept(const SelfCheckReport& check) {
  constexpr size_t kMostNames = 10;
  const size_t count = check.kept_in_fp32.size();
  if (count == 0) return;
  std::string names;
  for (size_t i = 0; i < std::min(count, kMostNames); ++i) names += (i > 0 ? ", " : "") + check.kept_in_fp32[i];
  if (count > kMostNames) names += fmt::format(" and {} more, which `hussar inspect` names", count - kMostNames);
  warn(fmt::format("{} of {} steps kept in FP32: {} would exceed the tolerance (error {:.2g}, {:g} allowed): {}", count,
                   check.half_candidates, check.half, check.error_in_half, check.tolerance, names));
}

// How many products compute in INT8, or FP8, what that brings, and who stays in floats and why.
static std::string int8_summary(const Int8Report& report) {
  constexpr size_t kMostNames = 50;
  std::string text;
  const auto kept = std::count_if(report.choices.begin(), report.choices.end(),
                                  [](const Int8Choice& choice) { return !choice.int8; });
  if (!report.choices.empty()) {
    text = fmt::format("{0}: {1} of {2} products, {3:.3f} ms; {4} takes {5:.3f} ms, all in {0} {6:.3f} ms\n",
                       report.name, report.choices.size() - static_cast<size_t>(kept), report.choices.size(),
                       report.chosen_microseconds / 1e3, report.otherwise, report.float_microseconds / 1e3,
                       report.all_int8_microseconds / 1e3);
  }
  const size_t count = report.in_floats.size();
  if (count > 0) text += fmt::format("not {}:\n", report.name);
  for (size_t i = 0; i < std::min(count, kMostNames); ++i) text += "  " + describe(report.in_floats[i]) + "\n";
  if (count > kMostNames) text += fmt::format("  and {} more, which `hussar inspect` names\n", count - kMostNames);
  return text;
}

std::string summary(const BuildReport& report) {
  const PlanGraph& graph = report.plan.graph;
  std::string lower;
  for (DType half : {DType::kFloat16, DType::kBFloat16}) {
    if (const int64_t count = count_half_steps(graph, half); count > 0)
      lower += fmt::format(", {} in {}", count, half_name(half));
  }
  const int64_t tf32_steps = count_tf32_steps(graph);
  if (tf32_steps > 0) lower += fmt::format(", {} in TF32", tf32_steps);
  std::string text =
      fmt::format("{}: {}, {} steps ({} by reference code{}), {}, {} threads, built in {:.2f} s\n", report.output,
                  format_bytes(static_cast<double>(report.plan_bytes)), graph.steps.size(), reference_steps(graph),
                  lower, report.plan.meta.at("target"), report.plan.meta.at("threads"), report.compile.seconds);
  const int64_t of_model = count_quantized_in_model(graph);
  if (of_model > 0) text += fmt::format("INT8: {} products are quantized in the model\n", of_model);
  if (auto packed = report.plan.meta.find("packed"); packed != report.plan.meta.end())
    text += "packed: " + packed->second + "\n";
  text += int8_summary(report.compile.int8);
  if (report.compile.tuning.problems > 0) text += "tuning: " + report.compile.tuning.to_string() + "\n";
  return text + "self-check: " + report.check.to_string() + "\n";
}

Json precision_counts(const PlanGraph& graph) {
  std::map<std::string, int64_t> counts;
  for (const PlanStep& step : graph.steps) {
    const std::string precision = precision_name(graph, step);
    if (!precision.empty()) ++counts[precision];
  }
  Json json = Json::object();
  for (const auto& [name, count] : counts) json.set(name, count);
  return json;
}

Json to_json(const BuildReport& report) {
  Json passes = Json::array(), check = Json::object(), meta = Json::object(), json = Json::object();
  for (const PassRecord& pass : report.compile.passes) {
    Json entry = Json::object();
    entry.set("name", pass.name).set("rewrites", pass.rewrites).set("ms", pass.milliseconds);
    entry.set("max_relative_error", pass.error ? Json(*pass.error) : Json());
    passes.push(std::move(entry.set("nodes_after", pass.nodes_after)));
  }
  check.set("done", report.check.done).set("max_relative_error", report.check.done ? Json(report.check.error) : Json());
  check.set("tolerance", report.check.tolerance);
  check.set("of_rounding", report.check.of_rounding ? Json(*report.check.of_rounding) : Json());
  check.set("output", report.check.output).set("reference", report.check.reference).set("shapes", report.check.shapes);
  Json kept = Json::array();
  for (const std::string& name : report.check.kept_in_fp32) kept.push(name);
  check.set("kept_in_fp32", std::move(kept));
  check.set("skipped", report.check.skipped).set("seconds", report.check.seconds);
  for (const auto& [key, value] : report.plan.meta) meta.set(key, value);
  json.set("output", report.output).set("plan_bytes", report.plan_bytes).set("build_seconds", report.compile.seconds);
  json.set("steps", report.plan.graph.steps.size()).set("reference_steps", reference_steps(report.plan.graph));
  const TuneReport& tuned = report.compile.tuning;
  Json tuning = Json::object();
  tuning.set("problems", tuned.problems).set("measured", tuned.measured).set("rounds", tuned.rounds);
  tuning.set("decided_by_plan", tuned.in_plan).set("changed_by_plan", tuned.changed);
  tuning.set("plan_gain_percent", 100 * tuned.gain);
  json.set("tuning", std::move(tuning.set("seconds", tuned.seconds).set("skipped", tuned.skipped)));
  Json int8 = Json::object(), products = Json::array();
  for (const Int8Choice& choice : report.compile.int8.choices) {
    Json entry = Json::object();
    entry.set("name", choice.name).set("int8", choice.int8).set("int8_us", choice.int8_microseconds);
    products.push(std::move(entry.set("fp32_us", choice.float_microseconds)));
  }
  Json in_floats = Json::array();
  for (const FloatProduct& product : report.compile.int8.in_floats) {
    Json entry = Json::object();
    in_floats.push(std::move(entry.set("name", product.name).set("op", product.op).set("reason", product.reason)));
  }
  int8.set("precision", std::string(report.compile.int8.name)).set("in_floats", std::move(in_floats));
  int8.set("products", std::move(products)).set("fp32_us", report.compile.int8.float_microseconds);
  int8.set("quantized_in_model", count_quantized_in_model(report.plan.graph));
  int8.set("all_int8_us", report.compile.int8.all_int8_microseconds);
  json.set("int8", std::move(int8.set("chosen_us", report.compile.int8.chosen_microseconds)));
  json.set("precision_counts", precision_counts(report.plan.graph)).set("self_check", std::move(check));
  return std::move(json.set("passes", std::move(passes)).set("meta", std::move(meta)));
}

}  // namespace hussar::cli
