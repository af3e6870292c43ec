// calibrate: what is counted is what the steps compute, in every layout, and not changed by how the data are cut.
#include "compile/calibrate.h"

#include <gtest/gtest.h>

#include <random>

#include "base/file.h"
#include "compile/calibration_run.h"
#include "quantize/calibration_file.h"
#include "tests/support/folder.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;

// x[N,16,H,W] -> two convolutions, concatenated (slices of one channels-last value) -> convolution -> pooled ->
// product.
Message branches() {
  auto ramp = [](size_t count) {
    std::vector<float> values(count);
    for (size_t i = 0; i < count; ++i) values[i] = 0.03F * static_cast<float>(static_cast<int>(i * 7 % 23) - 11);
    return values;
  };
  std::vector<int64_t> ones = {1, 1, 1, 1};
  auto weights = [&](const char* name, const std::vector<int64_t>& dims) {
    size_t count = 1;
    for (int64_t dim : dims) count *= static_cast<size_t>(dim);
    return tensor_of(name, DType::kFloat32, dims, ramp(count));
  };
  return model(
      graph({{node("Conv", {"x", "w1"}, {"a"}, {attribute("pads", ones)}), node("Relu", {"a"}, {"b"}),
              node("Conv", {"x", "w2"}, {"c"}), node("Concat", {"b", "c"}, {"d"}, {attribute("axis", 1)}),
              node("Conv", {"d", "w3"}, {"e"}), node("Relu", {"e"}, {"f"}), node("GlobalAveragePool", {"f"}, {"g"}),
              node("Flatten", {"g"}, {"h"}), node("MatMul", {"h", "w4"}, {"y"})},
             {value("x", {"N", 16, "H", "W"})},
             {any_shape("y")},
             {weights("w1", {32, 16, 3, 3}), weights("w2", {16, 16, 1, 1}), weights("w3", {32, 48, 1, 1}),
              weights("w4", {32, 10})}}));
}

Tensor pictures(int64_t count, uint32_t seed, int64_t side = 40) {
  std::mt19937 random(seed);
  Tensor x(DType::kFloat32, {count, 16, side, side});
  for (int64_t i = 0; i < x.elements(); ++i) x.data<float>()[i] = std::normal_distribution<float>()(random);
  return x;
}

TEST(Calibrate, CountsWhatTheStepsCompute) {
  for (int threads : {1, 3}) {
    CompileOptions options;
    options.threads = threads;
    options.disabled_passes = {"fuse_inverted_residual"};
    auto plan = build(branches().bytes(), options);
    ASSERT_TRUE(plan) << plan.error().message;
    auto run = CalibrationRun::create(*plan);
    ASSERT_TRUE(run) << run.error().message;
    auto session = Session::create(*plan);
    ASSERT_TRUE(session);
    std::map<std::string, Statistics> expected;
    auto add = [&](const std::string& name, const Tensor& tensor) {
      if (tensor.dtype() != DType::kFloat32) return;
      expected[name].add({tensor.data<float>(), static_cast<size_t>(tensor.elements())});
    };
    (*session)->set_observer(add);
    for (uint32_t i = 0; i < 3; ++i) {
      Tensor x = pictures(1, i, 30 + i);
      add("x", x);
      ASSERT_TRUE((*session)->run_in_order({&x, 1}));
      ASSERT_TRUE((*run)->run({{x}, 1, "x", i}));
    }
    auto counted = (*run)->statistics();
    for (const char* name : {"x", "b", "c", "d", "f", "h", "y"}) EXPECT_EQ(counted.count(name), 1) << name;
    for (const auto& [name, statistics] : counted) EXPECT_EQ(statistics, expected[name]) << name;
  }
}

class Batches : public DataSource {
 public:
  explicit Batches(std::vector<Tensor> tensors) : tensors_(std::move(tensors)) {}
  Result<bool> next(DataBatch& batch) override {
    if (next_ == tensors_.size()) return false;
    batch.tensors = {{"x", tensors_[next_++]}};
    return true;
  }

 private:
  std::vector<Tensor> tensors_;
  size_t next_ = 0;
};

TEST(Calibrate, GivesTheSameForAnyCutOfTheData) {
  Folder folder;
  std::string text(branches().str());
  ASSERT_TRUE(write_file_atomically(folder.file("m.onnx"), {std::as_bytes(std::span(text))}));
  Tensor all = pictures(10, 7, 12);
  auto rows = [&](int64_t first, int64_t count) {
    Tensor part(DType::kFloat32, {count, 16, 12, 12});
    const float* begin = all.data<float>() + first * part.elements() / count;
    std::copy_n(begin, part.elements(), part.data<float>());
    return part;
  };
  auto calibrated = [&](std::vector<Tensor> tensors, int threads) {
    Batches batches(std::move(tensors));
    CalibrateOptions options;
    options.threads = threads;
    auto calibration = calibrate(folder.file("m.onnx"), batches, options);
    EXPECT_TRUE(calibration) << calibration.error().message;
    return calibration ? encode_calibration(*calibration) : "";
  };
  const std::string whole = calibrated({all}, 1);
  EXPECT_EQ(calibrated({rows(0, 3), rows(3, 7)}, 2), whole);
  EXPECT_EQ(calibrated({rows(9, 1), rows(4, 5), rows(0, 4)}, 1), whole);
  EXPECT_NE(calibrated({rows(0, 9)}, 1), whole);
}

}  // namespace
}  // namespace hussar
