// Header, facts, regions and memory of a plan.
#include <fmt/format.h>

#include "base/error.h"
#include "base/file.h"
#include "compile/flops.h"
#include "compile/precision.h"
#include "compile/sample.h"
#include "plan/kernel.h"
#include "plan/plan.h"
#include "runtime/session.h"
#include "tensor/program_text.h"
#include "tools/cli/build_report.h"
#include "tools/cli/console.h"
#include "tools/cli/conversion_text.h"
#include "tools/cli/inspection.h"
#include "tools/cli/sparsity_table.h"

namespace hussar::cli {
namespace {

constexpr const char* kStorageNames[] = {"arena", "constant", "input", "view", "heap"};

std::string describe_value(const PlanGraph& graph, int32_t index) {
  if (index < 0) return "-";
  const PlanValue& value = graph.values[index];
  return fmt::format("{}:{}[{}]{}", value.name, dtype_name(value.dtype), value.dims ? to_string(*value.dims) : "?",
                     value.layout == Layout::kChannelsLast ? ":nhwc" : "");
}

struct MemoryFacts {
  std::string shapes;  // empty: nothing could be bound
  std::string reason;
  size_t arena = 0, lower_bound = 0;
};

// Binds a session to the given shapes, else those the plan was built for, else small ones.
MemoryFacts memory_facts(const std::shared_ptr<const Plan>& plan, NamedShapes shapes) {
  MemoryFacts facts;
  auto optimum = plan->meta.find("shapes_opt");
  if (shapes.empty() && optimum != plan->meta.end()) {
    if (auto parsed = parse_shapes(optimum->second)) shapes = *parsed;
  }
  auto bind = [&]() -> Status {
    auto inputs = input_facts(plan->graph);
    auto chosen = HUSSAR_TRY(choose_shapes(inputs, shapes));
    auto session = HUSSAR_TRY(Session::create(plan));
    HUSSAR_TRY(session->prepare(chosen));
    NamedShapes spelled;
    for (size_t i = 0; i < inputs.size(); ++i) spelled[inputs[i].name] = Dims(chosen[i].begin(), chosen[i].end());
    facts.shapes = spell_shapes(spelled);
    facts.arena = session->arena_bytes();
    facts.lower_bound = session->arena_lower_bound();
    return {};
  };
  if (Status status = bind(); !status) facts.reason = status.error().message;
  return facts;
}

// What is computed on the output before it is stored: "hard_swish;mul(0.7);add(0.1)"; "" for nothing.
std::string fused_work(const PlanStep& step) {
  return step.program ? spell_program(*step.program, step.program_inputs) : "";
}

std::string regions_text(const PlanGraph& graph, const std::string& indent) {
  std::string text;
  for (size_t i = 0; i < graph.steps.size(); ++i) {
    const PlanStep& step = graph.steps[i];
    const std::string precision = precision_name(graph, step);
    const bool lower =
        precision == "tf32" ||
        (precision == "float16" && graph.values[static_cast<size_t>(step.outputs[0])].dtype != DType::kFloat16);
    text += fmt::format("{}{:4} {} '{}'{}\n", indent, i, step.op, step.name, lower ? " in " + precision : "");
    std::string inputs, outputs;
    for (int32_t input : step.inputs) inputs += (inputs.empty() ? "" : ", ") + describe_value(graph, input);
    for (int32_t output : step.outputs) outputs += (outputs.empty() ? "" : ", ") + describe_value(graph, output);
    text += fmt::format("{}       {} -> {}\n", indent, inputs, outputs);
    if (step.program) text += fmt::format("{}       fused: {}\n", indent, fused_work(step));
    std::string_view report = step.report;
    while (!report.empty()) {
      size_t end = std::min(report.find('\n'), report.size());
      text += fmt::format("{}       {}\n", indent, report.substr(0, end));
      report.remove_prefix(std::min(end + 1, report.size()));
    }
    for (const auto& [name, body] : step.bodies) {
      text += fmt::format("{}       {}:\n", indent, name) + regions_text(*body, indent + "       ");
    }
  }
  return text;
}

Json regions_json(const PlanGraph& graph) {
  Json list = Json::array();
  for (const PlanStep& step : graph.steps) {
    Json entry = Json::object(), inputs = Json::array(), outputs = Json::array(), bodies = Json::object();
    for (int32_t input : step.inputs) inputs.push(describe_value(graph, input));
    for (int32_t output : step.outputs) outputs.push(describe_value(graph, output));
    for (const auto& [name, body] : step.bodies) bodies.set(name, regions_json(*body));
    const std::string precision = precision_name(graph, step);
    entry.set("op", step.op).set("name", step.name).set("kernel", step.kernel).set("report", step.report);
    const std::string configuration = step.attributes.get_string(kConfigurationAttribute, "");
    entry.set("configuration", configuration.empty() ? Json() : Json(configuration));
    entry.set("precision", precision.empty() ? Json() : Json(precision));
    entry.set("fused", fused_work(step)).set("inputs", std::move(inputs)).set("outputs", std::move(outputs));
    list.push(std::move(entry.set("bodies", std::move(bodies))));
  }
  return list;
}

Json header_json(const PlanHeader& header) {
  Json json = Json::object();
  json.set("version", static_cast<int64_t>(header.version)).set("written_by", header.written_by);
  return std::move(json.set("target", header.target).set("file_bytes", header.file_bytes));
}

std::string storage_counts(const PlanGraph& graph) {
  std::map<std::string, int> counts;
  for (const PlanValue& value : graph.values) ++counts[kStorageNames[static_cast<int>(value.storage)]];
  std::string text;
  for (const auto& [name, count] : counts) text += fmt::format("{}{} {}", text.empty() ? "" : ", ", count, name);
  return text;
}

std::string plan_text(const Plan& plan, const MemoryFacts& memory) {
  Table table({"", ""});
  for (const auto& [key, value] : plan.meta) table.add({key, value});
  auto list = [&](const char* title, const std::vector<int32_t>& indices) {
    for (int32_t index : indices) table.add({title, describe_value(plan.graph, index)});
  };
  list("input", plan.graph.inputs);
  list("output", plan.graph.outputs);
  table.add({"steps", fmt::format("{} ({} by reference code)", plan.graph.steps.size(), reference_steps(plan.graph))});
  table.add({"conversions", conversions_text(expected_conversions(plan.graph), "the expected time")});
  table.add({"values", storage_counts(plan.graph)});
  table.add({"constants", format_bytes(static_cast<double>(plan.constants.size()))});
  table.add(
      {"memory", memory.shapes.empty()
                     ? "unknown: " + memory.reason
                     : fmt::format("arena {} (lower bound {}) at {}", format_bytes(static_cast<double>(memory.arena)),
                                   format_bytes(static_cast<double>(memory.lower_bound)), memory.shapes)});
  return table.to_string();
}

}  // namespace

Status inspect_plan(const std::string& path, const InspectOptions& options, const Command& command) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  auto header = read_plan_header(file->bytes());
  if (!header) return fail(header.error().code, "{}: {}", path, header.error().message);
  std::string head =
      fmt::format("{}: plan format {}, written by {}, for {}, {}\n", path, header->version, header->written_by,
                  header->target, format_bytes(static_cast<double>(header->file_bytes)));
  ReadOptions read;
  read.verify_constants = options.verify;
  auto plan = read_plan(path, read);
  if (command.prints_text()) print_out(head);
  if (!plan) {
    Json error = Json::object(), json = Json::object();
    error.set("code", static_cast<int>(plan.error().code)).set("message", plan.error().message);
    json.set("file", path).set("kind", "plan").set("header", header_json(*header));
    HUSSAR_TRY(command.report(std::move(json.set("error", std::move(error)))));
    return tl::unexpected(plan.error());
  }
  MemoryFacts memory = memory_facts(*plan, options.shapes);
  int dense_weights = 0;
  const std::vector<SparseRegion> sparse = sparse_regions((*plan)->graph, dense_weights);
  if (command.prints_text()) {
    print_out(plan_text(**plan, memory));
    if (options.verify) print_out("verified: the checksums of all sections fit\n");
    if (const std::string text = sparsity_text(sparse, dense_weights); !text.empty()) print_out("\n" + text);
    if (options.regions) print_out("\n" + regions_text((*plan)->graph, ""));
  }
  Json json = Json::object(), meta = Json::object(), arena = Json::object();
  for (const auto& [key, value] : (*plan)->meta) meta.set(key, value);
  arena.set("shapes", memory.shapes)
      .set("arena_bytes", memory.arena)
      .set("arena_lower_bound_bytes", memory.lower_bound);
  json.set("file", path).set("kind", "plan").set("header", header_json(*header)).set("meta", std::move(meta));
  json.set("constants_bytes", (*plan)->constants.size())
      .set("memory", std::move(arena))
      .set("verified", options.verify);
  json.set("sparsity", sparsity_json(sparse, dense_weights));
  json.set("conversions", to_json(expected_conversions((*plan)->graph)));
  json.set("precision_counts", precision_counts((*plan)->graph)).set("regions", regions_json((*plan)->graph));
  return command.report(std::move(json));
}

}  // namespace hussar::cli
