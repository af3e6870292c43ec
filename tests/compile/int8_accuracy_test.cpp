// What makes INT8 more exact: ranges by output error, corrected biases, outlier channels in the weights.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>

#include "base/file.h"
#include "compile/calibrate.h"
#include "compile/calibration_samples.h"
#include "compile/optimize.h"
#include "compile/output_error.h"
#include "compile/quantization.h"
#include "onnx/import.h"
#include "quantize/calibration_file.h"
#include "tests/support/folder.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;

using Draw = std::function<float(std::mt19937&)>;
float normal(std::mt19937& random) { return std::normal_distribution<float>()(random); }

Tensor drawn(const Shape& shape, uint32_t seed, const Draw& draw) {
  std::mt19937 random(seed);
  Tensor x(DType::kFloat32, shape);
  for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = draw(random);
  return x;
}

Message weights(const char* name, const std::vector<int64_t>& dims, uint32_t seed, const Draw& draw = normal) {
  Tensor values = drawn(Shape(std::span(dims)), seed, draw);
  return tensor_of(name, DType::kFloat32, dims,
                   std::vector<float>(values.data<float>(), values.data<float>() + values.elements()));
}

// Breaks off after `most` batches.
class Batches : public DataSource {
 public:
  explicit Batches(std::vector<Tensor> tensors, size_t most = SIZE_MAX) : tensors_(std::move(tensors)), most_(most) {}
  Result<bool> next(DataBatch& batch) override {
    if (next_ == most_) return fail(ErrorCode::kUsage, "unplugged");
    if (next_ == tensors_.size()) return false;
    batch.tensors = {{"x", tensors_[next_++]}};
    return true;
  }

 private:
  std::vector<Tensor> tensors_;
  size_t most_, next_ = 0;
};

struct Case {
  explicit Case(const Message& model) : bytes(model.str()) {
    EXPECT_TRUE(write_file_atomically(path(), {std::as_bytes(std::span(bytes))}));
  }
  std::string path() const { return folder.file("m.onnx"); }
  Result<Calibration> calibrated(std::vector<Tensor> tensors, CalibrateOptions options = {}, size_t most = SIZE_MAX) {
    Batches batches(std::move(tensors), most);
    return calibrate(path(), batches, options);
  }
  // In FP32 without a calibration; `kept` stays in FP32.
  std::shared_ptr<const Plan> plan(const Calibration* calibration, const std::string& kept = "",
                                   const NamedShapes& shapes = {}) {
    CompileOptions options;
    options.shapes = shapes;
    if (calibration != nullptr) {
      auto quantization = quantization_of(*calibration, calibration->method);
      if (!kept.empty()) quantization->float_nodes[kept] = "asked for";
      options.quantization = quantization;
    }
    auto plan = build(std::as_bytes(std::span(bytes)), options);
    EXPECT_TRUE(plan) << plan.error().message;
    return *plan;
  }
  // The outputs.
  std::vector<Tensor> run(const Tensor& x, const Calibration* calibration, const std::string& kept = "") {
    auto session = Session::create(plan(calibration, kept));
    auto outputs = (*session)->run_in_order({&x, 1});
    EXPECT_TRUE(outputs) << outputs.error().message;
    std::vector<Tensor> copies;
    for (const Tensor& output : *outputs) copies.push_back(output.clone());
    return copies;
  }

  Folder folder;
  std::string bytes;
};

double decibels(const Tensor& exact, const Tensor& other) {
  double signal = 0, noise = 0;
  for (int64_t i = 0; i < exact.elements(); ++i) {
    const double a = exact.data<float>()[i], b = other.data<float>()[i];
    signal += a * a;
    noise += (a - b) * (a - b);
  }
  return 10 * std::log10(signal / noise);
}

double mean_difference(const Tensor& a, const Tensor& b) {
  double sum = 0;
  for (int64_t i = 0; i < a.elements(); ++i) sum += double(a.data<float>()[i]) - b.data<float>()[i];
  return sum / static_cast<double>(a.elements());
}

Message product(const std::vector<Message>& before = {}, const char* input = "x") {
  std::vector<Message> nodes = before;
  nodes.push_back(node("MatMul", {input, "w"}, {"y"}));
  return model(graph({nodes, {value("x", {"N", 16, 64})}, {any_shape("y")}, {weights("w", {64, 24}, 3)}}));
}

TEST(Int8Accuracy, AutoKeepsRareLargeValuesThatEntropyClips) {
  Case test(product());
  auto calibration = test.calibrated({drawn({64, 16, 64}, 1, [](std::mt19937& random) {
    return std::uniform_real_distribution<>()(random) < 0.0002 ? 30.0F : normal(random);
  })});
  ASSERT_TRUE(calibration) << calibration.error().message;
  const TensorCalibration& x = calibration->tensors["x"];
  ASSERT_EQ(x.output_errors.size(), 6U);
  EXPECT_GT(x.output_errors.at(Method::kEntropy), 3 * x.output_errors.at(x.range.method));
  EXPECT_GT(x.output_errors.at(Method::kPercentile999), 3 * x.output_errors.at(x.range.method));
  EXPECT_GT(x.range.high, 25);
  for (const auto& [method, error] : x.output_errors) EXPECT_GE(error, x.output_errors.at(x.range.method));
}

