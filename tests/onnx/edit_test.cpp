// The wire writer, and changes to models as bytes.
#include "onnx/edit.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <random>

#include "onnx/proto.h"
#include "tests/support/onnx_writer.h"

namespace hussar::onnx {
namespace {

using tests::Message;

std::string text_of(const EditedModel& edited) {
  std::string text;
  for (Bytes piece : edited.pieces) text += as_text(piece);
  return text;
}

std::string edited(const Message& model, const ModelEdit& edit) {
  auto result = edit_model(model.bytes(), edit);
  EXPECT_TRUE(result) << result.error().message;
  return result ? text_of(*result) : "";
}

TEST(WireWriter, WritesWhatTheReaderReads) {
  const std::string before = Message().real(9, 1.5F).str();
  const WireWriter writer = WireWriter()
                                .integer(1, 300)
                                .integer(2, -1)
                                .text(3, "abc")
                                .fields(std::as_bytes(std::span(before)))
                                .text(0x1FFFFFFF, std::string(200, 'x'))
                                .begin(4, 2)
                                .integer(1, 5);
  const std::string& text = writer.message();
  WireReader reader(std::as_bytes(std::span(text)));
  Field field;
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.integer(), 300);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.integer(), -1);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(as_text(field.bytes), "abc");
  EXPECT_EQ(text.size() - reader.rest().size(), 3U + 11U + 5U);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.real(), 1.5F);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.id, 0x1FFFFFFFU);
  EXPECT_EQ(field.bytes.size(), 200U);
  ASSERT_TRUE(reader.next(field));
  EXPECT_EQ(field.bytes.size(), 2U);
  EXPECT_FALSE(reader.next(field));
  EXPECT_FALSE(reader.failed());
}

// With fields that no reader of ONNX knows, at every level.
Message strange_model() {
  Message add = tests::node("Add", {"x", "w"}, {"y"}).text(90, "in the node");
  Message graph = tests::graph({{tests::node("Relu", {"v"}, {"x"}), add},
                                {tests::value("v", {2}), tests::value("w", {2})},
                                {tests::value("y", {2})},
                                {tests::tensor_of<float>("w", DType::kFloat32, {2}, {1, 2})}});
  graph.text(91, "in the graph").message(13, tests::value("w", {2}));
  return tests::model(graph, 12).real(92, 2.5F).text(93, "in the model");
}

TEST(EditModel, NothingToDoCopiesEveryByte) { EXPECT_EQ(edited(strange_model(), {}), strange_model().str()); }

TEST(EditModel, ChangesWhatIsNamedAlone) {
  ModelEdit edit;
  edit.inputs[1] = {"x", "", "other"};
  edit.nodes_before[1] = {encode_node("Identity", "first", {"w"}, {"z"}, {{"axis", -2}})};
  edit.dropped_nodes = {0};
  edit.dropped_values = {"w"};
  edit.initializers = {encode_tensor("other", Tensor::from<float>(DType::kFloat32, {2, 1}, std::vector<float>{3, 4}))};
  edit.opset = 13;
  edit.least_ir_version = 10;
  const std::string text = edited(strange_model(), edit);
  for (const char* kept : {"in the node", "in the graph", "in the model"})
    EXPECT_NE(text.find(kept), std::string::npos) << kept;
  auto model = parse_model(std::as_bytes(std::span(text)));
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->opsets.at(""), 13);
  EXPECT_EQ(model->opsets.at("local"), 1);
  EXPECT_EQ(model->ir_version, 10);
  ASSERT_EQ(model->graph.nodes.size(), 2U);
  const NodeProto& added = model->graph.nodes[0];
  EXPECT_EQ(added.name, "first");
  EXPECT_EQ(added.attributes[0].i, -2);
  EXPECT_EQ(model->graph.nodes[1].op_type, "Add");
  EXPECT_EQ(model->graph.nodes[1].inputs, (std::vector<std::string_view>{"x", "", "other"}));
  ASSERT_EQ(model->graph.inputs.size(), 1U);
  EXPECT_EQ(model->graph.inputs[0].name, "v");
  ASSERT_EQ(model->graph.initializers.size(), 1U);
  EXPECT_EQ(model->graph.initializers[0].dims, (std::vector<int64_t>{2, 1}));
  EXPECT_EQ(model->graph.initializers[0].raw.size(), 8U);
}

// Where it stood, also where it is listed as an input.
TEST(EditModel, ReplacesInitializersWhereTheyStand) {
  ModelEdit edit;
  edit.replaced_initializers["w"] =
      encode_tensor("w", Tensor::from<float>(DType::kFloat32, {2}, std::vector<float>{5, 6}));
  const std::string text = edited(strange_model(), edit), before = strange_model().str();
  EXPECT_EQ(text.size(), before.size());
  auto model = parse_model(std::as_bytes(std::span(text)));
  ASSERT_TRUE(model) << model.error().message;
  ASSERT_EQ(model->graph.inputs.size(), 2U);
  ASSERT_EQ(model->graph.initializers.size(), 1U);
  float value = 0;
  std::memcpy(&value, model->graph.initializers[0].raw.data(), sizeof(value));
  EXPECT_EQ(value, 5);
}

TEST(EditModel, RandomBytesEndInAnAnswer) {
  ModelEdit edit;
  edit.dropped_values = {"v"};
  edit.replaced_initializers["w"] = "";
  edit.inputs[0] = {"x"};
  edit.opset = 13;
  std::mt19937 random(7);
  const std::string good = strange_model().str();
  for (int i = 0; i < 5000; ++i) {
    std::string text = good.substr(0, random() % (good.size() + 1));
    for (int k = 0; k < 3 && !text.empty(); ++k) text[random() % text.size()] = static_cast<char>(random());
    // A copy of the exact size, so that a read past the end is seen.
    std::vector<std::byte> bytes(text.size());
    std::transform(text.begin(), text.end(), bytes.begin(), [](char c) { return static_cast<std::byte>(c); });
    (void)edit_model(bytes, edit);
  }
}

TEST(EditModel, SeveralGraphsAreRefused) {
  Message model = strange_model();
  model.message(7, tests::graph({}));
  auto result = edit_model(model.bytes(), {});
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("several graphs"), std::string::npos);
}

}  // namespace
}  // namespace hussar::onnx
