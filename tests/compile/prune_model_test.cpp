// prune_model: which products are pruned and why others are not, what the file becomes, and what data bring.
#include "compile/prune_model.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <span>

#include "base/file.h"
#include "compile/compile.h"
#include "compile/prune_samples.h"
#include "onnx/import.h"
#include "runtime/session.h"
#include "sparsify/pattern.h"
#include "tests/support/fits_pattern.h"
#include "tests/support/folder.h"
#include "tests/support/prune_network.h"

namespace hussar {
namespace {

using namespace tests;

class Samples : public DataSource {
 public:
  Samples(int64_t count, Shape shape) : count_(count), shape_(shape) {}
  Result<bool> next(DataBatch& batch) override {
    if (is_done_) return false;
    is_done_ = true;
    Shape shape{count_};
    for (int64_t dim : shape_) shape.push_back(dim);
    const std::vector<float> values = normal(static_cast<size_t>(shape.elements()), 77);
    batch.tensors = {{"x", Tensor::from<float>(DType::kFloat32, shape, values)}};
    return true;
  }

 private:
  int64_t count_;
  Shape shape_;
  bool is_done_ = false;
};

ModelPruneOptions options_of(PruneMethod method, int64_t shared_rows = 1) {
  ModelPruneOptions options;
  options.layer.method = method;
  options.layer.pattern.shared_rows = shared_rows;
  return options;
}

class PruneModel : public ::testing::Test {
 protected:
  void save(const Message& message) { ASSERT_TRUE(write_file_atomically(file("m.onnx"), {message.bytes()})); }
  std::string file(const std::string& name) const { return folder_.file(name); }

  Result<ModelPruneReport> prune(const ModelPruneOptions& options, int64_t samples = 0) {
    Samples source(samples, {4, 6, 6});
    return prune_model(file("m.onnx"), samples > 0 ? &source : nullptr, file("p.onnx"), options);
  }

  // What a file computes of one sample.
  std::vector<float> run(const std::string& name, const Tensor& x) {
    auto plan = compile_file(file(name), {});
    EXPECT_TRUE(plan) << plan.error().message;
    auto session = Session::create(std::make_shared<const Plan>(std::move(*plan)));
    const std::vector<Tensor> inputs = {x};
    auto outputs = (*session)->run_in_order(inputs);
    EXPECT_TRUE(outputs) << outputs.error().message;
    const auto* data = (*outputs)[0].data<float>();
    return {data, data + (*outputs)[0].elements()};
  }

  std::map<std::string, Tensor> constants(const std::string& name) {
    std::map<std::string, Tensor> tensors;
    model_ = *onnx::import_file(file(name));
    for (const auto& value : model_.graph.values()) {
      if (value->is_constant()) tensors[value->name] = *value->constant;
    }
    return tensors;
  }

  Folder folder_;
  onnx::ImportedModel model_;
};

const ModelPruneLayer& layer_of(const ModelPruneReport& report, const std::string& node) {
  for (const ModelPruneLayer& layer : report.layers) {
    if (layer.node == node) return layer;
  }
  ADD_FAILURE() << "no layer " << node;
  return report.layers[0];
}

// As [n][k]: k = (tap, channel) of a convolution; rows = true: the file has one output channel after another.
std::vector<float> matrix(const Tensor& w, bool rows = true) {
  const Shape& shape = w.shape();
  const int64_t n = shape[rows ? 0 : 1], channels = shape[rows ? 1 : 0], taps = shape.elements(2, shape.rank());
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t c = 0; c < channels; ++c)
        values.push_back(w.data<float>()[rows ? (i * channels + c) * taps + tap : c * n + i]);
    }
  }
  return values;
}

