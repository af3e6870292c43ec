// Operators of ai.onnx.ml, and TfIdfVectorizer: what the tests of the onnx package leave out.
#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

Message reals(std::string_view name, const std::vector<float>& values) {
  Message message;
  message.text(1, name).varint(20, 6);
  for (float value : values) message.real(7, value);
  return message;
}
Message text(std::string_view name, std::string_view content) {
  return Message().text(1, name).text(4, content).varint(20, 3);
}
Message real_tensor(std::string_view name, const std::vector<float>& values) {
  return tensor_attribute(name, tensor_of(name, DType::kFloat32, {static_cast<int64_t>(values.size())}, values));
}
Message modes(const std::vector<uint8_t>& values) {
  return tensor_attribute("nodes_modes", tensor_of("m", DType::kUInt8, {static_cast<int64_t>(values.size())}, values));
}

// One node with one input and one output.
Result<Tensor> run(std::string_view op, std::string_view domain, const std::vector<Message>& attributes,
                   const Tensor& x) {
  std::vector<Extent> dims(x.shape().begin(), x.shape().end());
  Message whole =
      model(graph({{node(op, {"x"}, {"y"}, attributes, domain)}, {value("x", dims, x.dtype())}, {any_shape("y")}, {}}));
  whole.message(8, Message().text(1, "ai.onnx.ml").integer(2, 5));
  auto plan = HUSSAR_TRY(build(whole.bytes()));
  auto session = HUSSAR_TRY(Session::create(plan));
  return HUSSAR_TRY(session->run_in_order(std::vector<Tensor>{x}))[0].clone();
}

template <class T>
std::vector<T> elements(const Result<Tensor>& tensor) {
  EXPECT_TRUE(tensor) << tensor.error().message;
  if (!tensor) return {};
  return {tensor->template data<T>(), tensor->template data<T>() + tensor->elements()};
}

Tensor floats(const Shape& shape, const std::vector<float>& values) {
  return Tensor::from<float>(DType::kFloat32, shape, values);
}
Tensor integers(const std::vector<int64_t>& values) {
  return Tensor::from<int64_t>(DType::kInt64, {static_cast<int64_t>(values.size())}, values);
}

const std::string kMl = "ai.onnx.ml";

// [5] and [6] are single tokens, [5, 6] is a pair; their columns and weights differ.
std::vector<Message> pool(std::string_view mode, const std::vector<int64_t>& columns = {3, 1, 0}) {
  return {text("mode", mode),
          attribute("ngram_counts", std::vector<int64_t>{0, 2}),
          attribute("ngram_indexes", columns),
          attribute("pool_int64s", std::vector<int64_t>{5, 6, 5, 6}),
          reals("weights", {10, 20, 30}),
          attribute("min_gram_length", int64_t{1}),
          attribute("max_gram_length", int64_t{2}),
          attribute("max_skip_count", int64_t{0})};
}

TEST(TfIdfVectorizer, Weights) {
  Tensor x = integers({5, 6, 6});
  EXPECT_EQ(elements<float>(run("TfIdfVectorizer", "", pool("TF"), x)), (std::vector<float>{1, 2, 0, 1}));
  EXPECT_EQ(elements<float>(run("TfIdfVectorizer", "", pool("IDF"), x)), (std::vector<float>{30, 20, 0, 10}));
  EXPECT_EQ(elements<float>(run("TfIdfVectorizer", "", pool("TFIDF"), x)), (std::vector<float>{30, 40, 0, 10}));
}

TEST(TfIdfVectorizer, Refusals) {
  EXPECT_FALSE(run("TfIdfVectorizer", "", pool("TF", {3, 1}), integers({5})));
  EXPECT_FALSE(run("TfIdfVectorizer", "", pool("TF", {3, 1, -1}), integers({5})));
  EXPECT_FALSE(run("TfIdfVectorizer", "", pool("TF", {3, 1, int64_t{1} << 62}), integers({5})));
  auto strings = pool("TF");
  strings.push_back(Message().text(1, "pool_strings").text(9, "a").varint(20, 8));
  auto refused = run("TfIdfVectorizer", "", strings, integers({5}));
  ASSERT_FALSE(refused);
  EXPECT_NE(refused.error().message.find("strings"), std::string::npos) << refused.error().message;
}

