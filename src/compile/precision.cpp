#include "compile/precision.h"

#include <algorithm>

#include "compile/keep_fp32.h"
#include "passes/support/fake_quantize.h"
#include "plan/kernel.h"

namespace hussar {

// Or FP8.
static bool is_int8(const PlanStep& step) { return step.op.starts_with("hussar.Quantized"); }

DType precision_of(const PlanGraph& graph, const PlanStep& step) {
  if (step.kernel == "view" || step.outputs.empty() || step.outputs[0] < 0) return DType::kUndefined;
  if (is_int8(step)) {
    const bool is_fp8 = step.inputs[0] >= 0 && graph.values[static_cast<size_t>(step.inputs[0])].dtype == kFp8;
    return is_fp8 ? kFp8 : DType::kInt8;
  }
  // Its results are bytes, what it multiplies is what its filter is.
  if (step.op == "hussar.ConvToBytes" && step.inputs.size() > 1 && step.inputs[1] >= 0)
    return graph.values[static_cast<size_t>(step.inputs[1])].dtype;
  const Kernel* kernel = find_kernel(step.kernel);
  if (kernel != nullptr && kernel->multiplies_in != DType::kUndefined) return kernel->multiplies_in;
  return graph.values[static_cast<size_t>(step.outputs[0])].dtype;
}

static bool multiplies_in_tf32(const PlanStep& step) { return step.attributes.get_int(kTf32Attribute, 0) != 0; }

std::string precision_name(const PlanGraph& graph, const PlanStep& step) {
  const DType precision = precision_of(graph, step);
  if (precision == DType::kUndefined) return "";
  // Who only converts to it is no product.
  if (precision == kFp8 && is_int8(step)) return "fp8";
  return multiplies_in_tf32(step) ? "tf32" : std::string(dtype_name(precision));
}

static int64_t count_steps(const PlanGraph& graph, bool (*wanted)(const PlanStep&)) {
  int64_t count = 0;
  for (const PlanStep& step : graph.steps) {
    count += wanted(step) ? 1 : 0;
    for (const auto& [name, body] : step.bodies) count += count_steps(*body, wanted);
  }
  return count;
}

int64_t count_int8_steps(const PlanGraph& graph) { return count_steps(graph, is_int8); }

int64_t count_quantized_in_model(const PlanGraph& graph) {
  return count_steps(graph,
                     [](const PlanStep& step) { return step.report.find(kQuantizedInModel) != std::string::npos; });
}

// What the model calls the value: the halves of one of its outputs have had another name since they were made floats.
static const std::string& name_in_model(const PlanGraph& graph, int32_t value) {
  for (const PlanStep& step : graph.steps) {
    if (step.op != "Cast" || step.inputs.empty() || step.inputs[0] != value || step.outputs.empty()) continue;
    const bool is_output =
        std::find(graph.outputs.begin(), graph.outputs.end(), step.outputs[0]) != graph.outputs.end();
    if (is_output) return graph.values[static_cast<size_t>(step.outputs[0])].name;
  }
  return graph.values[static_cast<size_t>(value)].name;
}

static void add_half_steps(const PlanGraph& graph, DType half, std::vector<HalfStep>& list) {
  for (const PlanStep& step : graph.steps) {
    const Kernel* kernel = find_kernel(step.kernel);
    if (kernel != nullptr && !step.outputs.empty() && step.outputs[0] >= 0) {
      // A device keeps everything in halves, a CPU multiplies in them.
      const bool keeps = kernel->place == Place::kDevice && step.op != "Cast" && precision_of(graph, step) == half;
      if (keeps || kernel->multiplies_in == half) list.push_back({step.name, name_in_model(graph, step.outputs[0])});
    }
    for (const auto& [name, body] : step.bodies) add_half_steps(*body, half, list);
  }
}

std::vector<HalfStep> half_steps(const PlanGraph& graph, DType half) {
  std::vector<HalfStep> list;
  add_half_steps(graph, half, list);
  return list;
}

int64_t count_half_steps(const PlanGraph& graph, DType half) {
  return static_cast<int64_t>(half_steps(graph, half).size());
}

std::string_view half_name(DType half) { return half == DType::kBFloat16 ? "BF16" : "FP16"; }

int64_t count_tf32_steps(const PlanGraph& graph) { return count_steps(graph, multiplies_in_tf32); }

double tolerance_of_floats(const PlanGraph& graph) {
  const auto has = [&](DType half) {
    return count_half_steps(graph, half) > 0 ||
           std::any_of(graph.steps.begin(), graph.steps.end(), [&](const PlanStep& step) {
             const Kernel* kernel = find_kernel(step.kernel);
             return kernel != nullptr && kernel->place == Place::kDevice && precision_of(graph, step) == half;
           });
  };
  if (has(DType::kBFloat16)) return kBf16Tolerance;
  return count_tf32_steps(graph) > 0 || has(DType::kFloat16) ? kFp16Tolerance : kFp32Tolerance;
}

bool has_int8_steps(const PlanGraph& graph) {
  return std::any_of(graph.steps.begin(), graph.steps.end(), [](const PlanStep& step) {
    const Kernel* kernel = find_kernel(step.kernel);
    return kernel != nullptr && kernel->multiplies_in == DType::kInt8;
  });
}

bool has_fp8_steps(const PlanGraph& graph) {
  return std::any_of(graph.steps.begin(), graph.steps.end(),
                     [&](const PlanStep& step) { return is_int8(step) && precision_of(graph, step) == kFp8; });
}

bool names_part(std::string_view whole, std::string_view part) {
  for (size_t at = whole.find(part); at != std::string_view::npos; at = whole.find(part, at + 1)) {
    const size_t end = at + part.size();
    if ((at == 0 || whole[at - 1] == '+') && (end == whole.size() || whole[end] == '+')) return true;
  }
  return false;
}

Problem KeptNodes::restrict(const Problem& problem) {
  Problem restricted = problem;
  if (problem.output() != nullptr && outputs_.count(problem.output()->name) > 0) {
    restricted.target.no_fp16 = restricted.target.no_tf32 = kTooInexact;
    restricted.target.no_bf16 = kTooInexactInBf16;
  }
  for (const std::string& name : names_) {
    if (!names_part(problem.node.name, name)) continue;
    unseen_.erase(name);
    restricted.target.no_fp16 = restricted.target.no_bf16 = restricted.target.no_tf32 = "--precision keeps it in FP32";
  }
  return restricted;
}

}  // namespace hussar