TEST_F(PruneModel, ByMagnitudeOnlyWeightsChange) {
  save(network());
  auto report = prune(options_of(PruneMethod::kMagnitude));
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(layer_of(*report, "stem").reason, "first product");
  EXPECT_EQ(layer_of(*report, "head").reason, "last product");
  auto before = constants("m.onnx"), after = constants("p.onnx");
  ASSERT_EQ(before.size(), after.size());
  for (const char* name : {"w1", "b2", "b4", "b5", "w6"}) {
    EXPECT_EQ(std::memcmp(before[name].raw(), after[name].raw(), before[name].bytes()), 0) << name;
  }
  for (const auto& [name, rows] :
       {std::pair("w2", true), std::pair("w3", true), std::pair("w4", true), std::pair("w5", false)}) {
    const std::vector<float> dense = matrix(before[name], rows), sparse = matrix(after[name], rows);
    const int64_t n = before[name].shape()[rows ? 0 : 1];
    EXPECT_TRUE(fits_pattern(sparse.data(), n, std::ssize(sparse) / n)) << name;
    int64_t kept = 0;
    for (size_t i = 0; i < dense.size(); ++i) {
      EXPECT_TRUE(sparse[i] == dense[i] || (sparse[i] == 0 && !std::signbit(sparse[i]))) << name;
      kept += sparse[i] != 0 ? 1 : 0;
    }
    EXPECT_EQ(kept * 2, std::ssize(dense)) << name;
  }
  EXPECT_LT(report->output_error, 0);
  EXPECT_EQ(folder_.names(), (std::vector<std::string>{"m.onnx", "p.onnx"}));
}

TEST_F(PruneModel, ChannelsShareMasks) {
  save(network());
  auto report = prune(options_of(PruneMethod::kSparseGpt, 32), 340);
  ASSERT_TRUE(report) << report.error().message;
  auto after = constants("p.onnx");
  EXPECT_TRUE(fits_pattern(matrix(after["w2"]).data(), 64, 576, 32));
  EXPECT_TRUE(fits_pattern(matrix(after["w5"], false).data(), 64, 128, 32));
}

// The report's error is that of the file, on the samples that were held out: both forms of the walk are the files.
TEST_F(PruneModel, ReportsTheErrorOfTheFile) {
  save(network());
  const auto options = options_of(PruneMethod::kSparseGpt);
  auto report = prune(options, 340);
  ASSERT_TRUE(report) << report.error().message;
  Samples source(340, {4, 6, 6});
  std::vector<std::string> warnings;
  const PruneData data = *read_prune_samples(file("m.onnx"), source, options, warnings);
  EXPECT_EQ(report->samples, std::ssize(data.runs));
  EXPECT_EQ(report->held_out, std::ssize(data.held_out));
  EXPECT_EQ(report->held_out, 42);
  double signal = 0, noise = 0;
  for (const DataRun& run_data : data.held_out) {
    const std::vector<float> dense = run("m.onnx", run_data.inputs[0]), sparse = run("p.onnx", run_data.inputs[0]);
    for (size_t i = 0; i < dense.size(); ++i) {
      signal += dense[i] * dense[i];
      noise += (dense[i] - sparse[i]) * (dense[i] - sparse[i]);
    }
  }
  EXPECT_NEAR(std::sqrt(noise / signal) / report->output_error, 1, 1e-3);
}

TEST_F(PruneModel, DataBringMoreThanMagnitude) {
  save(network());
  auto keep = options_of(PruneMethod::kMagnitude);
  keep.layer.refit = false;
  auto magnitude = prune(keep, 340);
  ASSERT_TRUE(magnitude) << magnitude.error().message;
  // Without a fit biases stay, as data would pull outputs of less variance to their means.
  EXPECT_FALSE(layer_of(*magnitude, "wide").corrects_bias);
  EXPECT_EQ(constants("p.onnx")["b2"].data<float>()[0], normal(64, 3)[0]);
  for (PruneMethod method : {PruneMethod::kWanda, PruneMethod::kSparseGpt}) {
    auto report = prune(options_of(method), 340);
    ASSERT_TRUE(report) << report.error().message;
    EXPECT_LT(report->output_error, 0.8 * magnitude->output_error) << spell(method);
    for (const char* node : {"wide", "point", "gemm", "product"}) {
      const ModelPruneLayer& layer = layer_of(*report, node);
      EXPECT_TRUE(layer.is_pruned) << node;
      EXPECT_GT(layer.error, 0) << node;
      EXPECT_LE(layer.error, layer.error_before_refit * 1.01) << node;
      EXPECT_TRUE(layer.corrects_bias) << node;
    }
  }
  auto options = options_of(PruneMethod::kObc);
  options.only = {"point"};
  auto point = prune(options, 340);
  ASSERT_TRUE(point) << point.error().message;
  EXPECT_LT(layer_of(*point, "point").error, layer_of(*magnitude, "point").error);
  // A convolution without a bias got one, others in place; the rest of the nodes is as it was.
  auto after = constants("p.onnx");
  EXPECT_EQ(after.count("point_bias_pruned"), 1U);
  EXPECT_EQ(after["b5"].data<float>()[0], normal(64, 8)[0]);
}

