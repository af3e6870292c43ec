// Editing graphs: links stay right, names stay public, verify sees what is wrong.
#include "graph/graph.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <unordered_map>

namespace hussar {
namespace {

// x -> Relu -> a -> Relu -> y
struct Chain {
  Graph graph;
  Value* x = graph.add_value("x", DType::kFloat32, Dims{2});
  Value* a = graph.add_value("a", DType::kFloat32, Dims{2});
  Value* y = graph.add_value("y", DType::kFloat32, Dims{2});
  Node* first = graph.add_node("Relu", "first", {x}, {a});
  Node* second = graph.add_node("Relu", "second", {a}, {y});
  Chain() {
    graph.inputs = {x};
    graph.outputs = {y};
  }
};

// Users and producers agree with the nodes' lists.
void expect_linked(const Graph& graph) {
  std::unordered_map<const Value*, size_t> uses;
  for (const auto& node : graph.nodes()) {
    for (const Value* value : node->inputs) {
      if (value == nullptr) continue;
      ++uses[value];
      EXPECT_NE(std::find(value->users.begin(), value->users.end(), node.get()), value->users.end());
    }
    for (const Value* value : node->outputs) {
      if (value != nullptr) {
        EXPECT_EQ(value->producer, node.get());
      }
    }
  }
  for (const auto& value : graph.values()) EXPECT_EQ(value->users.size(), uses[value.get()]) << value->name;
}

TEST(Graph, ReplaceUsesMovesEveryUser) {
  Chain chain;
  Value* b = chain.graph.add_value("b", DType::kFloat32, Dims{2});
  chain.graph.add_node("Relu", "other", {chain.x}, {b});
  chain.graph.replace_uses(chain.a, b);
  EXPECT_EQ(chain.second->inputs[0], b);
  EXPECT_TRUE(chain.a->users.empty());
  ASSERT_TRUE(chain.graph.sort());
  EXPECT_TRUE(chain.graph.verify());
  expect_linked(chain.graph);
}

TEST(Graph, OutputsKeepTheirNames) {
  Chain chain;
  chain.graph.replace_uses(chain.y, chain.a);  // an inner value takes the public name over
  EXPECT_EQ(chain.graph.outputs[0]->name, "y");
  EXPECT_EQ(chain.graph.outputs[0], chain.a);
  chain.graph.sweep();
  EXPECT_EQ(chain.graph.nodes().size(), 1U);
  EXPECT_TRUE(chain.graph.verify());
  chain.graph.replace_uses(chain.graph.outputs[0], chain.x);  // a graph input keeps its own: a node is needed
  EXPECT_EQ(chain.graph.outputs[0]->name, "y");
  EXPECT_EQ(chain.x->name, "x");
  chain.graph.sweep();
  ASSERT_TRUE(chain.graph.sort());
  ASSERT_TRUE(chain.graph.verify());
  ASSERT_EQ(chain.graph.nodes().size(), 1U);
  EXPECT_EQ(chain.graph.nodes()[0]->op, "Identity");
  expect_linked(chain.graph);
}

TEST(Graph, ConstantOutputsKeepTheirNames) {
  Chain chain;
  Value* constant = chain.graph.add_constant("c", Tensor(DType::kFloat32, {2}));
  chain.graph.replace_uses(chain.y, constant);
  chain.graph.sweep();
  EXPECT_EQ(chain.graph.outputs[0]->name, "y");
  ASSERT_TRUE(chain.graph.sort());
  EXPECT_TRUE(chain.graph.verify());
}

TEST(Graph, SweepKeepsInputsAndWhatIsUsed) {
  Chain chain;
  Value* dead = chain.graph.add_value("dead");
  chain.graph.add_node("Relu", "unused", {chain.a}, {dead});
  EXPECT_EQ(chain.graph.sweep(), 1U);
  EXPECT_EQ(chain.graph.nodes().size(), 2U);
  EXPECT_EQ(chain.graph.inputs.size(), 1U);
  EXPECT_EQ(chain.a->users.size(), 1U);
  expect_linked(chain.graph);
}

TEST(Graph, UniqueNamesCountPerPrefix) {
  Graph graph;
  EXPECT_EQ(graph.unique_name("a"), "a~1");
  EXPECT_EQ(graph.unique_name("b"), "b~1");
  graph.add_value("a~7");
  graph.add_value("b~9223372036854775807");
  graph.add_value("b~");
  graph.add_value("~");
  EXPECT_EQ(graph.clone().unique_name("a"), "a~8");
  EXPECT_EQ(graph.unique_name("a"), "a~8");
  EXPECT_EQ(graph.unique_name("b"), "b~2");
  EXPECT_EQ(graph.unique_name("a~7"), "a~7~1");
}

TEST(Graph, SetInputUpdatesUsers) {
  Chain chain;
  chain.graph.set_input(chain.second, 2, chain.x);
  ASSERT_EQ(chain.second->inputs.size(), 3U);
  EXPECT_EQ(chain.second->inputs[1], nullptr);
  chain.graph.set_input(chain.second, 0, chain.x);
  EXPECT_EQ(std::count(chain.x->users.begin(), chain.x->users.end(), chain.second), 2);
  expect_linked(chain.graph);
}

TEST(Graph, SortIsStableAndFindsCycles) {
  std::mt19937 random(3);
  for (int round = 0; round < 50; ++round) {
    Graph graph;
    Value* x = graph.add_value("x");
    graph.inputs = {x};
    std::vector<Value*> values = {x};
    std::vector<std::pair<std::vector<Value*>, Value*>> pending;
    for (int i = 0; i < 30; ++i) {
      std::vector<Value*> inputs = {values[random() % values.size()], values[random() % values.size()]};
      values.push_back(graph.add_value("v" + std::to_string(i)));
      pending.emplace_back(inputs, values.back());
    }
    graph.outputs = {values.back()};
    std::shuffle(pending.begin(), pending.end(), random);
    for (auto& [inputs, output] : pending) graph.add_node("Add", output->name, inputs, {output});
    ASSERT_TRUE(graph.sort());
    ASSERT_TRUE(graph.verify());
    std::string order = graph.to_string();
    ASSERT_TRUE(graph.sort());
    EXPECT_EQ(graph.to_string(), order);
  }
  Chain chain;
  chain.graph.set_input(chain.first, 0, chain.y);
  auto status = chain.graph.sort();
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("cycle"), std::string::npos);
}

TEST(Graph, VerifySeesWrongLinks) {
  {
    Chain chain;
    chain.graph.add_node("Relu", "rival", {chain.x}, {chain.y});
    EXPECT_FALSE(chain.graph.verify());
  }
  {
    Chain chain;
    chain.y->constant = Tensor(DType::kFloat32, {2});
    EXPECT_FALSE(chain.graph.verify());
  }
  {
    Chain chain;
    chain.graph.outputs = {chain.graph.add_value("nothing makes it")};
    EXPECT_FALSE(chain.graph.verify());
  }
  {
    Graph graph;
    Value* x = graph.add_value("x");
    Value* y = graph.add_value("y");
    graph.add_node("Relu", "n", {x}, {y});
    graph.outputs = {y};
    EXPECT_FALSE(graph.verify());
  }
}

TEST(Graph, CloneIsIndependentAndEqual) {
  Chain chain;
  Graph copy = chain.graph.clone();
  EXPECT_EQ(copy.to_string(), chain.graph.to_string());
  copy.remove(copy.nodes()[0].get());
  EXPECT_EQ(chain.graph.nodes().size(), 2U);
  expect_linked(chain.graph);
  EXPECT_TRUE(chain.graph.verify());
}

TEST(Graph, UniqueNamesAreUnique) {
  Graph graph;
  std::string a = graph.unique_name("n"), b = graph.unique_name("n");
  EXPECT_NE(a, b);
  EXPECT_NE(graph.clone().unique_name("n"), a);
}

}  // namespace
}  // namespace hussar