TEST(Int8Accuracy, AutoOfAReluIsNotMisledByZeros) {
  Case test(product({node("Relu", {"x"}, {"r"})}, "r"));
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration) << calibration.error().message;
  const TensorCalibration& r = calibration->tensors["r"];
  EXPECT_EQ(r.range.low, 0);
  EXPECT_GT(r.range.high, 3);
  // No product reads the output: nothing is known of its errors.
  EXPECT_TRUE(calibration->tensors["y"].output_errors.empty());
  EXPECT_EQ(calibration->tensors["y"].range.method, Method::kMse);
}

// A channel that one weight alone reads may clip what would cost elsewhere.
TEST(Int8Accuracy, AutoLooksAtWhatTheWeightsMakeOfErrors) {
  auto outlier = [](const Shape& shape) {
    Tensor x = drawn(shape, 1, normal);
    for (int64_t i = 0; i < x.elements(); i += 64) x.data<float>()[i] *= 100;
    return x;
  };
  Tensor w = drawn({64, 24}, 3, normal);
  std::fill_n(w.data<float>(), 24, 0.0F);
  Case test(model(graph({{node("MatMul", {"x", "w"}, {"y"})},
                         {value("x", {"N", 16, 64})},
                         {any_shape("y")},
                         {tensor_of("w", DType::kFloat32, {64, 24},
                                    std::vector<float>(w.data<float>(), w.data<float>() + w.elements()))}})));
  auto calibration = test.calibrated({outlier({40, 16, 64})});
  ASSERT_TRUE(calibration) << calibration.error().message;
  const auto& errors = calibration->tensors["x"].output_errors;
  double least = errors.at(calibration->tensors["x"].range.method);
  EXPECT_LE(least, errors.at(Method::kMse));
  EXPECT_LE(least, errors.at(Method::kMinMax));
}

Message convolutions() {
  return model(graph(
      {{node("Conv", {"x", "w"}, {"a"},
             {attribute("pads", std::vector<int64_t>{1, 0, 2, 1}), attribute("group", 2),
              attribute("strides", std::vector<int64_t>{2, 1}), attribute("dilations", std::vector<int64_t>{1, 2})}),
        node("Conv", {"a", "v"}, {"y"}, {attribute("group", 8)})},
       {value("x", {"N", 8, "H", "W"})},
       {any_shape("a"), any_shape("y")},
       {weights("w", {8, 4, 3, 2}, 5), weights("v", {8, 1, 2, 2}, 6)}}));
}

// When every position is taken, the rows times the weights are all outputs.
TEST(Int8Accuracy, RowsAreTheWindowsOfConvolutions) {
  auto imported = onnx::import_bytes(convolutions().bytes(), nullptr, ".");
  ASSERT_TRUE(imported);
  auto optimized = optimize_graph(std::move(imported->graph), {});
  ASSERT_TRUE(optimized) << optimized.error().message;
  auto plan = build(convolutions().bytes());
  ASSERT_TRUE(plan);
  auto session = Session::create(*plan);
  ASSERT_TRUE(session);
  ProductSampler sampler(*optimized, 1);
  const Tensor x = drawn({2, 8, 9, 11}, 1, normal);
  ASSERT_TRUE(sampler.run(**session, {{x}, 2, "x", 7}));
  auto outputs = (*session)->run_in_order({&x, 1});
  ASSERT_TRUE(outputs);
  ASSERT_EQ(sampler.products().size(), 2U);
  for (size_t i = 0; i < 2; ++i) {
    const Tensor& y = (*outputs)[i];
    double power = 0;
    for (int64_t k = 0; k < y.elements(); ++k) power += double(y.data<float>()[k]) * y.data<float>()[k];
    const ProductSamples& product = sampler.products()[i];
    EXPECT_EQ(product.count(), y.elements() / 8);
    EXPECT_NEAR(OutputError(product).power() * static_cast<double>(product.count()), power, 1e-4 * power);
  }
}