// What a branch lost, the end of the next one makes good; negated twice, it is no end of a branch.
TEST_F(PruneModel, ErrorsDoNotAddUpAlongShortcuts) {
  auto error_of = [&](const std::string& end, const Names& sum) {
    std::vector<Message> nodes = {named("stem", "Conv", {"x", "w1", "b0"}, {"a1"}, pads()),
                                  named("bend", "Relu", {"a1"}, {"a"}),
                                  named("first", "Conv", {"a", "w2", "b2"}, {"b1"}, pads()),
                                  named("relu", "Relu", {"b1"}, {"b"}),
                                  named("sum1", "Add", {"a", "b"}, {"c"}),
                                  named("bend2", "Relu", {"c"}, {"c2"}),
                                  named("second", "Conv", {"c2", "w3", "b3"}, {end}, pads()),
                                  named("neg1", "Neg", {"raw"}, {"negative"}),
                                  named("neg2", "Neg", {"negative"}, {"e"}),
                                  named("sum2", "Add", sum, {"y"})};
    if (end != "raw") nodes.erase(nodes.begin() + 7, nodes.begin() + 9);
    save(model(graph({nodes,
                      {value("x", {"N", 4, 6, 6})},
                      {any_shape("y")},
                      {weights("w1", {64, 4, 3, 3}, 1), tensor_of("b0", DType::kFloat32, {64}, normal(64, 2)),
                       weights("w2", {64, 64, 3, 3}, 3), tensor_of("b2", DType::kFloat32, {64}, normal(64, 4)),
                       weights("w3", {64, 64, 3, 3}, 5), tensor_of("b3", DType::kFloat32, {64}, normal(64, 6))}})));
    auto options = options_of(PruneMethod::kSparseGpt, 64);
    options.only = {"first", "second"};
    auto report = prune(options, 340);
    EXPECT_TRUE(report) << report.error().message;
    return report ? report->output_error : -1;
  };
  const double apart = error_of("raw", {"e", "c"});
  EXPECT_LT(error_of("d", {"d", "c"}), 0.99 * apart);
  EXPECT_LT(error_of("d", {"c", "d"}), 0.99 * apart);
}

TEST_F(PruneModel, SameDataSameFile) {
  save(network());
  auto bytes = [&](int threads) {
    auto options = options_of(PruneMethod::kSparseGpt, 64);
    options.layer.threads = threads;
    auto report = prune(options, 100);
    EXPECT_TRUE(report) << report.error().message;
    auto mapped = *MappedFile::open(file("p.onnx"));
    return std::string(reinterpret_cast<const char*>(mapped->bytes().data()), mapped->bytes().size());
  };
  EXPECT_EQ(bytes(1), bytes(2));
}

