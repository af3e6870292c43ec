// Counting arithmetic through OpDef::flops.
#include "compile/flops.h"

#include <deque>
#include <numeric>

#include "ops/op_def.h"
#include "plan/kernel.h"

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

std::vector<double> step_bytes(const PlanGraph& graph, const std::vector<Shape>& input_shapes) {
  const std::vector<Value> values = bind_values(graph, input_shapes);
  auto bytes_of = [&](int32_t index) {
    auto shape = index < 0 ? std::nullopt : values[index].static_shape();
    return shape ? static_cast<double>(shape->elements()) * static_cast<double>(dtype_size(values[index].dtype)) : 0;
  };
  std::vector<double> bytes;
  for (const PlanStep& step : graph.steps) {
    double written = 0, read = 0;
    for (int32_t output : step.outputs) written += bytes_of(output);
    for (int32_t input : step.inputs) read += bytes_of(input);
    // They take a part of what they are given.
    if (step.op.starts_with("Gather") || step.op == "Slice") read = std::min(read, written);
    bytes.push_back(step.kernel == "view" ? 0 : read + written);
  }
  return bytes;
}

std::vector<double> step_flops(const PlanGraph& graph, const std::vector<Shape>& input_shapes) {
  std::vector<Value> values = bind_values(graph, input_shapes);
  std::vector<double> flops;
  for (const PlanStep& step : graph.steps) {
    Node node;
    node.op = step.op;
    node.attributes = step.attributes;
    for (int32_t input : step.inputs) node.inputs.push_back(input < 0 ? nullptr : &values[input]);
    for (int32_t output : step.outputs) node.outputs.push_back(output < 0 ? nullptr : &values[output]);
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