TEST(LabelEncoder, NanAndTheFirstOfEqualKeys) {
  std::vector<Message> table = {reals("keys_floats", {1, NAN, 1}),
                                attribute("values_int64s", std::vector<int64_t>{5, 6, 7}),
                                attribute("default_int64", int64_t{9})};
  EXPECT_EQ(elements<int64_t>(run("LabelEncoder", kMl, table, floats({3}, {1, NAN, 2}))),
            (std::vector<int64_t>{5, 6, 9}));
  table.pop_back();
  EXPECT_EQ(elements<int64_t>(run("LabelEncoder", kMl, table, floats({1}, {2}))), (std::vector<int64_t>{-1}));
  EXPECT_FALSE(run("LabelEncoder", kMl, {}, floats({1}, {2})));
}

TEST(Scaler, OneOrAllFeatures) {
  Tensor x = floats({2, 2}, {1, 2, 3, 4});
  EXPECT_EQ(elements<float>(run("Scaler", kMl, {reals("offset", {1, 2}), reals("scale", {2, -1})}, x)),
            (std::vector<float>{0, 0, 4, -2}));
  EXPECT_EQ(elements<float>(run("Scaler", kMl, {reals("offset", {1}), reals("scale", {2})}, x)),
            (std::vector<float>{0, 2, 4, 6}));
  EXPECT_FALSE(run("Scaler", kMl, {reals("offset", {1, 2, 3}), reals("scale", {1, 2, 3})}, x));
}

TEST(Normalizer, RowsOfZeroStay) {
  Tensor x = floats({3, 2}, {3, -4, 0, 0, -1, -2});
  EXPECT_EQ(elements<float>(run("Normalizer", kMl, {text("norm", "L2")}, x))[0], 0.6F);
  EXPECT_EQ(elements<float>(run("Normalizer", kMl, {text("norm", "L1")}, floats({2}, {1, -3}))),
            (std::vector<float>{0.25, -0.75}));
  EXPECT_EQ(elements<float>(run("Normalizer", kMl, {text("norm", "MAX")}, x)),
            (std::vector<float>{1, -4.0F / 3, 0, 0, 1, 2}));
}

// Two trees over three features: x0 <= 0.5 ? (x1 < 0 ? leaf 0 : leaf 1) : leaf 1, and x2 > 0 ? leaf 2 : leaf 3.
std::vector<Message> forest(int64_t aggregate, int64_t first_true_node = 1) {
  auto list = [](std::string_view name, std::vector<int64_t> values) { return attribute(name, values); };
  return {attribute("aggregate_function", aggregate),
          attribute("n_targets", int64_t{2}),
          list("tree_roots", {0, 2}),
          real_tensor("nodes_splits", {0.5F, 0, 0}),
          modes({0, 1, 3}),
          list("nodes_featureids", {0, 1, 2}),
          list("nodes_truenodeids", {first_true_node, 0, 2}),
          list("nodes_trueleafs", {0, 1, 1}),
          list("nodes_falsenodeids", {1, 1, 3}),
          list("nodes_falseleafs", {1, 1, 1}),
          list("nodes_missing_value_tracks_true", {0, 1, 0}),
          list("leaf_targetids", {0, 1, 1, 0}),
          real_tensor("leaf_weights", {1, 2, 4, 8})};
}

TEST(TreeEnsemble, Aggregates) {
  // Leaves 0 and 2; 1 and 2; 0 (a NaN that follows the true branch) and 3.
  Tensor x = floats({3, 3}, {0, -1, 1, 1, 0, 1, 0, NAN, -1});
  EXPECT_EQ(elements<float>(run("TreeEnsemble", kMl, forest(0), x)), (std::vector<float>{0.5, 2, 0, 3, 4.5, 0}));
  EXPECT_EQ(elements<float>(run("TreeEnsemble", kMl, forest(1), x)), (std::vector<float>{1, 4, 0, 6, 9, 0}));
  EXPECT_EQ(elements<float>(run("TreeEnsemble", kMl, forest(2), x)), (std::vector<float>{1, 4, 0, 2, 1, 0}));
  EXPECT_EQ(elements<float>(run("TreeEnsemble", kMl, forest(3), x)), (std::vector<float>{1, 4, 0, 4, 8, 0}));
}

TEST(TreeEnsemble, HostileTrees) {
  EXPECT_FALSE(run("TreeEnsemble", kMl, forest(1, 0), floats({1, 3}, {0, 0, 0}))) << "a cycle";
  EXPECT_FALSE(run("TreeEnsemble", kMl, forest(1, 3), floats({1, 3}, {0, 0, 0}))) << "no such node";
  EXPECT_FALSE(run("TreeEnsemble", kMl, forest(1, -1), floats({1, 3}, {0, 0, 0})));
  EXPECT_FALSE(run("TreeEnsemble", kMl, forest(1), floats({1, 2}, {0, 0}))) << "too few features";
}

}  // namespace
}  // namespace hussar