TEST(Int8Accuracy, TheFewSamplesDoNotDependOnOrderAndCut) {
  const std::vector<InputFacts> inputs = {{"x", DType::kFloat32, Dims{Dim::symbol("N"), Dim(4)}}};
  const Tensor all = drawn({100, 4}, 1, normal);
  auto part = [&](int64_t first, int64_t count) {
    Tensor rows(DType::kFloat32, {count, 4});
    std::copy_n(all.data<float>() + first * 4, count * 4, rows.data<float>());
    return single_samples({{rows}, count, "x", 0});
  };
  auto hashes = [&](const std::vector<std::pair<int64_t, int64_t>>& cuts) {
    CalibrationSamples samples(inputs);
    for (auto [first, count] : cuts) {
      for (const DataRun& run : part(first, count)) samples.offer(run);
    }
    std::vector<uint64_t> list;
    for (const DataRun& run : samples.runs()) list.push_back(run.hash);
    return list;
  };
  const auto whole = hashes({{0, 100}});
  EXPECT_EQ(whole.size(), 32U);
  EXPECT_EQ(hashes({{60, 40}, {0, 30}, {30, 30}}), whole);
  // A model that takes 3 at a time.
  CalibrationSamples threes({{"x", DType::kFloat32, Dims{Dim(3), Dim(4)}}});
  Tensor nine(DType::kFloat32, {9, 4});
  threes.offer({{nine}, 9, "x", 0});
  ASSERT_EQ(threes.runs().size(), 3U);
  EXPECT_EQ(threes.runs()[0].inputs[0].shape(), (Shape{3, 4}));
}

// More samples than are looked at again, in any order, cut off and gone on with.
TEST(Int8Accuracy, TheResultDependsOnTheDataAlone) {
  Case test(convolutions());
  std::vector<Tensor> tensors;
  for (uint32_t i = 0; i < 50; ++i) tensors.push_back(drawn({1, 8, 6, 7}, i, normal));
  auto whole = test.calibrated(tensors);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->products.size(), 2U);
  const std::string text = encode_calibration(*whole);
  auto reversed = test.calibrated({tensors.rbegin(), tensors.rend()});
  ASSERT_TRUE(reversed);
  EXPECT_EQ(encode_calibration(*reversed), text);
  CalibrateOptions options;
  std::optional<Calibration> kept;
  options.save = [&](const Calibration& calibration) { return kept = calibration, Status(); };
  EXPECT_FALSE(test.calibrated(tensors, options, 30));
  ASSERT_TRUE(kept);
  auto read = decode_calibration(encode_calibration(*kept), "c.json");
  ASSERT_TRUE(read) << read.error().message;
  options.resume = std::move(*read);
  auto resumed = test.calibrated(tensors, options);
  ASSERT_TRUE(resumed) << resumed.error().message;
  EXPECT_EQ(encode_calibration(*resumed), text);
  // Without data: another method, and back.
  auto cache = decode_calibration(text, "c.json");
  ASSERT_TRUE(cache) << cache.error().message;
  decide(*cache, Method::kMinMax);
  EXPECT_EQ(cache->tensors["x"].range.method, Method::kMinMax);
  decide(*cache, Method::kAuto);
  EXPECT_EQ(encode_calibration(*cache), text);
}

// Nine of ten elements are rounded down by 0.4 steps.
TEST(Int8Accuracy, CorrectedBiasesRestoreTheMean) {
  auto biased = [](std::mt19937& random) {
    return std::uniform_int_distribution<>(0, 9)(random) == 0 ? 255.0F : 100.4F;
  };
  Message positive = model(graph({{node("MatMul", {"x", "w"}, {"y"})},
                                  {value("x", {"N", 16, 64})},
                                  {any_shape("y")},
                                  {weights("w", {64, 24}, 3, [](std::mt19937& random) {
                                    return std::uniform_real_distribution<float>(0.5F, 1.5F)(random);
                                  })}}));
  Case test(positive);
  CalibrateOptions options;
  options.method = Method::kMinMax;
  auto calibration = test.calibrated({drawn({64, 16, 64}, 1, biased)}, options);
  ASSERT_TRUE(calibration) << calibration.error().message;
  ASSERT_EQ(calibration->products.size(), 1U);
  const ProductCalibration& product = calibration->products.begin()->second;
  ASSERT_EQ(product.bias.size(), 24U);
  EXPECT_LT(product.corrected_error, 0.2 * product.error);
  const Tensor x = drawn({8, 16, 64}, 2, biased);
  const Tensor exact = test.run(x, nullptr)[0];
  const double corrected = mean_difference(test.run(x, &*calibration)[0], exact);
  Calibration plain = *calibration;
  plain.products.clear();
  const double uncorrected = mean_difference(test.run(x, &plain)[0], exact);
  EXPECT_LT(uncorrected, -15);  // 64 * 0.9 * 0.4 = 23
  EXPECT_LT(std::fabs(corrected), 0.1 * std::fabs(uncorrected));
  // Other ranges, or other weights: what is known of the bias is not true of them.
  calibration->products.begin()->second.scale *= 2;
  EXPECT_EQ(mean_difference(test.run(x, &*calibration)[0], test.run(x, &plain)[0]), 0);
  calibration->products.begin()->second.scale /= 2;
  calibration->products.begin()->second.weights[0] ^= 1;
  EXPECT_EQ(mean_difference(test.run(x, &*calibration)[0], test.run(x, &plain)[0]), 0);
}

