// Models made to do harm: each must be refused with a message that names the trouble, and nothing else may happen.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "onnx/import.h"
#include "tests/support/folder.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT: the vocabulary of this file

// The message of the refusal; fails the test when the model is built.
std::string refusal(const Message& model) {
  auto plan = build(model.bytes());
  EXPECT_FALSE(plan) << "it was accepted";
  return plan ? "" : plan.error().message;
}
#define EXPECT_REFUSED(model, words)                                              \
  do {                                                                            \
    std::string text = refusal(model);                                            \
    EXPECT_NE(text.find(words), std::string::npos) << "the message is: " << text; \
  } while (false)

Message relu_of(const Message& initializer) {
  return model(graph({{node("Relu", {"w"}, {"y"})}, {}, {value("y", {})}, {initializer}}));
}

TEST(Hostile, ImpossibleTensorShapes) {
  constexpr int64_t kHuge = int64_t{1} << 62;
  EXPECT_REFUSED(relu_of(tensor("w", DType::kFloat32, {kHuge, 4}, "")), "impossible shape");
  EXPECT_REFUSED(relu_of(tensor("w", DType::kFloat32, {0, kHuge, kHuge}, "")), "impossible shape");
  EXPECT_REFUSED(relu_of(tensor("w", DType::kFloat32, {1 << 20, 1 << 20, 1 << 20}, "")), "impossible shape");
  EXPECT_REFUSED(relu_of(tensor("w", DType::kFloat32, {-1}, "")), "impossible shape");
  EXPECT_REFUSED(relu_of(tensor("w", DType::kFloat32, {4}, "too short")), "bytes");
  EXPECT_REFUSED(relu_of(tensor("w", DType::kFloat32, {int64_t{1} << 30, 8}, "")), "");
  EXPECT_REFUSED(relu_of(tensor("w", DType::kFloat32, std::vector<int64_t>(13, 1), std::string(4, 'a'))), "rank");
}

TEST(Hostile, UnknownDTypes) {
  EXPECT_REFUSED(relu_of(Message().integer(1, 1).varint(2, 99).text(8, "w").text(9, "aaaa")), "dtype");
  EXPECT_REFUSED(relu_of(Message().integer(1, 1).varint(2, 257).text(8, "w").text(9, "aaaa")), "dtype");
  EXPECT_REFUSED(relu_of(tensor("w", DType::kComplex64, {1}, "aaaaaaaa")), "dtype");
}

TEST(Hostile, CyclicGraph) {
  EXPECT_REFUSED(
      model(graph(
          {{node("Add", {"x", "b"}, {"a"}), node("Relu", {"a"}, {"b"})}, {value("x", {2})}, {value("b", {2})}, {}})),
      "cycle");
  EXPECT_REFUSED(model(graph({{node("Relu", {"a"}, {"a"})}, {}, {value("a", {2})}, {}})), "cycle");
}

TEST(Hostile, MissingAndDoubleNames) {
  EXPECT_REFUSED(model(graph({{node("Relu", {"nowhere"}, {"y"})}, {}, {value("y", {2})}, {}})), "nowhere");
  EXPECT_REFUSED(model(graph({{node("Relu", {"x"}, {"y"})}, {value("x", {2})}, {value("z", {2})}, {}})), "'z'");
  EXPECT_REFUSED(
      model(graph({{node("Relu", {"x"}, {"y"}), node("Neg", {"x"}, {"y"})}, {value("x", {2})}, {value("y", {2})}, {}})),
      "twice");
  EXPECT_REFUSED(
      model(graph({{node("Relu", {"x"}, {"y"})}, {value("x", {2}), value("x", {3})}, {value("y", {2})}, {}})), "twice");
  EXPECT_REFUSED(model(graph({{node("Relu", {"x"}, {"x"})}, {value("x", {2})}, {value("x", {2})}, {}})), "twice");
  EXPECT_REFUSED(model(graph({{node("Constant", {}, {""}, {attribute("value_int", 1)}),
                               node("Constant", {}, {""}, {attribute("value_int", 1)}), node("Relu", {""}, {"y"})},
                              {},
                              {value("y", {})},
                              {}})),
                 "");
}

