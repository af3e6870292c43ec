// Plans for the test device, and small models whose steps are on both sides.
#pragma once
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "backends/cuda/emulation.h"
#include "tests/support/emulated_device.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar::tests {

inline CompileOptions for_device() {
  const std::string& target = use_test_device();
  CompileOptions options;
  options.threads = 1;
  options.place = Place::kDevice;
  options.sm = std::atoi(target.c_str() + target.rfind('_') + 1);
  return options;
}

// Weights between -0.22 and 0.22.
inline std::vector<float> numbers(size_t count, int step) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.02F * static_cast<float>(static_cast<int>(i) * step % 23 - 11);
  return values;
}

// The first output, of floats, of a run with made-up inputs; empty where it fails.
inline std::vector<float> first_output_of(const std::shared_ptr<const Plan>& plan) {
  auto session = Session::create(plan);
  EXPECT_TRUE(session) << session.error().message;
  auto inputs = make_inputs(*plan, 1, 1, 1000000);
  if (!session || !inputs) return {};
  auto outputs = (*session)->run_in_order(*inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  if (!outputs) return {};
  const Tensor& y = (*outputs)[0];
  return {y.data<float>(), y.data<float>() + y.elements()};
}

// Their largest difference, in parts of the largest number; infinity where there is nothing to compare.
inline double largest_difference(const std::vector<float>& outputs, const std::vector<float>& wanted) {
  if (outputs.size() != wanted.size() || outputs.empty()) return INFINITY;
  double largest = 0, most = 0;
  for (size_t i = 0; i < wanted.size(); ++i) {
    largest = std::fmax(largest, std::fabs(wanted[i]));
    most = std::fmax(most, std::fabs(outputs[i] - wanted[i]));
  }
  return most / largest;
}

// The plan for a GPU of Hopper that is not there; its code is not needed.
inline std::shared_ptr<const Plan> plan_for_hopper(const Message& model, CompileOptions options) {
  static const cuda::Emulation no_compiler = {
      nullptr, [](const std::string&, int) -> Result<Tensor> { return Tensor(DType::kUInt8, {1}); }};
  options.threads = 1;
  options.place = Place::kDevice;
  options.sm = 90;
  const cuda::Emulation* usual = cuda::emulation();
  cuda::set_emulation(&no_compiler);
  auto plan = build(model.bytes(), options);
  cuda::set_emulation(usual);
  EXPECT_TRUE(plan) << plan.error().message;
  return plan ? *plan : nullptr;
}

// Between two steps of the device lies one of the host: a Hardmax, which has no kernel.
inline Message host_between_model() {
  return model(graph({{node("Sin", {"x"}, {"a"}), node("Hardmax", {"a"}, {"b"}), node("Cos", {"b"}, {"c"}),
                       node("Add", {"c", "a"}, {"d"}), node("Add", {"d", "x"}, {"y"})},
                      {value("x", {"N", 7})},
                      {any_shape("y")},
                      {}}));
}

// Numbers from zero on, as many as the input has rows: made of shapes alone, by steps that later runs leave out.
inline Message settled_model() {
  return model(graph(
      {{node("Shape", {"x"}, {"s"}), node("Gather", {"s", "first"}, {"n"}), node("Range", {"zero", "n", "one"}, {"r"}),
        node("Cast", {"r"}, {"f"}, {attribute("to", static_cast<int64_t>(DType::kFloat32))}),
        node("Unsqueeze", {"f", "axes"}, {"u"}), node("Sin", {"x"}, {"a"}), node("Add", {"a", "u"}, {"y"})},
       {value("x", {"N", 7})},
       {any_shape("y")},
       {tensor_of("first", DType::kInt64, {}, std::vector<int64_t>{0}),
        tensor_of("zero", DType::kInt64, {}, std::vector<int64_t>{0}),
        tensor_of("one", DType::kInt64, {}, std::vector<int64_t>{1}),
        tensor_of("axes", DType::kInt64, {1}, std::vector<int64_t>{1})}}));
}

// One output is the input.
inline Message identity_model() {
  return model(graph({{node("Identity", {"x"}, {"y"}), node("Sin", {"x"}, {"z"})},
                      {value("x", {"N", 7})},
                      {any_shape("y"), any_shape("z")},
                      {}}));
}

}  // namespace hussar::tests
