// Scan of opset 8: a batch of sequences, with lengths and directions of their own.
#include <gtest/gtest.h>

#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Tensor floats(const Shape& shape, const std::vector<float>& values) {
  return Tensor::from<float>(DType::kFloat32, shape, values);
}

std::vector<float> elements(const Tensor& tensor) {
  return {tensor.data<float>(), tensor.data<float>() + tensor.elements()};
}

// sum' = sum + x, y = sum' * factor, where `factor` comes from outside of the body.
Message scan_model(const std::vector<int64_t>& directions) {
  Message body = graph({{node("Add", {"sum_in", "x_in"}, {"sum_out"}), node("Mul", {"sum_out", "factor"}, {"scaled"})},
                        {value("sum_in", {}), value("x_in", {})},
                        {value("sum_out", {}), value("scaled", {})},
                        {}});
  std::vector<Message> attributes = {graph_attribute("body", body), attribute("num_scan_inputs", int64_t{1})};
  if (!directions.empty()) attributes.push_back(attribute("directions", directions));
  return model(
      graph({{node("Scan", {"lengths", "start", "x"}, {"sum", "y"}, attributes)},
             {value("lengths", {2}, DType::kInt64), value("start", {2}), value("x", {2, 3}), value("factor", {})},
             {value("sum", {2}), value("y", {2, 3})},
             {}}),
      8);
}

void expect_scan(const std::vector<int64_t>& directions, const std::vector<int64_t>& lengths,
                 const std::vector<float>& sum, const std::vector<float>& y) {
  auto plan = build(scan_model(directions).bytes());
  ASSERT_TRUE(plan) << plan.error().message;
  auto session = Session::create(*plan);
  ASSERT_TRUE(session) << session.error().message;
  auto outputs = (*session)->run_in_order(std::vector<Tensor>{Tensor::from<int64_t>(DType::kInt64, {2}, lengths),
                                                              floats({2}, {0, 100}),
                                                              floats({2, 3}, {1, 2, 3, 10, 20, 30}), floats({}, {2})});
  ASSERT_TRUE(outputs) << outputs.error().message;
  EXPECT_EQ(elements((*outputs)[0]), sum);
  EXPECT_EQ((*outputs)[1].shape(), (Shape{2, 3}));
  EXPECT_EQ(elements((*outputs)[1]), y);
}

TEST(Scan, Opset8WithLengths) { expect_scan({}, {3, 2}, {6, 130}, {2, 6, 12, 220, 260, 0}); }

// A reversed sequence begins at its own end; scan outputs are in the order of the iterations.
TEST(Scan, Opset8Reversed) { expect_scan({1}, {3, 2}, {6, 130}, {6, 10, 12, 240, 260, 0}); }

}  // namespace
}  // namespace hussar