TEST(Hostile, WrongRanksAndShapes) {
  EXPECT_REFUSED(
      model(graph({{node("Add", {"x", "w"}, {"y"})}, {value("x", {2, 3}), value("w", {4})}, {any_shape("y")}, {}})),
      "broadcast");
  EXPECT_REFUSED(
      model(graph({{node("Softmax", {"x"}, {"y"}, {attribute("axis", 7)})}, {value("x", {2})}, {any_shape("y")}, {}})),
      "axis");
  EXPECT_REFUSED(model(graph({{node("Relu", {"x"}, {"y"})}, {value("x", {-5})}, {any_shape("y")}, {}})), "dimension");
  EXPECT_REFUSED(model(graph({{node("Relu", {"x", "x"}, {"y"})}, {value("x", {2})}, {any_shape("y")}, {}})), "inputs");
  EXPECT_REFUSED(model(graph({{node("Relu", {}, {"y"})}, {}, {any_shape("y")}, {}})), "inputs");
}

// If inside If inside If ...
Message nested(int depth) {
  Message body = graph({{node("Identity", {"x"}, {"out"})}, {}, {any_shape("out")}, {}});
  for (int i = 0; i < depth; ++i) {
    body = graph(
        {{node("If", {"c"}, {"out"}, {graph_attribute("then_branch", body), graph_attribute("else_branch", body)})},
         {},
         {any_shape("out")},
         {}});
  }
  return body;
}

TEST(Hostile, DeepNesting) {
  Message inner = graph({{node("Identity", {"x"}, {"out"})}, {}, {any_shape("out")}, {}});
  for (int i = 0; i < 5000; ++i) {
    inner = graph({{node("If", {"c"}, {"out"}, {graph_attribute("then_branch", inner)})}, {}, {any_shape("out")}, {}});
  }
  Message deep = model(graph({{node("If", {"c"}, {"y"}, {graph_attribute("then_branch", inner)})},
                              {value("x", {2}), value("c", {}, DType::kBool)},
                              {any_shape("y")},
                              {}}));
  EXPECT_REFUSED(deep, "nested deeper");
  // Both branches nest: the number of bodies is exponential in the depth.
  Message wide =
      model(graph({{node("If", {"c"}, {"y"},
                         {graph_attribute("then_branch", nested(9)), graph_attribute("else_branch", nested(9))})},
                   {value("x", {2}), value("c", {}, DType::kBool)},
                   {any_shape("y")},
                   {}}));
  EXPECT_TRUE(build(wide.bytes()));
}

TEST(Hostile, RecursiveAndExplodingFunctions) {
  GraphParts parts{{node("f", {"x"}, {"y"}, {}, "local")}, {value("x", {2})}, {any_shape("y")}, {}};
  auto call = [](const char* name, const char* input, const char* output) {
    return node(name, {input}, {output}, {}, "local");
  };
  EXPECT_REFUSED(model(graph(parts), 18, {function("f", {"a"}, {"b"}, {call("f", "a", "b")})}), "nested deeper");
  EXPECT_REFUSED(
      model(graph(parts), 18,
            {function("f", {"a"}, {"b"}, {call("g", "a", "b")}), function("g", {"a"}, {"b"}, {call("f", "a", "b")})}),
      "nested deeper");
  // Thirty levels, each calling the next twice.
  std::vector<Message> functions;
  for (int i = 0; i < 30; ++i) {
    std::string self = i == 0 ? "f" : "f" + std::to_string(i), next = "f" + std::to_string(i + 1);
    functions.push_back(function(self, {"a"}, {"c"}, {call(next.c_str(), "a", "b"), call(next.c_str(), "b", "c")}));
  }
  functions.push_back(function("f30", {"a"}, {"b"}, {node("Relu", {"a"}, {"b"})}));
  EXPECT_REFUSED(model(graph(parts), 18, functions), "more than");
}