TEST_F(PruneModel, Budget) {
  save(network());
  auto options = options_of(PruneMethod::kSparseGpt);
  auto all = prune(options, 340);
  ASSERT_TRUE(all) << all.error().message;
  options.budget = 0.7 * all->output_error;
  options.step = 0.25;
  auto report = prune(options, 340);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_LE(report->output_error, options.budget);
  EXPECT_FALSE(report->stages.back().is_within);
  int pruned = 0, dense = 0;
  for (const char* node : {"wide", "point", "gemm", "product"}) {
    const ModelPruneLayer& layer = layer_of(*report, node);
    pruned += layer.is_pruned ? 1 : 0;
    dense += layer.reason == "the budget is used up" ? 1 : 0;
  }
  EXPECT_GT(pruned, 0);
  EXPECT_EQ(pruned + dense, 4);
  // All of it is within a large one; nothing within a tiny one.
  options.budget = 1;
  report = prune(options, 340);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->stages.size(), 1U);
  std::filesystem::remove(file("p.onnx"));
  options.budget = 1e-6;
  report = prune(options, 340);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kAccuracy);
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"m.onnx"});
}

// Products whose outputs are of many classes.
Message classifier() {
  return model(graph({{named("flat", "Flatten", {"x"}, {"f"}), named("first", "MatMul", {"f", "w1"}, {"a"}),
                       named("r1", "Relu", {"a"}, {"ar"}), named("up", "MatMul", {"ar", "w2"}, {"b"}),
                       named("r2", "Relu", {"b"}, {"br"}), named("down", "MatMul", {"br", "w3"}, {"c"}),
                       named("r3", "Relu", {"c"}, {"cr"}), named("square", "MatMul", {"cr", "w4"}, {"d"}),
                       named("r4", "Relu", {"d"}, {"dr"}), named("head", "MatMul", {"dr", "w5"}, {"y"})},
                      {value("x", {"N", 4, 6, 6})},
                      {any_shape("y")},
                      {weights("w1", {144, 64}, 1), weights("w2", {64, 128}, 2), weights("w3", {128, 64}, 3),
                       weights("w4", {64, 64}, 4), weights("w5", {64, 10}, 5)}}));
}

// The class that the dense model gives to each sample.
class PruneLabels : public PruneModel {
 protected:
  static constexpr int64_t kSamples = 340, kClasses = 10;
  void SetUp() override {
    save(classifier());
    const Shape shape = {kSamples, 4, 6, 6};
    const auto values = normal(static_cast<size_t>(shape.elements()), 77);
    const std::vector<float> outputs = run("m.onnx", Tensor::from<float>(DType::kFloat32, shape, values));
    for (auto row = outputs.begin(); row != outputs.end(); row += kClasses)
      labels_.push_back(std::max_element(row, row + kClasses) - row);
    ASSERT_EQ(std::ssize(labels_), kSamples);
    for (int64_t label = 0; label < kClasses; ++label)
      ASSERT_LT(std::count(labels_.begin(), labels_.end(), label), 200);
  }

  std::vector<int64_t> labels_;
};

TEST_F(PruneLabels, FollowTheirSamples) {
  auto options = options_of(PruneMethod::kSparseGpt);
  options.labels = labels_;
  auto report = prune(options, kSamples);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(report->dense_top1, 1);
  EXPECT_GT(report->top1, 0.5);
  EXPECT_LE(report->top1, 1);
  EXPECT_TRUE(report->stages.empty());
  for (int64_t& label : options.labels) label = (label + 1) % kClasses;
  // With labels that the dense network never gives, nothing can be judged.
  auto wrong = prune(options, kSamples);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kAccuracy);
  EXPECT_NE(wrong.error().message.find("0 of"), std::string::npos) << wrong.error().message;
}

TEST_F(PruneLabels, TheBudgetIsOfTop1) {
  auto options = options_of(PruneMethod::kMagnitude, 64);
  options.layer.refit = false;
  options.labels = labels_;
  auto all = prune(options, kSamples);
  ASSERT_TRUE(all) << all.error().message;
  const double lost = all->dense_top1 - all->top1;
  ASSERT_GT(lost, 0.1);
  options.most_lost = 0.9 * lost;
  options.step = 0.25;
  auto report = prune(options, kSamples);
  ASSERT_TRUE(report) << report.error().message;
  ASSERT_GE(report->stages.size(), 2U);
  for (const PruneStage& stage : report->stages) {
    EXPECT_EQ(stage.is_within, report->dense_top1 - stage.top1 <= options.most_lost);
    EXPECT_EQ(stage.is_within, &stage != &report->stages.back());
  }
  EXPECT_EQ(report->top1, (report->stages.end() - 2)->top1);
  int64_t pruned = 0;
  for (const ModelPruneLayer& layer : report->layers) pruned += layer.is_pruned ? 1 : 0;
  EXPECT_EQ(pruned, (report->stages.end() - 2)->layers);
  // The other budget holds, too.
  options.budget = 1e-6;
  report = prune(options, kSamples);
  ASSERT_FALSE(report);
  EXPECT_EQ(report.error().code, ErrorCode::kAccuracy);
}