// What a product reads and what it gives are concatenated: their bytes have one scale, which is not the one that the
// product asked for.
TEST(Int8Accuracy, BiasesAreNotCorrectedForAScaleThatWasGivenUp) {
  auto small = [](std::mt19937& random) { return 0.45F * normal(random); };
  Case test(model(graph({{node("Conv", {"x", "w"}, {"y"}), node("Conv", {"y", "v"}, {"p"}),
                          node("Concat", {"y", "p"}, {"c"}, {attribute("axis", 1)}), node("Conv", {"c", "u"}, {"z"})},
                         {value("x", {"N", 8, 9, 9})},
                         {any_shape("z")},
                         {weights("w", {8, 8, 1, 1}, 5, small), weights("v", {8, 8, 1, 1}, 6, small),
                          weights("u", {8, 16, 1, 1}, 7, small)}})));
  CalibrateOptions options;
  options.method = Method::kMinMax;
  auto calibration = test.calibrated({drawn({40, 8, 9, 9}, 1, normal)}, options);
  ASSERT_TRUE(calibration) << calibration.error().message;
  ASSERT_EQ(calibration->products.count("p"), 1U);
  const Range part = calibration->tensors["y"].range, whole = calibration->tensors["c"].range;
  ASSERT_GT(whole.high - whole.low, 1.01F * (part.high - part.low));
  ASSERT_LT(whole.high - whole.low, 1.9F * (part.high - part.low));
  const Tensor x = drawn({4, 8, 9, 9}, 2, normal);
  auto shift = [&] {
    Calibration plain = *calibration, shifted = *calibration;
    plain.products["p"].bias.clear();
    shifted.products["p"].bias.assign(8, 1000.0F);
    return mean_difference(test.run(x, &shifted)[0], test.run(x, &plain)[0]);
  };
  EXPECT_EQ(shift(), 0);
  calibration->tensors["c"].range = part;
  EXPECT_NE(shift(), 0);
}

// One channel of a LayerNormalization is 40 times as large as the others. Its scale and the weights have other users.
Message with_outlier(const char* norm_output = "n", const std::vector<Message>& outputs = {}) {
  std::vector<float> scale(64, 1.0F);
  scale[5] = 40;
  std::vector<Message> all = {any_shape("q"), any_shape("k"), any_shape("z"), any_shape("s")};
  all.insert(all.end(), outputs.begin(), outputs.end());
  return model(graph({{node("LayerNormalization", {"x", "scale", "shift"}, {norm_output}),
                       node("MatMul", {norm_output, "w"}, {"q"}), node("MatMul", {norm_output, "v"}, {"k"}),
                       node("MatMul", {"x", "w"}, {"z"}), node("Mul", {"x", "scale"}, {"s"})},
                      {value("x", {"N", 16, 64})},
                      all,
                      {tensor_of("scale", DType::kFloat32, {64}, scale), weights("shift", {64}, 4),
                       weights("w", {64, 24}, 5), weights("v", {64, 32}, 6)}}));
}

TEST(Int8Accuracy, OutlierChannelsMoveIntoTheWeights) {
  Case test(with_outlier());
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration) << calibration.error().message;
  ASSERT_EQ(calibration->smoothings.count("n"), 1U);
  EXPECT_EQ(calibration->tensors["n"].channel_max.size(), 64U);
  Calibration plain = *calibration;
  plain.smoothings.clear();
  const Tensor x = drawn({8, 16, 64}, 2, normal);
  const auto exact = test.run(x, nullptr), smoothed = test.run(x, &*calibration), coarse = test.run(x, &plain);
  // Only the share of the other channels counts: the large one hides them in the sum.
  for (size_t i : {0, 1}) {
    EXPECT_GT(decibels(exact[i], smoothed[i]), decibels(exact[i], coarse[i]) + 8) << i;
    EXPECT_LT(decibels(exact[i], smoothed[i]), 70) << "not in INT8: " << i;
  }
  EXPECT_EQ(decibels(exact[2], smoothed[2]), decibels(exact[2], coarse[2]));
  EXPECT_EQ(decibels(exact[3], smoothed[3]), std::numeric_limits<double>::infinity());
}

// A residual, for example: only the bytes that the products read are divided.
TEST(Int8Accuracy, WhatOthersReadIsNotDivided) {
  Case test(with_outlier("n", {any_shape("n")}));
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration) << calibration.error().message;
  ASSERT_EQ(calibration->smoothings.count("n"), 1U);
  Calibration plain = *calibration;
  plain.smoothings.clear();
  const Tensor x = drawn({8, 16, 64}, 2, normal);
  const auto exact = test.run(x, nullptr), smoothed = test.run(x, &*calibration), coarse = test.run(x, &plain);
  for (size_t i : {0, 1}) EXPECT_GT(decibels(exact[i], smoothed[i]), decibels(exact[i], coarse[i]) + 8) << i;
  EXPECT_EQ(decibels(exact[4], smoothed[4]), std::numeric_limits<double>::infinity());
}

