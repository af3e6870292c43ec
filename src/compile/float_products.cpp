#include "compile/float_products.h"

#include <algorithm>

#include "base/error.h"
#include "compile/quantization.h"
#include "ops/refusals.h"
#include "passes/support/products.h"

namespace hussar {

static bool is_in_floats(const PlanGraph& graph, const PlanStep& step) {
  return !step.inputs.empty() && step.inputs[0] >= 0 &&
         multiplies_floats(step.op, graph.values[static_cast<size_t>(step.inputs[0])].dtype);
}

static std::string reason_of(const PlanStep& step) { return reason_in(step.report).value_or(""); }

std::vector<FloatProduct> float_products(const PlanGraph& graph) {
  std::vector<FloatProduct> products;
  for (const PlanStep& step : graph.steps) {
    if (is_in_floats(graph, step)) products.push_back({step.name, step.op, reason_of(step)});
    for (const auto& [name, body] : step.bodies) {
      std::vector<FloatProduct> inner = float_products(*body);
      std::move(inner.begin(), inner.end(), std::back_inserter(products));
    }
  }
  return products;
}

void explain_float_products(PlanGraph& graph, const std::map<std::string, std::string, std::less<>>& reasons,
                            bool fp8) {
  for (PlanStep& step : graph.steps) {
    if (is_in_floats(graph, step) && reason_of(step).empty()) {
      for (const std::string& part : parts_of_name(step.name)) {
        const auto it = reasons.find(part);
        if (it == reasons.end()) continue;
        step.report += "\n" + no_int8(it->second, fp8);
        break;
      }
    }
    for (auto& [name, body] : step.bodies) explain_float_products(*body, reasons, fp8);
  }
}

std::string describe(const FloatProduct& product) {
  return fmt::format("{} ({}): {}", product.name, product.op,
                     product.reason.empty() ? "nothing tells why" : product.reason);
}

Status check_all_int8(const std::vector<FloatProduct>& products) {
  std::vector<std::string> lines;
  for (const FloatProduct& product : products) {
    if (product.reason != kAskedFor) lines.push_back(describe(product));
  }
  HUSSAR_CHECK(lines.empty(), ErrorCode::kAccuracy,
               "--strict: {} steps that multiply would stay in floats (--precision NAME=fp32 allows it to single "
               "ones):{}",
               lines.size(), list_lines(lines, lines.size()));
  return {};
}

std::vector<std::string> parts_of_name(const std::string& name) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= name.size();) {
    const size_t end = std::min(name.find('+', begin), name.size());
    parts.push_back(name.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

}  // namespace hussar
