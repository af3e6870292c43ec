// Counting arithmetic through OpDef::flops, and bytes.
#include "compile/flops.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include "ops/op_def.h"
#include "plan/kernel.h"
#include "tactics/tactic.h"

namespace hussar {
namespace {

// Reference evaluators touch about this many operations per second on one core of a 2020s x86 server.
constexpr double kReferenceRate = 3e8;
// Vector kernels by level: scalar, AVX2, AVX-512. Deliberately low: memory-bound steps are slower than GEMM.
constexpr double kKernelRates[] = {2e9, 2e10, 4e10};

double count(const Node& node) {
  const OpDef* op = find_op(node.op);
  const Value* output = node.output();
  auto shape = output != nullptr ? output->static_shape() : std::nullopt;
  if (op != nullptr && op->flops != nullptr) return op->flops(node);
  return shape ? static_cast<double>(shape->elements()) : 0;
}

}  // namespace

std::map<std::string, int64_t, std::less<>> bind_symbols(const PlanGraph& graph, const std::vector<Shape>& shapes) {
  std::map<std::string, int64_t, std::less<>> sizes;
  for (size_t i = 0; i < graph.inputs.size() && i < shapes.size(); ++i) {
    const auto& dims = graph.values[graph.inputs[i]].dims;
    for (int axis = 0; dims && axis < shapes[i].rank() && axis < static_cast<int>(dims->size()); ++axis) {
      std::vector<std::string> symbols = (*dims)[axis].symbols();
      if (symbols.size() == 1 && (*dims)[axis] == Dim::symbol(symbols[0])) sizes.emplace(symbols[0], shapes[i][axis]);
    }
  }
  return sizes;
}

// The values of a plan graph with the dimensions that input shapes give them.
static std::vector<Value> bind_values(const PlanGraph& graph, const std::vector<Shape>& input_shapes) {
  auto sizes = bind_symbols(graph, input_shapes);
  auto lookup = [&](std::string_view name) -> std::optional<int64_t> {
    auto it = sizes.find(name);
    return it == sizes.end() ? std::nullopt : std::optional<int64_t>(it->second);
  };
  std::vector<Value> values(graph.values.size());
  for (size_t i = 0; i < values.size(); ++i) {
    const PlanValue& entry = graph.values[i];
    values[i].dtype = entry.dtype;
    if (!entry.dims) continue;
    Dims dims;
    for (const Dim& dim : *entry.dims) {
      if (auto size = dim.evaluate(lookup)) dims.push_back(Dim(*size));
    }
    if (dims.size() == entry.dims->size()) values[i].dims = std::move(dims);
  }
  return values;
}

// A plan's step as a node that knows shapes and dtypes.
static Node node_of(const PlanStep& step, std::vector<Value>& values) {
  Node node;
  node.op = step.op;
  node.attributes = step.attributes;
  for (int32_t input : step.inputs) node.inputs.push_back(input < 0 ? nullptr : &values[input]);
  for (int32_t output : step.outputs) node.outputs.push_back(output < 0 ? nullptr : &values[output]);
  return node;
}

static double bytes_of(const Value* value) {
  auto shape = value == nullptr ? std::nullopt : value->static_shape();
  return shape ? static_cast<double>(shape->elements()) * static_cast<double>(dtype_size(value->dtype)) : 0;
}

// What 2:4 weights have less than dense ones: of every four along k two stay, and four bits name them, once for all
// columns that share a mask.
static double sparse_saving(const Node& node) {
  const int64_t shared = shared_columns(node);
  if (shared == 0) return 0;
  const Shape& shape = node.inputs[1]->constant->shape();
  const int64_t columns = shape[weight_form(node) == WeightForm::kMatrix ? 1 : 0];
  const double groups = static_cast<double>(shape.elements()) / 4;  // of all columns
  const double masks = groups / static_cast<double>(columns) * static_cast<double>((columns + shared - 1) / shared);
  return groups * 2 * static_cast<double>(dtype_size(node.inputs[1]->dtype)) - masks / 2;
}

double node_bytes(const Node& node) {
  double written = 0, read = 0;
  for (const Value* output : node.outputs) written += bytes_of(output);
  for (auto input = node.inputs.begin(); input != node.inputs.end(); ++input) {
    if (std::find(node.inputs.begin(), input, *input) == input) read += bytes_of(*input);
  }
  // They take a part of what they are given.
  if (node.op.starts_with("Gather") || node.op == "Slice") read = std::min(read, written);
  return read + written - sparse_saving(node);
}

std::vector<double> step_bytes(const PlanGraph& graph, const std::vector<Shape>& input_shapes) {
  std::vector<Value> values = bind_values(graph, input_shapes);
  std::vector<double> bytes;
  for (const PlanStep& step : graph.steps) {
    bytes.push_back(step.kernel == "view" ? 0 : node_bytes(node_of(step, values)));
  }
  return bytes;
}

std::vector<double> step_flops(const PlanGraph& graph, const std::vector<Shape>& input_shapes) {
  std::vector<Value> values = bind_values(graph, input_shapes);
  std::vector<double> flops;
  for (const PlanStep& step : graph.steps) {
    const Node node = node_of(step, values);
    const Value* output = node.output();
    auto shape = output != nullptr ? output->static_shape() : std::nullopt;
    if (step.kernel == "view")
      flops.push_back(0);
    else if (step.flops_per_output > 0)
      flops.push_back(shape ? step.flops_per_output * static_cast<double>(shape->elements()) : 0);
    else
      flops.push_back(count(node));
  }
  return flops;
}

std::vector<double> guess_step_seconds(const Plan& plan, const std::vector<Shape>& input_shapes, int isa) {
  std::vector<double> seconds = step_flops(plan.graph, input_shapes);
  for (size_t i = 0; i < seconds.size(); ++i) {
    bool is_reference = plan.graph.steps[i].kernel == kReferenceKernel;
    seconds[i] /= is_reference ? kReferenceRate : kKernelRates[std::min(std::max(isa, 0), 2)];
  }
  return seconds;
}

double guess_seconds(const Plan& plan, const std::vector<Shape>& input_shapes, int isa) {
  std::vector<double> seconds = guess_step_seconds(plan, input_shapes, isa);
  return std::accumulate(seconds.begin(), seconds.end(), 0.0);
}

}  // namespace hussar
