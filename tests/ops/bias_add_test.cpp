// com.microsoft.BiasAdd, which the backend tests of ONNX do not cover.
#include <gtest/gtest.h>

#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Message bias_add_model(int64_t bias_size) {
  return model(graph({{node("BiasAdd", {"x", "b", "s"}, {"y"}, {}, "com.microsoft")},
                      {value("x", {1, 2, 3}), value("b", {bias_size}), value("s", {1, 2, 3})},
                      {any_shape("y")},
                      {}}));
}

TEST(BiasAdd, AddsBiasAndSkip) {
  auto plan = build(bias_add_model(3).bytes());
  ASSERT_TRUE(plan) << plan.error().message;
  auto session = Session::create(*plan);
  ASSERT_TRUE(session);
  const float x[] = {0, 1, 2, 3, 4, 5}, bias[] = {10, 20, 30}, skip[] = {.5F, .5F, .5F, .25F, .25F, .25F};
  std::vector<Tensor> inputs = {Tensor::from<float>(DType::kFloat32, {1, 2, 3}, x),
                                Tensor::from<float>(DType::kFloat32, {3}, bias),
                                Tensor::from<float>(DType::kFloat32, {1, 2, 3}, skip)};
  auto outputs = (*session)->run_in_order(inputs);
  ASSERT_TRUE(outputs) << outputs.error().message;
  for (int i = 0; i < 6; ++i) EXPECT_EQ((*outputs)[0].data<float>()[i], x[i] + bias[i % 3] + skip[i]);
}

TEST(BiasAdd, ShapesThatDoNotFit) { EXPECT_FALSE(build(bias_add_model(4).bytes())); }

}  // namespace
}  // namespace hussar