// Each product decides for itself: one that stays in FP32 has its own weights.
TEST(Int8Accuracy, ProductsInFp32ReadWhatIsNotDivided) {
  Case test(with_outlier());
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration) << calibration.error().message;
  const Tensor x = drawn({8, 16, 64}, 2, normal);
  const auto exact = test.run(x, nullptr), mixed = test.run(x, &*calibration, "k");
  EXPECT_LT(decibels(exact[0], mixed[0]), 70);
  EXPECT_GT(decibels(exact[1], mixed[1]), 100);
}

TEST(Int8Accuracy, SkipLayerNormalizationIsSmoothedToo) {
  std::vector<float> scale(64, 1.0F);
  scale[5] = 40;
  Case test(model(graph(
      {{node("SkipLayerNormalization", {"x", "x", "scale", "shift"}, {"n"}, {}, "com.microsoft"),
        node("MatMul", {"n", "w"}, {"q"})},
       {value("x", {"N", 16, 64})},
       {any_shape("q")},
       {tensor_of("scale", DType::kFloat32, {64}, scale), weights("shift", {64}, 4), weights("w", {64, 24}, 5)}})));
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration) << calibration.error().message;
  ASSERT_EQ(calibration->smoothings.size(), 1U);
  EXPECT_LT(calibration->smoothings.begin()->second.smoothed_error,
            0.2 * calibration->smoothings.begin()->second.error);
}

// Rows of 64 elements that follow from 6 causes.
Tensor correlated(const Shape& shape, uint32_t seed) {
  const Tensor mix = drawn({6, 64}, 77, normal);
  Tensor x = drawn(shape, seed, normal);
  std::mt19937 random(seed + 1000);
  for (int64_t row = 0; row < x.elements() / 64; ++row) {
    float* to = x.data<float>() + row * 64;
    for (int64_t i = 0; i < 64; ++i) to[i] *= 0.05F;
    for (int64_t cause = 0; cause < 6; ++cause) {
      const float strength = normal(random);
      for (int64_t i = 0; i < 64; ++i) to[i] += strength * mix.data<float>()[cause * 64 + i];
    }
  }
  return x;
}

CalibrateOptions rounded_by(Rounding rounding, Method method = Method::kAuto) {
  CalibrateOptions options;
  options.rounding = rounding;
  options.method = method;
  return options;
}

TEST(Int8Accuracy, AdaptiveRoundingBringsOutputsCloser) {
  Case test(product());
  // Nothing is clipped: that would be most of the error.
  const std::vector<Tensor> data = {correlated({64, 16, 64}, 1)};
  auto nearest = test.calibrated(data, rounded_by(Rounding::kNearest, Method::kMinMax));
  auto calibration = test.calibrated(data, rounded_by(Rounding::kAdaptive, Method::kMinMax));
  ASSERT_TRUE(nearest && calibration);
  EXPECT_EQ(calibration->tensors["x"].range.high, nearest->tensors["x"].range.high);
  const ProductCalibration& found = calibration->products.begin()->second;
  EXPECT_EQ(found.flips.size(), 64U * 24 / 8);
  EXPECT_LT(found.error, 0.9 * found.nearest_error);
  EXPECT_TRUE(nearest->products.begin()->second.flips.empty());
  const Tensor x = correlated({32, 16, 64}, 2), exact = test.run(x, nullptr)[0];
  auto read = decode_calibration(encode_calibration(*calibration), "c.json");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(read->rounding, Rounding::kAdaptive);
  EXPECT_EQ(encode_calibration(*read), encode_calibration(*calibration));
  const Tensor rounded = test.run(x, &*read)[0];
  EXPECT_GT(decibels(exact, rounded), decibels(exact, test.run(x, &*nearest)[0]) + 0.4);
  // Of other weights, or too few: as if there were none.
  Calibration plain = *calibration;
  plain.products.clear();
  const Tensor without = test.run(x, &plain)[0];
  for (auto damage : {+[](ProductCalibration& product) { product.flips.pop_back(); },
                      +[](ProductCalibration& product) { product.weights[0] ^= 1; },
                      +[](ProductCalibration& product) { product.zero_point += 1; }}) {
    Calibration stale = *calibration;
    damage(stale.products.begin()->second);
    EXPECT_EQ(mean_difference(test.run(x, &stale)[0], without), 0);
  }
}

// Groups, and more samples than rows are looked for in; in any order and cut.
TEST(Int8Accuracy, AdaptiveRoundingDependsOnTheDataAlone) {
  Case test(convolutions());
  std::vector<Tensor> tensors;
  auto positive = [](std::mt19937& random) { return 1 + std::fabs(normal(random)); };
  for (uint32_t i = 0; i < 140; ++i) tensors.push_back(drawn({1, 8, 6, 7}, i, positive));
  CalibrateOptions options = rounded_by(Rounding::kAdaptive);
  options.threads = 1;
  auto whole = test.calibrated(tensors, options);
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->products.size(), 2U);
  Tensor all(DType::kFloat32, {140, 8, 6, 7});
  for (size_t i = 0; i < tensors.size(); ++i) {
    std::copy_n(tensors[i].data<float>(), tensors[i].elements(),
                all.data<float>() + static_cast<int64_t>(tensors.size() - 1 - i) * tensors[i].elements());
  }
  auto reversed = test.calibrated({all}, rounded_by(Rounding::kAdaptive));
  ASSERT_TRUE(reversed) << reversed.error().message;
  EXPECT_EQ(encode_calibration(*reversed), encode_calibration(*whole));
  for (const auto& [name, product] : whole->products) {
    EXPECT_FALSE(product.flips.empty()) << name;
    EXPECT_LE(product.error, product.nearest_error) << name;
  }
}

