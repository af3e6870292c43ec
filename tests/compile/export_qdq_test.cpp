// export_qdq: corrections, smoothing, bodies, functions and external data, with calibrations made by hand.
#include "compile/export_qdq.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/file.h"
#include "compile/qdq_model.h"
#include "onnx/import.h"
#include "tests/support/folder.h"
#include "tests/support/onnx_writer.h"

namespace hussar {
namespace {

using namespace tests;

std::vector<float> ramp(size_t count) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = 0.03F * static_cast<float>(static_cast<int>(i * 7 % 23) - 11);
  return values;
}

Message weights(const char* name, const std::vector<int64_t>& dims) {
  int64_t count = 1;
  for (int64_t dim : dims) count *= dim;
  return tensor_of(name, DType::kFloat32, dims, ramp(static_cast<size_t>(count)));
}

Message vector_of(const char* name, const std::vector<float>& values) {
  return tensor_of(name, DType::kFloat32, {static_cast<int64_t>(values.size())}, values);
}

Calibration ranges(const std::vector<std::string>& names) {
  Calibration calibration;
  for (const std::string& name : names) calibration.tensors[name].range = {-1, 2, Method::kMse, ""};
  return calibration;
}

struct Exported {
  QdqReport report;
  onnx::ImportedModel model;

  const Node* producer_of(const std::string& name) const {
    for (const auto& value : model.graph.values()) {
      if (value->name == name) return value->producer;
    }
    return nullptr;
  }
};

class ExportQdq : public ::testing::Test {
 protected:
  Result<Exported> export_model(const Message& message, const Calibration& calibration,
                                const QdqOptions& options = {}) {
    EXPECT_TRUE(write_file_atomically(folder_.file("m.onnx"), {message.bytes()}));
    Exported exported;
    exported.report = HUSSAR_TRY(export_qdq(folder_.file("m.onnx"), calibration, "c", folder_.file(output_), options));
    exported.model = HUSSAR_TRY(onnx::import_file(folder_.file(output_)));
    return exported;
  }

  // What the calibration says of the product that gives `output` in the file: its bias gains 1, 2, 3, ...
  static void correct(Calibration& calibration, const std::string& path, const std::string& output) {
    const QdqModel model = *open_qdq_model(path, {});
    for (const QdqProduct& product : model.products) {
      if (product.node->outputs[0]->name != output) continue;
      const Node& compiled = *product.compiled;
      const auto quantized = quantize_weights(compiled, *product_weights(compiled));
      const auto params = params_of(calibration.tensors.at(counted_input(compiled)->name).range, DType::kUInt8);
      ProductCalibration& entry = calibration.products[compiled.outputs[0]->name];
      entry = {quantized.fingerprint(), params.scale, params.zero_point, {}, {}, 2, 2, 1};
      for (int64_t i = 1; i <= quantized.scales.elements(); ++i) entry.bias.push_back(static_cast<float>(i));
    }
  }

