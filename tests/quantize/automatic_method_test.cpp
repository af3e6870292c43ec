// Which method kAuto stands for.
#include <gtest/gtest.h>

#include "quantize/calibration.h"

namespace hussar {
namespace {

Method automatic(const std::map<Method, double>& errors) {
  TensorCalibration tensor;
  tensor.output_errors = errors;
  return automatic_method(tensor);
}

TEST(AutomaticMethod, ClippingMustPayClearly) {
  EXPECT_EQ(automatic({{Method::kMinMax, 1}, {Method::kMse, 0.95}, {Method::kEntropy, 0.97}}), Method::kMinMax);
  EXPECT_EQ(automatic({{Method::kMinMax, 1}, {Method::kMse, 0.8}, {Method::kEntropy, 0.7}}), Method::kEntropy);
  EXPECT_EQ(automatic({{Method::kMinMax, 1}, {Method::kMse, 0.8}, {Method::kEntropy, 0.8}}), Method::kMse);
}

TEST(AutomaticMethod, WithoutErrorsIsThatOfTheElements) {
  EXPECT_EQ(automatic({}), Method::kMse);
  EXPECT_EQ(automatic({{Method::kEntropy, 0.5}, {Method::kPercentile999, 0.6}}), Method::kEntropy);
}

}  // namespace
}  // namespace hussar