TEST_F(PruneLabels, ThatCannotBe) {
  auto options = options_of(PruneMethod::kSparseGpt);
  auto expect_refused = [&](std::vector<int64_t> labels, const char* says) {
    options.labels = std::move(labels);
    auto report = prune(options, kSamples);
    ASSERT_FALSE(report);
    EXPECT_EQ(report.error().code, ErrorCode::kUsage);
    EXPECT_NE(report.error().message.find(says), std::string::npos) << report.error().message;
  };
  expect_refused(std::vector<int64_t>(kSamples - 1), "339 labels for 340 samples");
  expect_refused(std::vector<int64_t>(kSamples + 1), "341 labels for 340 samples");
  expect_refused(std::vector<int64_t>(kSamples, kClasses), "label 10 is no class");
  options.labels.clear();
  options.most_lost = 0.1;
  expect_refused({}, "needs labels");
  EXPECT_EQ(folder_.names(), std::vector<std::string>{"m.onnx"});
}

TEST_F(PruneModel, CodesAndShortBlocks) {
  save(network());
  ModelPruneOptions options = options_of(PruneMethod::kMagnitude, 48);
  options.skip = {"wide"};
  auto report = list_prunable(file("m.onnx"), options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(layer_of(*report, "stem").code, "first");
  EXPECT_EQ(layer_of(*report, "head").code, "last");
  EXPECT_EQ(layer_of(*report, "wide").code, "skipped");
  EXPECT_EQ(layer_of(*report, "point").code, "");
  const std::vector<std::string> note = {
      "64 output channels are no multiple of 48: the last 16 share masks of their own"};
  EXPECT_EQ(layer_of(*report, "point").notes, note);
  EXPECT_TRUE(layer_of(*report, "wide").notes.empty());
  auto pruned = prune(options);
  ASSERT_TRUE(pruned) << pruned.error().message;
  EXPECT_EQ(layer_of(*pruned, "point").notes, note);
  options.layer.pattern.shared_rows = 32;
  EXPECT_TRUE(layer_of(*list_prunable(file("m.onnx"), options), "point").notes.empty());
}

TEST_F(PruneModel, SaysWhyNot) {
  std::vector<float> broken = normal(64 * 64, 1);
  broken[100] = NAN;
  const std::vector<Message> groups = {attribute("group", 2)}, depthwise = {attribute("group", 64)};
  save(model(graph(
      {{named("stem", "Conv", {"x", "w1"}, {"a"}), named("groups", "Conv", {"a", "wg"}, {"b"}, groups),
        named("depth", "Conv", {"b", "wd"}, {"c"}, depthwise), named("odd", "Conv", {"c", "wo"}, {"d"}),
        named("odd2", "Conv", {"d", "wp"}, {"e"}), named("nan", "Conv", {"e", "wn"}, {"f"}),
        named("twin1", "Conv", {"f", "wt"}, {"g"}), named("twin2", "Conv", {"g", "wt"}, {"h"}),
        named("small", "Conv", {"h", "ws"}, {"i"}), named("flat", "Flatten", {"i"}, {"j"}, {attribute("axis", 2)}),
        named("dynamic", "MatMul", {"j", "j2"}, {"k"}), named("t", "Transpose", {"j"}, {"j2"}),
        named("cast", "Identity", {"wc0"}, {"wc"}), named("computed", "MatMul", {"k", "wc"}, {"l"}),
        named("held", "MatMul", {"l", "wh"}, {"m"}), named("last", "MatMul", {"m", "wl"}, {"y"})},
       {value("x", {1, 4, 2, 2})},
       {any_shape("y")},
       {weights("w1", {64, 4, 1, 1}, 1), weights("wg", {64, 32, 1, 1}, 2), weights("wd", {64, 1, 1, 1}, 3),
        weights("wo", {66, 64, 1, 1}, 4), weights("wp", {64, 66, 1, 1}, 5),
        tensor_of("wn", DType::kFloat32, {64, 64, 1, 1}, broken), weights("wt", {64, 64, 1, 1}, 6),
        weights("ws", {32, 64, 1, 1}, 7), weights("wc0", {32, 64}, 8), weights("wh", {64, 64}, 9),
        weights("wl", {64, 64}, 10)}})));
  auto report = list_prunable(file("m.onnx"), {});
  ASSERT_TRUE(report) << report.error().message;
  const std::pair<const char*, const char*> expected[] = {{"stem", "first product"},
                                                          {"groups", "grouped convolution (2 groups)"},
                                                          {"depth", "depthwise"},
                                                          {"odd2", "66 input channels are no multiple of 4"},
                                                          {"nan", "NaN"},
                                                          {"twin1", "shared with 'twin2'"},
                                                          {"twin2", "shared with 'twin1'"},
                                                          {"small", "32 output channels"},
                                                          {"dynamic", "not constant"},
                                                          {"computed", "computed by other nodes"},
                                                          {"last", "last product"}};
  for (const auto& [node, reason] : expected)
    EXPECT_NE(layer_of(*report, node).reason.find(reason), std::string::npos)
        << node << ": " << layer_of(*report, node).reason;
  EXPECT_EQ(layer_of(*report, "odd").reason, "");
}

TEST_F(PruneModel, NamesChoose) {
  save(network());
  auto options = options_of(PruneMethod::kMagnitude);
  options.only = {"head", "g"};  // a node, and the output of one
  auto report = prune(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(layer_of(*report, "head").is_pruned);
  EXPECT_TRUE(layer_of(*report, "gemm").is_pruned);
  EXPECT_EQ(layer_of(*report, "wide").reason, "not among --layers");
  options.only.clear();
  options.skip = {"wide"};
  report = prune(options);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_EQ(layer_of(*report, "wide").reason, "--skip");
  options.skip = {"nobody"};
  report = prune(options);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("--skip names 'nobody'"), std::string::npos) << report.error().message;
}

TEST_F(PruneModel, TooFewData) {
  save(network());
  auto report = prune(options_of(PruneMethod::kSparseGpt), 7);
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("7 samples are too few"), std::string::npos) << report.error().message;
  // Enough rows for convolutions, but not for products of one row per sample.
  report = prune(options_of(PruneMethod::kSparseGpt), 40);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(layer_of(*report, "wide").is_pruned);
  EXPECT_FALSE(layer_of(*report, "gemm").is_pruned);
  EXPECT_NE(layer_of(*report, "gemm").reason.find("too few data: 35 rows, 128 are the least for k = 64; give 4 times"),
            std::string::npos)
      << layer_of(*report, "gemm").reason;
}

