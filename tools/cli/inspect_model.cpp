// Inputs, operators, support, arithmetic and weights of an ONNX model.
#include <fmt/format.h>

#include <map>

#include "base/error.h"
#include "base/file.h"
#include "compile/compile.h"
#include "compile/sample.h"
#include "onnx/import.h"
#include "onnx/proto.h"
#include "ops/op_def.h"
#include "ops/refusals.h"
#include "tensor/convert.h"
#include "tools/cli/console.h"
#include "tools/cli/inspection.h"
#include "tools/cli/refusal_list.h"
#include "tools/cli/weight_table.h"

namespace hussar::cli {
namespace {

struct OpCount {
  int nodes = 0;
  bool known = false;
  double flops = 0;
};
using OpCounts = std::map<std::string, OpCount>;

struct WeightFacts {
  int64_t count = 0, bytes = 0, elements = 0, zeros = 0;
  int64_t groups = 0, eligible_groups = 0;  // of four along the input channels; eligible: at least two zeros
  std::vector<ProductWeightFacts> products;
};

// As the file spells them, so that it works for models that import refuses.
void count_nodes(const std::vector<onnx::NodeProto>& nodes, OpCounts& counts, int depth) {
  for (const onnx::NodeProto& node : nodes) {
    bool is_default = node.domain.empty() || node.domain == "ai.onnx";
    std::string name = (is_default ? "" : std::string(node.domain) + ".") + std::string(node.op_type);
    OpCount& count = counts[name];
    ++count.nodes;
    count.known = find_op(name) != nullptr;
    for (const onnx::AttributeProto& attribute : node.attributes) {
      if (!attribute.has_graph || depth > 32) continue;
      if (auto body = onnx::parse_graph(attribute.graph)) count_nodes(body->nodes, counts, depth + 1);
    }
  }
}

void add_weight(const Tensor& tensor, WeightFacts& facts) {
  std::vector<double> values(static_cast<size_t>(tensor.elements()));
  if (!values.empty()) load_elements<double>(tensor, 0, tensor.elements(), values.data());
  ++facts.count;
  facts.bytes += static_cast<int64_t>(tensor.bytes());
  facts.elements += tensor.elements();
  for (double value : values) facts.zeros += value == 0 ? 1 : 0;
  // Convolution weights [out][in][...]: groups of four run along axis 1. Matrices [in][out]: along axis 0.
  const Shape& shape = tensor.shape();
  if (!is_floating(tensor.dtype()) || shape.rank() < 2) return;
  int axis = shape.rank() == 2 ? 0 : 1;
  int64_t length = shape[axis], inner = shape.elements(axis + 1, shape.rank()), outer = shape.elements(0, axis);
  for (int64_t o = 0; o < outer; ++o) {
    for (int64_t g = 0; g + 4 <= length; g += 4) {
      for (int64_t i = 0; i < inner; ++i) {
        int zeros = 0;
        for (int64_t k = 0; k < 4; ++k)
          zeros += values[static_cast<size_t>((o * length + g + k) * inner + i)] == 0 ? 1 : 0;
        ++facts.groups;
        facts.eligible_groups += zeros >= 2 ? 1 : 0;
      }
    }
  }
}

// Operators with a node that inference refuses.
void mark_refused(const std::vector<std::string>& ops, OpCounts& counts) {
  for (const std::string& op : ops) {
    if (auto it = counts.find(op); it != counts.end()) it->second.known = false;
  }
}

// Fixes every open dimension and infers, so that arithmetic can be counted.
Status fill_figures(Graph& graph, const NamedShapes& given, OpCounts& counts, WeightFacts& weights,
                    std::string& shapes) {
  auto inputs = input_facts(graph);
  auto chosen = HUSSAR_TRY(choose_shapes(inputs, given));
  NamedShapes fixed;
  for (size_t i = 0; i < inputs.size(); ++i) fixed[inputs[i].name] = Dims(chosen[i].begin(), chosen[i].end());
  shapes = spell_shapes(fixed);
  for (const auto& value : graph.values()) {
    if (value->is_constant() && value->constant->elements() > 1) add_weight(*value->constant, weights);
  }
  weights.products = product_weight_facts(graph);
  HUSSAR_TRY(fix_shapes(graph, fixed));
  Refusals refusals;
  auto inferred = infer_graph(graph, &refusals);
  mark_refused(refusals.ops, counts);
  HUSSAR_TRY(std::move(inferred));
  for (const auto& node : graph.nodes()) {
    const OpDef* op = find_op(node->op);
    auto shape = node->output() != nullptr ? node->output()->static_shape() : std::nullopt;
    bool counted = op != nullptr && op->flops != nullptr;
    double flops = counted ? op->flops(*node) : shape ? static_cast<double>(shape->elements()) : 0;
    counts[node->op].flops += flops;
    counts[node->op].known = true;
  }
  return {};
}

double share(int64_t part, int64_t whole) {
  return whole > 0 ? static_cast<double>(part) / static_cast<double>(whole) : 0;
}

std::string ops_text(const OpCounts& counts) {
  Table table({"operator", ">nodes", ">GFLOP", "supported"});
  for (const auto& [name, count] : counts) {
    table.add({name, std::to_string(count.nodes), count.flops > 0 ? fmt::format("{:.3f}", count.flops / 1e9) : "-",
               count.known ? "yes" : "NO"});
  }
  return table.to_string();
}

Json ops_json(const OpCounts& counts) {
  Json list = Json::array();
  for (const auto& [name, count] : counts) {
    Json entry = Json::object();
    entry.set("op", name).set("nodes", count.nodes).set("supported", count.known).set("flops", count.flops);
    list.push(std::move(entry));
  }
  return list;
}

}  // namespace

Status inspect_model(const std::string& path, const InspectOptions& options, const Command& command) {
  auto file = HUSSAR_TRY(MappedFile::open(path));
  auto proto = onnx::parse_model(file->bytes());
  if (!proto) return fail(proto.error().code, "{}: {}", path, proto.error().message);
  OpCounts counts;
  count_nodes(proto->graph.nodes, counts, 0);
  std::vector<std::string> refused_ops;
  auto imported = onnx::import_file(path, &refused_ops);
  mark_refused(refused_ops, counts);
  WeightFacts weights;
  std::string shapes, problem, inputs, outputs;
  if (imported) {
    inputs = describe(input_facts(imported->graph));
    Status filled = fill_figures(imported->graph, options.shapes, counts, weights, shapes);
    if (!filled && filled.error().code == ErrorCode::kUsage) return tl::unexpected(filled.error());
    if (!filled) problem = filled.error().message;
    for (const Value* output : imported->graph.outputs) outputs += (outputs.empty() ? "" : ", ") + describe(*output);
  } else {
    problem = imported.error().message;
  }
  bool is_supported = problem.empty();
  double flops = 0;
  for (const auto& [name, count] : counts) flops += count.flops;
  if (command.prints_text()) {
    Table table({"", ""});
    table.add({"model", path});
    table.add({"producer", std::string(proto->producer)});
    for (const auto& [domain, opset] : proto->opsets) {
      table.add({"opset", fmt::format("{} {}", domain.empty() ? "ai.onnx" : domain, opset)});
    }
    table.add({"inputs", inputs});
    table.add({"outputs", outputs});
    table.add(
        {"arithmetic", fmt::format("{:.3f} GFLOP at {}", flops / 1e9, shapes.empty() ? "unknown shapes" : shapes)});
    table.add(
        {"weights", fmt::format("{} tensors, {}", weights.count, format_bytes(static_cast<double>(weights.bytes)))});
    table.add({"sparsity", fmt::format("{:.1f} % zeros; {:.1f} % of groups of four have two or more (2:4)",
                                       100 * share(weights.zeros, weights.elements),
                                       100 * share(weights.eligible_groups, weights.groups))});
    print_out(table.to_string() + "\n" + ops_text(counts));
    if (options.regions && !weights.products.empty()) print_out("\n" + product_weights_text(weights.products));
    print_out(is_supported ? "\neverything in this model is supported\n" : "");
  }
  Json opsets = Json::object(), weight = Json::object(), json = Json::object();
  for (const auto& [domain, opset] : proto->opsets) opsets.set(domain.empty() ? "ai.onnx" : domain, opset);
  weight.set("count", weights.count)
      .set("bytes", weights.bytes)
      .set("zeros_share", share(weights.zeros, weights.elements));
  weight.set("groups_2_4_share", share(weights.eligible_groups, weights.groups));
  json.set("file", path).set("kind", "onnx").set("producer", proto->producer).set("opsets", std::move(opsets));
  json.set("inputs", inputs).set("outputs", outputs).set("shapes", shapes).set("flops", flops);
  json.set("weights", std::move(weight))
      .set("products", product_weights_json(weights.products))
      .set("ops", ops_json(counts))
      .set("supported", is_supported)
      .set("problem", shortened(problem))
      .set("problems", is_supported ? Json::array() : listed_things(problem));
  HUSSAR_TRY(command.report(std::move(json)));
  if (problem.rfind(path, 0) != 0) problem = path + ": " + problem;
  HUSSAR_CHECK(is_supported, ErrorCode::kInvalidModel, "{}", problem);
  return {};
}

}  // namespace hussar::cli
