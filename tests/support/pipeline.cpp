// Building and running models for tests.
#include "tests/support/pipeline.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "onnx/import.h"
#include "tensor/convert.h"

namespace hussar::tests {

std::pair<std::span<const std::byte>, std::shared_ptr<const void>> aligned_copy(std::span<const std::byte> bytes) {
  auto copy = std::make_shared<Tensor>(DType::kUInt8, Shape{static_cast<int64_t>(bytes.size())});
  if (!bytes.empty()) std::memcpy(copy->raw(), bytes.data(), bytes.size());
  return {{copy->raw(), bytes.size()}, copy};
}

Result<std::shared_ptr<const Plan>> reload(const Plan& plan) {
  auto [bytes, owner] = aligned_copy(encode_plan(plan));
  return decode_plan(bytes, owner);
}

Result<std::shared_ptr<const Plan>> build(std::span<const std::byte> model, const CompileOptions& options) {
  auto [bytes, owner] = aligned_copy(model);
  onnx::ImportedModel imported = HUSSAR_TRY(onnx::import_bytes(bytes, owner, ""));
  Plan plan = HUSSAR_TRY(compile_graph(std::move(imported.graph), options));
  return reload(plan);
}

namespace {

int64_t extent(const Dim& dim, int64_t symbol) {
  return dim.evaluate([&](std::string_view) { return std::optional<int64_t>(symbol); }).value_or(-1);
}

}  // namespace

std::optional<std::vector<Tensor>> make_inputs(const Plan& plan, uint32_t seed, int64_t symbol, int64_t max_elements) {
  std::mt19937 random(seed);
  std::vector<Tensor> inputs;
  for (int32_t index : plan.graph.inputs) {
    const PlanValue& value = plan.graph.values[index];
    Shape shape;
    for (const Dim& dim : value.dims.value_or(Dims{Dim(2), Dim(3)})) shape.push_back(extent(dim, symbol));
    auto bytes = bytes_needed(value.dtype, shape);
    if (!bytes || shape.elements() > max_elements) return std::nullopt;
    Tensor tensor(value.dtype, shape);
    for (int64_t i = 0; i < tensor.elements(); ++i) {
      double number = is_floating(value.dtype) ? std::uniform_real_distribution<double>(-2, 2)(random)
                                               : static_cast<double>(random() % 3);
      store_elements<double>(tensor, i, 1, &number);
    }
    inputs.push_back(std::move(tensor));
  }
  return inputs;
}

double largest_value(const PlanGraph& graph, int64_t symbol) {
  double largest = 0;
  for (const PlanValue& value : graph.values) {
    double elements = 1;
    for (const Dim& dim : value.dims.value_or(Dims())) elements *= static_cast<double>(extent(dim, symbol));
    largest = std::max(largest, elements);
  }
  for (const PlanStep& step : graph.steps) {
    for (const auto& [name, body] : step.bodies) largest = std::max(largest, largest_value(*body, symbol));
  }
  return largest;
}

}  // namespace hussar::tests