TEST(Hostile, FunctionsThatWriteToTheirInputs) {
  GraphParts parts{{node("f", {"x"}, {"y"}, {}, "local")}, {value("x", {2})}, {any_shape("y")}, {}};
  EXPECT_REFUSED(
      model(graph(parts), 18, {function("f", {"a"}, {"b"}, {node("Relu", {"b"}, {"a"}), node("Neg", {"a"}, {"b"})})}),
      "");
  EXPECT_REFUSED(
      model(graph(parts), 18,
            {function("f", {"a"}, {"b"},
                      {node("Constant", {}, {"a"}, {attribute("value_int", 1)}), node("Neg", {"a"}, {"b"})})}),
      "");
}

TEST(Hostile, ManyUnsupportedThingsAreOneList) {
  std::string text =
      refusal(model(graph({{node("Mystery", {"x"}, {"a"}), node("Riddle", {"a"}, {"y"}, {}, "other.domain")},
                           {value("x", {2})},
                           {any_shape("y")},
                           {}})));
  EXPECT_NE(text.find("2 unsupported"), std::string::npos) << text;
  EXPECT_NE(text.find("'Mystery_node'"), std::string::npos) << text;
  EXPECT_NE(text.find("other.domain.Riddle"), std::string::npos) << text;
}

// How often `words` stand in the text.
size_t occurrences(const std::string& text, const std::string& words) {
  size_t count = 0;
  for (size_t at = text.find(words); at != std::string::npos; at = text.find(words, at + 1)) ++count;
  return count;
}

TEST(Hostile, DTypesAreInTheListOfUnsupportedThings) {
  Message weights = tensor("w", DType::kComplex64, {1}, "aaaaaaaa");
  Message constant = node("Constant", {}, {"c"}, {tensor_attribute("value", weights)});
  std::string text =
      refusal(model(graph({{node("Mystery", {"x"}, {"a"}), constant, node("Add", {"a", "w"}, {"b"}),
                            node("Add", {"b", "c"}, {"y"}), node("Cast", {"x"}, {"z"}, {attribute("to", 8)})},
                           {value("x", {2}), value("w", {1}, DType::kComplex64)},
                           {any_shape("y"), any_shape("z")},
                           {weights}})));
  EXPECT_NE(text.find("4 malformed or unsupported"), std::string::npos) << text;
  EXPECT_NE(text.find("operator Mystery"), std::string::npos) << text;
  EXPECT_NE(text.find("initializer 'w': dtype 14 (complex64)"), std::string::npos) << text;
  EXPECT_NE(text.find("node 'Constant_node': attribute"), std::string::npos) << text;
  EXPECT_NE(text.find("'Cast_node'"), std::string::npos) << text;
  EXPECT_EQ(text.find("Add"), std::string::npos) << "of its own it is fine: " << text;
}

TEST(Hostile, NodesThatInferenceRefusesAreInTheListOfUnsupportedThings) {
  auto rotary = [](const char* x, const char* y) {
    return node("Attention", {x, "w"}, {y}, {attribute("do_rotary", 1), attribute("num_heads", 2)}, "com.microsoft");
  };
  GraphParts parts{{rotary("x", "a"), node("Mystery", {"a"}, {"b"}), rotary("b", "c"),
                    node("FusedMatMul", {"b", "b"}, {"d"}, {}, "com.microsoft"), node("Gather", {"w", "b"}, {"y"})},
                   {value("x", {1, 3, 8}), value("w", {8, 24})},
                   {any_shape("y"), any_shape("c"), any_shape("d")},
                   {}};
  std::string text = refusal(model(graph(parts)));
  EXPECT_NE(text.find("3 malformed or unsupported"), std::string::npos) << text;
  EXPECT_NE(text.find("operator Mystery"), std::string::npos) << text;
  EXPECT_EQ(occurrences(text, "rotary embedding"), 2) << text;
}