TEST(Int8Accuracy, SmoothedWeightsAreRoundedAdaptively) {
  Case test(with_outlier());
  auto calibration = test.calibrated({correlated({40, 16, 64}, 1)}, rounded_by(Rounding::kAdaptive));
  ASSERT_TRUE(calibration) << calibration.error().message;
  ASSERT_EQ(calibration->smoothings.count("n"), 1U);
  Calibration plain = *calibration;
  for (auto& [name, product] : plain.products) {
    EXPECT_FALSE(product.flips.empty()) << name;
    product.flips.clear();
    product.bias.clear();
  }
  const Tensor x = correlated({8, 16, 64}, 2);
  const auto exact = test.run(x, nullptr), rounded = test.run(x, &*calibration), nearest = test.run(x, &plain);
  for (size_t i : {0, 1}) EXPECT_GT(decibels(exact[i], rounded[i]), decibels(exact[i], nearest[i]) + 0.3) << i;
}

// A convolution whose channels differ by three orders of magnitude, behind an activation.
Message with_uneven_channels(const std::vector<Message>& activation, const std::vector<Message>& outputs = {}) {
  std::vector<Message> nodes = {node("Conv", {"x", "w"}, {"c"})};
  nodes.insert(nodes.end(), activation.begin(), activation.end());
  nodes.push_back(
      node("Conv", {"a", "v"}, {"y"}, {attribute("group", int64_t{32}), attribute("pads", Ints{1, 1, 1, 1})}));
  Tensor values = drawn({32, 16, 1, 1}, 5, normal);
  for (int64_t i = 0; i < values.elements(); ++i)
    values.data<float>()[i] *= std::exp2(static_cast<float>(i / 16 % 11)) / 64;
  std::vector<Message> all = {any_shape("y")};
  all.insert(all.end(), outputs.begin(), outputs.end());
  return model(graph({nodes,
                      {value("x", {"N", 16, 6, 6})},
                      all,
                      {tensor_of("w", DType::kFloat32, {32, 16, 1, 1},
                                 std::vector<float>(values.data<float>(), values.data<float>() + values.elements())),
                       weights("v", {32, 1, 3, 3}, 6), tensor_of("f", DType::kFloat32, {}, std::vector<float>{0.7F}),
                       tensor_of("t", DType::kFloat32, {}, std::vector<float>{-0.1F})}}));
}

// Of the channels one by one.
double mean_decibels(const Tensor& exact, const Tensor& other) {
  double sum = 0;
  const int64_t channels = exact.shape()[1], plane = exact.shape().elements(2, exact.shape().rank());
  for (int64_t channel = 0; channel < channels; ++channel) {
    double signal = 0, noise = 0;
    for (int64_t i = 0; i < exact.shape()[0] * plane; ++i) {
      const int64_t at = (i / plane * channels + channel) * plane + i % plane;
      const double a = exact.data<float>()[at], b = other.data<float>()[at];
      signal += a * a;
      noise += (a - b) * (a - b);
    }
    sum += 10 * std::log10(signal / noise);
  }
  return sum / static_cast<double>(channels);
}

TEST(Int8Accuracy, ChannelsBetweenConvolutionsGetScalesOfTheirOwn) {
  const std::vector<std::vector<Message>> activations = {
      {node("Relu", {"c"}, {"a"})},
      {node("Identity", {"c"}, {"a"})},
      {node("HardSwish", {"c"}, {"h"}), node("Mul", {"h", "f"}, {"m"}), node("Add", {"m", "t"}, {"a"})},
      {node("Sigmoid", {"c"}, {"g"}), node("Mul", {"c", "g"}, {"a"})}};
  for (const auto& activation : activations) {
    Case test(with_uneven_channels(activation));
    auto calibration = test.calibrated({drawn({40, 16, 6, 6}, 1, normal)});
    ASSERT_TRUE(calibration) << calibration.error().message;
    ASSERT_EQ(calibration->smoothings.size(), 1U);
    EXPECT_EQ(calibration->smoothings.begin()->second.divisors.size(), 32U);
    Calibration plain = *calibration;
    plain.smoothings.clear();
    const Tensor x = drawn({8, 16, 6, 6}, 2, normal);
    const Tensor exact = test.run(x, nullptr)[0], smoothed = test.run(x, &*calibration)[0];
    EXPECT_GT(mean_decibels(exact, smoothed), mean_decibels(exact, test.run(x, &plain)[0]) + 8);
    EXPECT_LT(decibels(exact, smoothed), 70) << "not in INT8";
  }
}

