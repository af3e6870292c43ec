// Matrix products are judged row by row: few tokens with most of the power do not decide alone, and none is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>

#include "base/file.h"
#include "compile/calibrate.h"
#include "compile/optimize.h"
#include "compile/output_error.h"
#include "onnx/import.h"
#include "tests/support/folder.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;

constexpr int64_t kTokens = 128, kElements = 64, kOutputs = 48;
// The output that the first element alone gives.
constexpr int64_t kOwnOutput = 5;

// [kElements][kOutputs]
std::vector<float> weights_of_one_output() {
  std::mt19937 random(3);
  std::vector<float> w(kElements * kOutputs);
  for (float& weight : w) weight = std::normal_distribution<float>()(random);
  for (int64_t i = 0; i < kElements; ++i) w[static_cast<size_t>(i * kOutputs + kOwnOutput)] = i == 0 ? 1.0F : 0.0F;
  for (int64_t k = 0; k < kOutputs; ++k) w[static_cast<size_t>(k)] = k == kOwnOutput ? 1.0F : 0.0F;
  return w;
}

Message product() {
  return model(graph({{node("MatMul", {"x", "w"}, {"y"})},
                      {value("x", {"N", kTokens, kElements})},
                      {any_shape("y")},
                      {tensor_of("w", DType::kFloat32, {kElements, kOutputs}, weights_of_one_output())}}));
}

// One token of each sample, not always the same, has a first element of this size.
Tensor tokens(int64_t samples, uint32_t seed, float largest) {
  std::mt19937 random(seed);
  Tensor x(DType::kFloat32, {samples, kTokens, kElements});
  for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = std::normal_distribution<float>()(random);
  for (int64_t i = 0; i < samples; ++i) {
    const int64_t token = std::uniform_int_distribution<int64_t>(0, kTokens - 1)(random);
    x.data<float>()[(i * kTokens + token) * kElements] = largest * (1 + 0.01F * static_cast<float>(i % 7));
  }
  return x;
}

class TokenRows : public ::testing::Test {
 protected:
  void SetUp() override {
    auto imported = onnx::import_bytes(product().bytes(), nullptr, ".");
    ASSERT_TRUE(imported);
    auto optimized = optimize_graph(std::move(imported->graph), {});
    ASSERT_TRUE(optimized) << optimized.error().message;
    graph_ = std::move(*optimized);
    auto plan = build(product().bytes());
    ASSERT_TRUE(plan);
    auto session = Session::create(*plan);
    ASSERT_TRUE(session);
    session_ = std::move(*session);
  }

  ProductSamples sampled(ProductSampler sampler, const Tensor& x) {
    const int64_t size = kTokens * kElements;
    for (int64_t i = 0; i < x.shape()[0]; ++i) {
      Tensor sample(DType::kFloat32, {1, kTokens, kElements});
      std::copy_n(x.data<float>() + i * size, size, sample.data<float>());
      EXPECT_TRUE(sampler.run(*session_, {{sample}, 1, "x", static_cast<uint64_t>(i)}));
    }
    return sampler.take()[0];
  }

  // Every row that there is.
  ProductSamples all_rows(const Tensor& x) {
    ProductSamples samples = sampled(ProductSampler(graph_, 1), x);
    samples.rows.assign(x.data<float>(), x.data<float>() + x.elements());
    samples.halves.assign(static_cast<size_t>(x.elements() / kElements), 0);
    samples.stands_for.assign(samples.halves.size(), 1);
    return samples;
  }

  Graph graph_;
  std::unique_ptr<Session> session_;
};

TEST_F(TokenRows, TheLargestOfEveryRunIsSeen) {
  const Tensor x = tokens(32, 1, 40);
  const ProductSamples samples = sampled(ProductSampler(graph_, 32), x);
  ASSERT_EQ(samples.count(), std::ssize(samples.stands_for));
  EXPECT_LT(samples.count(), 32 * kTokens / 4);
  double stand_for = 0, large = 0;
  for (int64_t row = 0; row < samples.count(); ++row) {
    stand_for += samples.stands_for[static_cast<size_t>(row)];
    if (samples.row(row)[0] >= 40) large += samples.stands_for[static_cast<size_t>(row)];
  }
  EXPECT_EQ(stand_for, 32 * kTokens);
  EXPECT_EQ(large, 32);
  // Those who fit weights to rows want them as they come.
  const ProductSamples plain = sampled(ProductSampler(sampled_products(graph_), 32), x);
  EXPECT_LT(plain.count(), samples.count());
}

TEST_F(TokenRows, TokensOfMuchPowerDoNotDecide) {
  ProductSamples samples = all_rows(tokens(4, 1, 3));
  const QuantParams fine{8.0F / 255, 128, DType::kUInt8};
  const OutputError before(samples);
  const double usual = before.noise(fine) / before.power();
  // Every 64th token is 100 times as large, with errors in proportion.
  for (int64_t row = 0; row < samples.count(); row += 64) {
    for (int64_t i = 0; i < kElements; ++i) {
      float& element = samples.rows[static_cast<size_t>(row * kElements + i)];
      element = 100 * std::round(element / fine.scale) * fine.scale;
    }
  }
  // All in steps of 100 ranges: these rows are exact but for the weights, the others are lost.
  const QuantParams coarse{800.0F / 255, 128, DType::kUInt8};
  const OutputError after(samples);
  EXPECT_GT(after.noise(coarse) / after.power(), 1000 * usual);
}

TEST_F(TokenRows, NoTokenIsLostForALittleMoreOfTheOthers) {
  const ProductSamples all = all_rows(tokens(4, 1, 60));
  const OutputError error(all);
  const QuantParams whole{68.0F / 255, 16, DType::kUInt8}, clipped{17.0F / 255, 64, DType::kUInt8};
  // 16 times less noise in 127 of 128 rows; a quarter of what the last one was.
  EXPECT_GT(error.noise(clipped), 3 * error.noise(whole));
}

// What is clipped of few tokens is missing in their outputs, and in no others.
TEST_F(TokenRows, BiasesOfAllTokensDoNotPayForFew) {
  Folder folder;
  const std::string bytes = product().str();
  ASSERT_TRUE(write_file_atomically(folder.file("m.onnx"), {std::as_bytes(std::span(bytes))}));
  class Once : public DataSource {
   public:
    Result<bool> next(DataBatch& batch) override {
      if (is_over_) return false;
      batch.tensors = {{"x", tokens(64, 1, 1000)}};
      is_over_ = true;
      return true;
    }

   private:
    bool is_over_ = false;
  } data;
  CalibrateOptions options;
  options.method = Method::kPercentile999;
  auto calibration = calibrate(folder.file("m.onnx"), data, options);
  ASSERT_TRUE(calibration) << calibration.error().message;
  EXPECT_LT(calibration->tensors["x"].range.high, 10);
  // Of 1000, one token of 128.
  const std::vector<float>& bias = calibration->products["y"].bias;
  EXPECT_LT(bias.empty() ? 0 : std::fabs(bias[kOwnOutput]), 0.5);
}

}  // namespace
}  // namespace hussar