// Weights in a Constant become an initializer of that name; a bias that two nodes share stays as it is for the other
// one.
TEST_F(PruneModel, ConstantsAndSharedBiases) {
  const Message held =
      named("held", "Constant", {}, {"w2"}, {tensor_attribute("value", weights("w2", {64, 64, 1, 1}, 2))});
  save(model(graph({{held, named("stem", "Conv", {"x", "w1", "b"}, {"a"}), named("r", "Relu", {"a"}, {"a2"}),
                     named("middle", "Conv", {"a2", "w2", "b"}, {"c"}), named("last", "Conv", {"c", "w3"}, {"y"})},
                    {value("x", {"N", 4, 6, 6})},
                    {any_shape("y")},
                    {weights("w1", {64, 4, 1, 1}, 1), tensor_of("b", DType::kFloat32, {64}, normal(64, 4)),
                     weights("w3", {8, 64, 1, 1}, 3)}})));
  auto report = prune(options_of(PruneMethod::kSparseGpt), 40);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(layer_of(*report, "middle").is_pruned);
  auto after = constants("p.onnx");
  EXPECT_TRUE(fits_pattern(matrix(after["w2"]).data(), 64, 64));
  EXPECT_EQ(after["b"].data<float>()[0], normal(64, 4)[0]);
  ASSERT_EQ(after.count("b_pruned"), 1U);
  for (const auto& node : model_.graph.nodes()) EXPECT_NE(node->op, "Constant");
  for (const auto& node : model_.graph.nodes()) {
    if (node->name == "middle") {
      EXPECT_EQ(node->inputs[2]->name, "b_pruned");
    }
    if (node->name == "stem") {
      EXPECT_EQ(node->inputs[2]->name, "b");
    }
  }
}