TEST(Int8Accuracy, ChannelsThatOthersReadStay) {
  Case test(with_uneven_channels({node("Relu", {"c"}, {"a"}), node("Softmax", {"a"}, {"s"})}, {any_shape("s")}));
  auto calibration = test.calibrated({drawn({40, 16, 6, 6}, 1, normal)});
  ASSERT_TRUE(calibration) << calibration.error().message;
  EXPECT_TRUE(calibration->smoothings.empty());
}

TEST(Int8Accuracy, DamagedFiguresAreRefused) {
  Case test(with_outlier());
  auto calibration = test.calibrated({correlated({40, 16, 64}, 1)}, rounded_by(Rounding::kAdaptive));
  ASSERT_TRUE(calibration) << calibration.error().message;
  const std::string text = encode_calibration(*calibration);
  ASSERT_TRUE(decode_calibration(text, "c.json"));
  auto refusal = [&](std::string_view from, std::string_view to) {
    std::string changed = text;
    size_t at = changed.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    changed.replace(at, from.size(), to);
    auto outcome = decode_calibration(changed, "c.json");
    return outcome ? "accepted" : outcome.error().message;
  };
  auto names = [&](std::string_view from, std::string_view to, std::string_view what) {
    const std::string message = refusal(from, to);
    EXPECT_NE(message.find(what), std::string::npos) << message;
  };
  names("\"entropy\":", "\"magic\":", "\"magic\"");
  names("\"entropy\":", "\"entropy\":-", "\"entropy\"");
  names("\"output_errors\":{", "\"output_errors\":3,\"o\":{", "\"output_errors\" is no object");
  names("\"channel_max\":[", "\"channel_max\":[0,", "\"channel_min\"");
  names("\"channel_min\":[", "\"channel_min\":[\"a\",", "\"channel_min\"");
  names("\"divisors\":[", "\"divisors\":[-1,", "not all positive");
  names("\"divisors\":[", "\"divisors\":3,\"d\":[", "\"divisors\" is no list");
  names("\"bias\":[", "\"bias\":[1e99,", "\"bias\"");
  names("\"corrected_error\":", "\"corrected_error\":-", "\"corrected_error\"");
  names("\"flips\":\"", "\"flips\":\"?", "\"flips\" is no base64 text");
  names("\"flips\":\"", "\"flips\":\"\",\"f\":\"", "\"flips\" is no base64 text");
  names("\"nearest_error\":", "\"nearest_error\":-", "\"nearest_error\"");
  names("\"adaptive\"", "\"random\"", "neither \"nearest\" nor \"adaptive\"");
  names("\"products\": {", "\"products\": [], \"p\": {", "\"products\" is no object");
}

// Self-attention of 4 heads between a projection to q, k and v and another product.
Message attention(const std::vector<float>& biases, int64_t unidirectional = 0) {
  return model(
      graph({{node("Attention", {"x", "w", "b"}, {"a"},
                   {attribute("num_heads", int64_t{4}), attribute("unidirectional", unidirectional)}, "com.microsoft"),
              node("MatMul", {"a", "v"}, {"y"})},
             {value("x", {"N", 16, 64})},
             {any_shape("y")},
             {weights("w", {64, 192}, 3, [](std::mt19937& random) { return 0.1F * normal(random); }),
              tensor_of("b", DType::kFloat32, {192}, biases), weights("v", {64, 24}, 4)}}));
}

const PlanStep* step_of(const Plan& plan, std::string_view op) {
  for (const PlanStep& step : plan.graph.steps) {
    if (step.op == op) return &step;
  }
  return nullptr;
}

TEST(Int8Accuracy, AttentionOfProductsRunsOnBytes) {
  for (int64_t unidirectional : {0, 1}) {
    Case test(attention(std::vector<float>(192, 0.1F), unidirectional));
    auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
    ASSERT_TRUE(calibration) << calibration.error().message;
    // Through the file: what it keeps must be enough.
    auto read = decode_calibration(encode_calibration(*calibration), "c.json");
    ASSERT_TRUE(read) << read.error().message;
    const auto plan = test.plan(&*read);
    const PlanStep* step = step_of(*plan, "hussar.QuantizedAttention");
    ASSERT_NE(step, nullptr);
    EXPECT_EQ(step->kernel, "attention_int8");
    // The last product reads the bytes that attention writes.
    EXPECT_TRUE(step->attributes.has("y_scale"));
    const Tensor x = drawn({8, 16, 64}, 2, normal), exact = test.run(x, nullptr)[0];
    const std::string kept = step->name;
    const auto float_plan = test.plan(&*read, kept);
    const PlanStep* float_step = step_of(*float_plan, "hussar.Attention");
    ASSERT_NE(float_step, nullptr);
    EXPECT_NE(float_step->report.find("no INT8: asked for"), std::string::npos) << float_step->report;
    const double with = decibels(exact, test.run(x, &*read)[0]),
                 without = decibels(exact, test.run(x, &*read, kept)[0]);
    // Queries, keys and values are rounded once more, and in so small a model nothing else is that coarse.
    EXPECT_GT(with, 32);
    EXPECT_GT(with, without - 6);
  }
}