TEST(Hostile, EveryMalformedNodeIsNamed) {
  GraphParts parts{{node("Cast", {"x"}, {"a"}, {attribute("to", 8)}), node("Cast", {"x"}, {"b"}, {attribute("to", 14)}),
                    node("Softmax", {"x"}, {"c"}, {attribute("axis", 7)}), node("Relu", {"c"}, {"d"}),
                    node("Concat", {"a", "d"}, {"e"}, {attribute("axis", 0)}),
                    node("Flatten", {"e"}, {"y"}, {attribute("axis", 1)})},
                   {value("x", {2})},
                   {any_shape("y"), any_shape("b")},
                   {}};
  auto plan = build(model(graph(parts)).bytes());
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalidModel);
  const std::string& text = plan.error().message;
  EXPECT_NE(text.find("3 malformed or unsupported nodes"), std::string::npos) << text;
  EXPECT_EQ(occurrences(text, "'Cast_node'"), 2) << text;
  EXPECT_EQ(occurrences(text, "'Softmax_node'"), 1) << text;
  for (const char* follower : {"Relu", "Concat", "Flatten"}) EXPECT_EQ(text.find(follower), std::string::npos) << text;
}

TEST(Hostile, MalformedNodesInBodiesAreNamed) {
  auto cast = [](const char* x) { return node("Cast", {x}, {"out"}, {attribute("to", 8)}); };
  auto branch = [](const Message& one) { return graph({{one}, {}, {any_shape("out")}, {}}); };
  auto choose = [](const char* y, const Message& a, const Message& b) {
    return node("If", {"c"}, {y}, {graph_attribute("then_branch", a), graph_attribute("else_branch", b)});
  };
  Message good = branch(node("Relu", {"bad"}, {"out"}));
  auto make = [&](const Message& first, const Message& second) {
    return model(graph({{node("Softmax", {"x"}, {"bad"}, {attribute("axis", 7)}), first, second},
                        {value("x", {2}), value("c", {}, DType::kBool)},
                        {any_shape("y"), any_shape("z")},
                        {}}));
  };
  std::string text = refusal(make(choose("y", branch(cast("x")), branch(cast("x"))), choose("z", good, good)));
  EXPECT_EQ(occurrences(text, "'Cast_node'"), 2) << text;
  EXPECT_EQ(text.find("Relu"), std::string::npos) << text;
  // One branch of an If may fail: it is never taken.
  text = refusal(make(choose("y", branch(cast("x")), good), choose("z", branch(cast("bad")), branch(cast("bad")))));
  EXPECT_EQ(occurrences(text, "'Cast_node'"), 2) << text;
  EXPECT_EQ(occurrences(text, "'Softmax_node'"), 1) << text;
}