// What is pruned comes into the file; what stays outside is only found from the same folder.
TEST_F(PruneModel, ExternalData) {
  const std::vector<float> stem = normal(64 * 4, 1), middle = normal(64 * 64, 2);
  ASSERT_TRUE(write_file_atomically(file("w1.bin"), {std::as_bytes(std::span(stem))}));
  ASSERT_TRUE(write_file_atomically(file("w2.bin"), {std::as_bytes(std::span(middle))}));
  save(model(graph({{named("stem", "Conv", {"x", "w1"}, {"a"}), named("middle", "Conv", {"a", "w2"}, {"c"}),
                     named("last", "Conv", {"c", "w3"}, {"y"})},
                    {value("x", {1, 4, 6, 6})},
                    {any_shape("y")},
                    {external("w1", {64, 4, 1, 1}, "w1.bin"), external("w2", {64, 64, 1, 1}, "w2.bin"),
                     weights("w3", {8, 64, 1, 1}, 3)}})));
  auto report = prune(options_of(PruneMethod::kMagnitude));
  ASSERT_TRUE(report) << report.error().message;
  std::filesystem::remove(file("w2.bin"));
  EXPECT_TRUE(fits_pattern(matrix(constants("p.onnx")["w2"]).data(), 64, 64));
  ASSERT_TRUE(write_file_atomically(file("w2.bin"), {std::as_bytes(std::span(middle))}));
  const Folder other;
  report = prune_model(file("m.onnx"), nullptr, other.file("p.onnx"), options_of(PruneMethod::kMagnitude));
  ASSERT_FALSE(report);
  EXPECT_NE(report.error().message.find("would not find tensor 'w1'"), std::string::npos) << report.error().message;
  EXPECT_TRUE(other.names().empty());
}

// Inputs that are always 0 are damped, not divided by.
TEST_F(PruneModel, DeadInputs) {
  std::vector<float> first = normal(64 * 4, 1);
  std::fill(first.begin(), first.begin() + 32 * 4, 0.0F);
  save(model(graph({{named("stem", "Conv", {"x", "w1"}, {"a"}), named("r", "Relu", {"a"}, {"b"}),
                     named("middle", "Conv", {"b", "w2"}, {"c"}), named("last", "Conv", {"c", "w3"}, {"y"})},
                    {value("x", {1, 4, 6, 6})},
                    {any_shape("y")},
                    {tensor_of("w1", DType::kFloat32, {64, 4, 1, 1}, first), weights("w2", {64, 64, 1, 1}, 2),
                     weights("w3", {8, 64, 1, 1}, 3)}})));
  auto report = prune(options_of(PruneMethod::kSparseGpt), 32);
  ASSERT_TRUE(report) << report.error().message;
  EXPECT_TRUE(std::isfinite(report->output_error));
  for (const auto& [name, tensor] : constants("p.onnx")) {
    for (int64_t i = 0; i < tensor.elements(); ++i) ASSERT_TRUE(std::isfinite(tensor.data<float>()[i])) << name;
  }
}

}  // namespace
}  // namespace hussar