// What all keys have in common changes no probability, and takes none of their range.
TEST(Int8Accuracy, KeysLoseTheirMiddle) {
  std::vector<float> biases(192, 0.0F);
  for (size_t i = 64; i < 128; i += 5) biases[i] = 60;
  Case test(attention(biases)), plain(attention(std::vector<float>(192, 0.0F)));
  const std::vector<Tensor> data = {drawn({40, 16, 64}, 1, normal)};
  auto calibration = test.calibrated(data), plain_calibration = plain.calibrated(data);
  ASSERT_TRUE(calibration && plain_calibration);
  const Tensor x = drawn({8, 16, 64}, 2, normal);
  const double shifted = decibels(plain.run(x, nullptr)[0], test.run(x, &*calibration)[0]);
  EXPECT_GT(shifted, decibels(plain.run(x, nullptr)[0], plain.run(x, &*plain_calibration)[0]) - 1);
}

// Queries that are the keys cannot have other units than these.
TEST(Int8Accuracy, AttentionWithinOneTensorStaysInFp32) {
  Case test(model(
      graph({{node("MatMul", {"x", "w"}, {"h"}),
              node("MultiHeadAttention", {"h", "h", "h"}, {"a"}, {attribute("num_heads", int64_t{4})}, "com.microsoft"),
              node("MatMul", {"a", "v"}, {"y"})},
             {value("x", {"N", 16, 64})},
             {any_shape("y")},
             {weights("w", {64, 64}, 3), weights("v", {64, 24}, 4)}})));
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration) << calibration.error().message;
  const auto plan = test.plan(&*calibration);
  const PlanStep* step = step_of(*plan, "hussar.Attention");
  ASSERT_NE(step, nullptr);
  EXPECT_NE(step->report.find("share columns"), std::string::npos) << step->report;
}

TEST(Int8Accuracy, TuningDecidesAboutAttention) {
  Case test(attention(std::vector<float>(192, 0.1F)));
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration);
  CompileOptions options;
  options.threads = 1;
  options.tune_seconds = 0.3;
  options.quantization = quantization_of(*calibration, calibration->method);
  CompileReport report;
  auto plan = compile_file(test.path(), options, &report);
  ASSERT_TRUE(plan) << plan.error().message;
  const std::string name = step_of(*test.plan(nullptr), "hussar.Attention")->name;
  const auto& choices = report.int8.choices;
  // Together with its projections, which are the same ONNX node.
  const auto choice = std::find_if(choices.begin(), choices.end(),
                                   [&](const auto& it) { return it.name.find(name) != std::string::npos; });
  ASSERT_NE(choice, choices.end());
  EXPECT_GT(choice->float_microseconds, 0);
  if (step_of(*plan, "hussar.QuantizedAttention") != nullptr) {
    EXPECT_TRUE(choice->int8);
  }
}

// With fixed shapes passes make fewer values, but those that they make have the same names.
TEST(Int8Accuracy, RangesOfOpenShapesServeFixedOnes) {
  Case test(attention(std::vector<float>(192, 0.1F)));
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration);
  const auto open = test.plan(&*calibration), fixed = test.plan(&*calibration, "", {{"x", Dims{2, 16, 64}}});
  EXPECT_NE(step_of(*open, "hussar.QuantizedAttention"), nullptr);
  EXPECT_NE(step_of(*fixed, "hussar.QuantizedAttention"), nullptr);
  auto products = [](const Plan& plan) {
    return std::count_if(plan.graph.steps.begin(), plan.graph.steps.end(),
                         [](const PlanStep& step) { return step.op == "hussar.QuantizedMatMul"; });
  };
  EXPECT_EQ(products(*open), 2);
  EXPECT_EQ(products(*fixed), 2);
}

TEST(Int8Accuracy, AttentionOfUnknownRangesStaysInFp32) {
  Case test(attention(std::vector<float>(192, 0.1F)));
  auto calibration = test.calibrated({drawn({40, 16, 64}, 1, normal)});
  ASSERT_TRUE(calibration);
  for (auto& [name, tensor] : calibration->tensors) {
    if (tensor.channel_min.size() != 192) continue;
    tensor.channel_min.pop_back();
    tensor.channel_max.pop_back();
  }
  const auto plan = test.plan(&*calibration);
  const PlanStep* step = step_of(*plan, "hussar.Attention");
  ASSERT_NE(step, nullptr);
  EXPECT_NE(step->report.find("nothing is known of the ranges"), std::string::npos) << step->report;
}

}  // namespace
}  // namespace hussar