TEST(Hostile, LongListsAreCut) {
  constexpr int kNodes = 3000;
  std::vector<Message> nodes, mysteries;
  for (int i = 0; i < kNodes; ++i) {
    std::string number = std::to_string(i);
    nodes.push_back(
        node("Cast", {i % 2 == 0 ? "x" : "c" + std::to_string(i - 1)}, {"c" + number}, {attribute("to", 8)}));
    mysteries.push_back(node("Mystery" + number + std::string(2000, 'm'), {"x"}, {"m" + number}));
  }
  std::string text = refusal(model(graph({nodes, {value("x", {2})}, {any_shape("c7")}, {}})));
  EXPECT_NE(text.find("1000 malformed"), std::string::npos) << text.substr(0, 1000);
  EXPECT_EQ(occurrences(text, "\n  "), 1000);
  EXPECT_LT(text.size(), 200'000);
  text = refusal(model(graph({mysteries, {value("x", {2})}, {any_shape("m7")}, {}})));
  EXPECT_NE(text.find("2000 more"), std::string::npos) << text.substr(0, 1000);
  EXPECT_LT(text.size(), 600'000);
}

TEST(Hostile, UnknownOperatorsOfNewerOpsetsAreNamed) {
  GraphParts parts{{node("Mystery", {"x"}, {"y"})}, {value("x", {2})}, {any_shape("y")}, {}};
  std::string text = refusal(model(graph(parts), 99));
  EXPECT_NE(text.find("opset 99"), std::string::npos) << text;
  EXPECT_NE(text.find("'Mystery_node'"), std::string::npos) << text;
}

TEST(Hostile, OperatorsOfOurOwnDomainAreRefused) {
  EXPECT_REFUSED(
      model(graph({{node("Reformat", {"x"}, {"y"}, {}, "hussar")}, {value("x", {2})}, {any_shape("y")}, {}})),
      "unsupported");
  EXPECT_REFUSED(model(graph({{node("hussar.Reformat", {"x"}, {"y"})}, {value("x", {2})}, {any_shape("y")}, {}})),
                 "unsupported");
}

TEST(Hostile, NotAModel) {
  for (const char* text : {"", "GARBAGE", "\x08\x07", "PK\x03\x04"}) {
    auto plan = build(std::as_bytes(std::span(text, std::strlen(text))));
    ASSERT_FALSE(plan);
    EXPECT_EQ(plan.error().code, ErrorCode::kInvalidModel);
  }
  EXPECT_REFUSED(model(graph({{}, {}, {}, {}}), 99), "opset");
  EXPECT_REFUSED(model(graph({{}, {}, {}, {}}), -3), "opset");
}

class HostileExternalData : public ::testing::Test {
 protected:
  // The answer to a model in `model_folder` whose weights lie at `location`.
  Result<onnx::ImportedModel> import(const std::string& location, const std::string& offset = "",
                                     const std::string& length = "") {
    Message bytes = relu_of(external("w", {4}, location, offset, length));
    std::string path = folder_.file("models/m.onnx");
    std::ofstream(path, std::ios::binary) << bytes.str();
    return onnx::import_file(path);
  }
  void SetUp() override {
    std::filesystem::create_directories(folder_.file("models/inner"));
    for (const char* name : {"secret.bin", "models/w.bin", "models/inner/w.bin"}) {
      std::ofstream(folder_.file(name), std::ios::binary) << std::string(16, '\1');
    }
  }
  void expect_refused(const Result<onnx::ImportedModel>& model, const char* words) {
    ASSERT_FALSE(model);
    EXPECT_NE(model.error().message.find(words), std::string::npos) << model.error().message;
  }
  Folder folder_;
};

TEST_F(HostileExternalData, InsideIsRead) {
  EXPECT_TRUE(import("w.bin"));
  EXPECT_TRUE(import("inner/w.bin"));
  EXPECT_TRUE(import("inner/../w.bin"));
  EXPECT_TRUE(import("w.bin", "0", "16"));
}

TEST_F(HostileExternalData, OutsideIsRefused) {
  expect_refused(import("../secret.bin"), "outside");
  expect_refused(import("inner/../../secret.bin"), "outside");
  expect_refused(import(folder_.file("secret.bin")), "outside");
  expect_refused(import(folder_.file("models/w.bin")), "outside");
  expect_refused(import("../models-evil/w.bin"), "outside");
  expect_refused(import("/etc/passwd"), "outside");
  expect_refused(import("/proc/self/mem"), "outside");
}

TEST_F(HostileExternalData, LinksThatLeaveAreRefused) {
  std::filesystem::create_symlink(folder_.file("secret.bin"), folder_.file("models/link.bin"));
  std::filesystem::create_symlink(folder_.path(), folder_.file("models/door"));
  std::filesystem::create_symlink("w.bin", folder_.file("models/fine.bin"));
  expect_refused(import("link.bin"), "outside");
  expect_refused(import("door/secret.bin"), "outside");
  EXPECT_TRUE(import("fine.bin"));
}

TEST_F(HostileExternalData, WrongRangesAreRefused) {
  expect_refused(import("w.bin", "8"), "bytes");
  expect_refused(import("w.bin", "0", "17"), "bytes");
  expect_refused(import("w.bin", "18446744073709551600", "16"), "offset");
  expect_refused(import("w.bin", "9223372036854775807", "16"), "offset");
  expect_refused(import("w.bin", "-1"), "offset");
  expect_refused(import("w.bin", "zero"), "offset");
  expect_refused(import("missing.bin"), "cannot open");
  expect_refused(import("inner"), "not a regular file");
  expect_refused(import(std::string("w.bin\0x", 7)), "");
  expect_refused(import(std::string(100000, 'a')), "");
}

TEST_F(HostileExternalData, InMemoryModelsHaveNone) {
  EXPECT_REFUSED(relu_of(external("w", {4}, "w.bin")), "not from memory");
}

}  // namespace
}  // namespace hussar