  Folder folder_;
  std::string output_ = "q.onnx";
};

const float* floats(const Value* value) { return value->constant->data<float>(); }

// Convolutions and products with and without a bias.
Message with_biases() {
  const Message gemm = node("Gemm", {"flat", "w3", "b3"}, {"c"}, {attribute("transB", 1)});
  return model(
      graph({{node("Conv", {"x", "w1", "b1"}, {"a"}), node("Relu", {"a"}, {"a2"}), node("Conv", {"a2", "w2"}, {"b"}),
              node("Flatten", {"b"}, {"flat"}), gemm, node("MatMul", {"c", "w4"}, {"d"}),
              node("Add", {"b4", "d"}, {"e"}), node("MatMul", {"e", "w5"}, {"y"})},
             {value("x", {1, 3, 4, 4})},
             {any_shape("y"), any_shape("c")},
             {weights("w1", {4, 3, 3, 3}), vector_of("b1", ramp(4)), weights("w2", {2, 4, 1, 1}), weights("w3", {4, 8}),
              vector_of("b3", ramp(4)), weights("w4", {4, 4}), vector_of("b4", ramp(4)), weights("w5", {4, 2})}}));
}

TEST_F(ExportQdq, CorrectsBiases) {
  ASSERT_TRUE(write_file_atomically(folder_.file("m.onnx"), {with_biases().bytes()}));
  Calibration calibration = ranges({"x", "a2", "b", "flat", "c", "e"});
  for (const char* output : {"a", "b", "c", "d", "y"}) correct(calibration, folder_.file("m.onnx"), output);
  auto exported = export_model(with_biases(), calibration);
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(exported->report.quantized, 5);
  // The last product has no bias.
  EXPECT_EQ(exported->report.corrected_biases, 4);
  const std::vector<float> before = ramp(4);
  const Value* biases[] = {exported->producer_of("a")->input(2), exported->producer_of("c")->input(2),
                           exported->producer_of("e")->input(0)};
  for (const Value* bias : biases) {
    for (int i = 0; i < 4; ++i) EXPECT_FLOAT_EQ(floats(bias)[i], before[i] + static_cast<float>(i + 1)) << bias->name;
  }
  const Value* added = exported->producer_of("b")->input(2);
  ASSERT_NE(added, nullptr);
  EXPECT_EQ(floats(added)[1], 2);

  // Other ranges: corrections do not hold for them.
  QdqOptions options;
  options.activations = DType::kInt8;
  exported = export_model(with_biases(), calibration, options);
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(exported->report.corrected_biases, 0);
  EXPECT_EQ(exported->producer_of("b")->input(2), nullptr);
}

// Weights that the calibration rounds to their other neighbour are rounded so in the file.
TEST_F(ExportQdq, RoundsAsTheCalibration) {
  ASSERT_TRUE(write_file_atomically(folder_.file("m.onnx"), {with_biases().bytes()}));
  Calibration calibration = ranges({"x", "a2", "b", "flat", "c", "e"});
  correct(calibration, folder_.file("m.onnx"), "c");
  auto numbers_of = [&](const Calibration& used) {
    auto exported = export_model(with_biases(), used);
    EXPECT_TRUE(exported) << exported.error().message;
    return exported->producer_of("c")->input(1)->producer->input(0)->constant->clone();
  };
  const Tensor nearest = numbers_of(calibration);
  ASSERT_EQ(nearest.shape(), Shape({4, 8}));
  for (auto& [output, product] : calibration.products) product.flips = {0, 0x05, 0, 0x80};
  const Tensor flipped = numbers_of(calibration);
  for (int i = 0; i < 32; ++i) {
    const bool is_flipped = i == 8 || i == 10 || i == 31;
    EXPECT_EQ(std::abs(flipped.data<int8_t>()[i] - nearest.data<int8_t>()[i]), is_flipped ? 1 : 0) << i;
  }
}

// The correction is one of what comes behind the normalization, which multiplies by 3 / sqrt(2 + e) and -2 / sqrt(4 +
// e).
TEST_F(ExportQdq, BatchNormalizationStays) {
  const Message message =
      model(graph({{node("Conv", {"x", "w", "b"}, {"a"}), node("BatchNormalization", {"a", "s", "t", "m", "v"}, {"y"})},
                   {value("x", {1, 3, 4, 4})},
                   {any_shape("y")},
                   {weights("w", {2, 3, 1, 1}), vector_of("b", {1, 2}), vector_of("s", {3, -2}), vector_of("t", {1, 1}),
                    vector_of("m", {0.5, 0.25}), vector_of("v", {2, 4})}}));
  ASSERT_TRUE(write_file_atomically(folder_.file("m.onnx"), {message.bytes()}));
  Calibration calibration = ranges({"x"});
  correct(calibration, folder_.file("m.onnx"), "a");
  auto exported = export_model(message, calibration);
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(exported->report.quantized, 1);
  EXPECT_EQ(exported->report.corrected_biases, 1);
  ASSERT_NE(exported->producer_of("y"), nullptr);
  EXPECT_EQ(exported->producer_of("y")->op, "BatchNormalization");
  EXPECT_NEAR(floats(exported->producer_of("a")->input(2))[0], 1 + std::sqrt(2.0F) / 3, 1e-4);
  EXPECT_NEAR(floats(exported->producer_of("a")->input(2))[1], 2 - 2, 1e-4);
}

// normalization -> two products, one of which shares its weights with a third.
Message normalized() {
  return model(graph({{node("LayerNormalization", {"x", "scale", "shift"}, {"n"}), node("MatMul", {"n", "w"}, {"a"}),
                       node("MatMul", {"n", "v"}, {"b"}), node("MatMul", {"x", "w"}, {"c"}),
                       node("Add", {"a", "b"}, {"d"}), node("Add", {"c", "d"}, {"y"})},
                      {value("x", {8, 4})},
                      {any_shape("y")},
                      {vector_of("scale", {1, 2, 3, 4}), vector_of("shift", {4, 3, 2, 1}), weights("w", {4, 2}),
                       weights("v", {4, 2})}}));
}

TEST_F(ExportQdq, SmoothsNormalizations) {
  Calibration calibration = ranges({"x", "n"});
  Smoothing& smoothing = calibration.smoothings["n"];
  smoothing.divisors = {1, 2, 4, 8};
  smoothing.range = {-1, 1, Method::kMse, ""};
  auto exported = export_model(normalized(), calibration);
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(exported->report.smoothed, 1);
  const Node* norm = exported->producer_of("n");
  for (int i = 0; i < 4; ++i) {
    EXPECT_FLOAT_EQ(floats(norm->input(1))[i], static_cast<float>(i + 1) / std::ldexp(1.0F, i));
    EXPECT_FLOAT_EQ(floats(norm->input(2))[i], static_cast<float>(4 - i) / std::ldexp(1.0F, i));
  }
  auto weights_of = [&](const char* output) {
    const Node* dequantize = exported->producer_of(output)->input(1)->producer;
    const Tensor& numbers = *dequantize->inputs[0]->constant;
    std::vector<float> real;
    for (int i = 0; i < 8; ++i)
      real.push_back(static_cast<float>(numbers.data<int8_t>()[i]) * floats(dequantize->inputs[1])[i % 2]);
    return real;
  };
  const std::vector<float> smoothed = weights_of("a"), plain = weights_of("c"), exact = ramp(8);
  for (int i = 0; i < 8; ++i) {
    EXPECT_NEAR(plain[i], exact[i], 2e-3);
    EXPECT_NEAR(smoothed[i], exact[i] * std::ldexp(1.0F, i / 2), 1e-2);
  }
  const Node* quantize = exported->producer_of("a")->input(0)->producer->input(0)->producer;
  EXPECT_FLOAT_EQ(floats(quantize->input(1))[0], 2.0F / 255);

  // A reader that stays in FP32 has other weights: what the others read is divided apart.
  QdqOptions options;
  options.fp32_nodes = {"b"};
  exported = export_model(normalized(), calibration, options);
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(exported->report.smoothed, 1);
  EXPECT_EQ(floats(exported->producer_of("n")->input(1))[3], 4);
  const Node* divides = exported->producer_of("a")->input(0)->producer->input(0)->producer->input(0)->producer;
  ASSERT_EQ(divides->op, "Mul");
  EXPECT_EQ(divides->input(0)->name, "n");
  for (int i = 0; i < 4; ++i) EXPECT_EQ(floats(divides->input(1))[i], std::ldexp(1.0F, -i));
  EXPECT_EQ(exported->producer_of("b")->input(0)->name, "n");
}

TEST_F(ExportQdq, BodiesAndFunctionsStay) {
  const Message then = graph({{node("Add", {"x", "w"}, {"t"})}, {}, {any_shape("t")}, {}});
  const Message other = graph({{node("MatMul", {"x", "v"}, {"e"})}, {}, {any_shape("e")}, {}});
  const Message branch =
      node("If", {"flag"}, {"b"}, {graph_attribute("then_branch", then), graph_attribute("else_branch", other)});
  const Message message = model(graph({{node("MatMul", {"x", "w"}, {"a"}), branch,
                                        node("Twice", {"a", "u"}, {"c"}, {}, "local"), node("Add", {"b", "c"}, {"y"})},
                                       {value("x", {4, 4}), value("flag", {1}, DType::kBool)},
                                       {any_shape("y")},
                                       {weights("w", {4, 4}), weights("v", {4, 4}), weights("u", {4, 4})}}),
                                18, {function("Twice", {"p", "q"}, {"r"}, {node("MatMul", {"p", "q"}, {"r"})})});
  auto exported = export_model(message, ranges({"x", "a"}));
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(exported->report.quantized, 1);
  auto file = MappedFile::open(folder_.file("q.onnx"));
  ASSERT_TRUE(file);
  auto proto = onnx::parse_model((*file)->bytes());
  ASSERT_TRUE(proto);
  std::set<std::string_view> names;
  for (const auto& initializer : proto->graph.initializers) names.insert(initializer.name);
  for (const char* kept : {"w", "v", "u"}) EXPECT_EQ(names.count(kept), 1U) << kept;
  EXPECT_EQ(proto->functions.size(), 1U);
  EXPECT_EQ(proto->graph.nodes.size(), 4U + 3U);
}

TEST_F(ExportQdq, ExternalDataIsFoundAgain) {
  const std::vector<float> data = ramp(32);
  ASSERT_TRUE(write_file_atomically(folder_.file("data.bin"), {std::as_bytes(std::span(data))}));
  const Message message =
      model(graph({{node("MatMul", {"x", "w"}, {"a"}), node("Add", {"a", "t"}, {"y"})},
                   {value("x", {4, 4})},
                   {any_shape("y")},
                   {external("w", {4, 4}, "data.bin", "0", "64"), external("t", {4, 4}, "data.bin", "64", "64")}}));
  auto exported = export_model(message, ranges({"x"}));
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(floats(exported->producer_of("y")->input(1))[0], data[16]);
  std::filesystem::create_directory(folder_.file("elsewhere"));
  output_ = "elsewhere/q.onnx";
  exported = export_model(message, ranges({"x"}));
  ASSERT_FALSE(exported);
  EXPECT_NE(exported.error().message.find("would not find tensor 't'"), std::string::npos) << exported.error().message;
  EXPECT_TRUE(std::filesystem::is_empty(folder_.file("elsewhere")));
  // Nothing of the file is left when all of its tensors are quantized.
  const Message alone = model(graph({{node("MatMul", {"x", "w"}, {"y"})},
                                     {value("x", {4, 4})},
                                     {any_shape("y")},
                                     {external("w", {4, 4}, "data.bin", "0", "64")}}));
  EXPECT_TRUE(export_model(alone, ranges({"x"})));
}

TEST_F(ExportQdq, SaysWhatStaysAndWhy) {
  auto exported = export_model(with_biases(), ranges({"x", "flat"}));
  ASSERT_TRUE(exported) << exported.error().message;
  EXPECT_EQ(exported->report.quantized, 2);
  ASSERT_EQ(exported->report.left_out.size(), 3U);
  EXPECT_EQ(exported->report.left_out[0].second, "nothing is known of the range of its input");
  auto nothing = export_model(with_biases(), ranges({"elsewhere"}));
  ASSERT_FALSE(nothing);
  EXPECT_NE(nothing.error().message.find("no product can be quantized"), std::string::npos);
}

}  // namespace
}  // namespace hussar
