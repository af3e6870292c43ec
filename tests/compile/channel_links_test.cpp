// Channels between products in another order: which may be, and that the model computes the same.
#include "compile/channel_links.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "base/file.h"
#include "compile/order_channels.h"
#include "compile/sample.h"
#include "runtime/session.h"
#include "sparsify/permute.h"
#include "tests/support/folder.h"
#include "tests/support/prune_network.h"

namespace hussar {
namespace {

using namespace tests;

class ChannelLinks : public ::testing::Test {
 protected:
  PrunableModel open(const Message& message) {
    EXPECT_TRUE(write_file_atomically(folder_.file("m.onnx"), {message.bytes()}));
    auto model = open_prunable_model(folder_.file("m.onnx"), {{"x", {1, 4, 6, 6}}});
    EXPECT_TRUE(model) << model.error().message;
    return std::move(*model);
  }

  static std::vector<float> run(const Graph& graph) {
    auto plan = compile_graph(graph.clone(), {});
    EXPECT_TRUE(plan) << plan.error().message;
    auto session = Session::create(std::make_shared<const Plan>(std::move(*plan)));
    auto inputs = random_inputs(input_facts(graph), {}, 3);
    auto outputs = (*session)->run_in_order(*inputs);
    EXPECT_TRUE(outputs) << outputs.error().message;
    const auto* data = (*outputs)[0].data<float>();
    return {data, data + (*outputs)[0].elements()};
  }

  static void expect_same(const std::vector<float>& a, const std::vector<float>& b) {
    ASSERT_EQ(a.size(), b.size());
    for (size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-4F * (1 + std::fabs(a[i]))) << i;
  }

  Folder folder_;
};

Message graph_model(const std::vector<Message>& nodes, const std::vector<Message>& constants) {
  return model(graph({nodes, {value("x", {1, 4, 6, 6})}, {any_shape("y")}, constants}));
}

std::string spell(const PrunableModel& model, const ChannelLink& link) {
  std::string text(model.layers[link.producer].name());
  for (size_t consumer : link.consumers) text += " " + std::string(model.layers[consumer].name());
  return text;
}

// Not behind the stem, whose output a sum reads, too.
TEST_F(ChannelLinks, ChainsThatNobodyElseReads) {
  PrunableModel model = open(network());
  std::vector<std::string> found;
  for (const ChannelLink& link : find_channel_links(model)) found.push_back(spell(model, link));
  EXPECT_EQ(found, (std::vector<std::string>{"wide point", "gemm product", "product head"}));
}

TEST_F(ChannelLinks, AnyOrderComputesTheSame) {
  PrunableModel model = open(network());
  const std::vector<float> before = run(model.graph);
  std::mt19937 random(5);
  for (const ChannelLink& link : find_channel_links(model)) {
    std::vector<int32_t> order(static_cast<size_t>(model.layers[link.producer].n));
    std::iota(order.begin(), order.end(), 0);
    std::shuffle(order.begin(), order.end(), random);
    reorder_channels(model, link, order);
  }
  EXPECT_EQ(model.changed.size(), 3U + 5U);  // biases, and the weights of five products
  expect_same(before, run(model.graph));
}

// GELU as exporters write it, where a value is read twice; and batch normalization.
TEST_F(ChannelLinks, ThroughWhatLooksAtChannelsOneByOne) {
  auto vector = [](const char* name, uint32_t seed) {
    std::vector<float> values = normal(64, seed);
    for (float& value : values) value = 0.5F + std::fabs(value);
    return tensor_of(name, DType::kFloat32, {64}, values);
  };
  auto scalar = [](const char* name, float value) {
    return tensor_of(name, DType::kFloat32, {}, std::vector<float>{value});
  };
  PrunableModel model = open(graph_model(
      {named("one", "Conv", {"x", "w1"}, {"a"}), named("norm", "BatchNormalization", {"a", "s", "t", "m", "v"}, {"b"}),
       named("div", "Div", {"b", "root"}, {"c"}), named("erf", "Erf", {"c"}, {"d"}),
       named("plus", "Add", {"d", "unit"}, {"e"}), named("times", "Mul", {"b", "e"}, {"f"}),
       named("pool", "MaxPool", {"f"}, {"g"}, {attribute("kernel_shape", std::vector<int64_t>{2, 2})}),
       named("two", "Conv", {"g", "w2"}, {"h"}), named("relu", "Relu", {"h"}, {"y"})},
      {weights("w1", {64, 4, 1, 1}, 1), vector("s", 2), vector("t", 3), vector("m", 4), vector("v", 5),
       scalar("root", 1.4142F), scalar("unit", 1), weights("w2", {64, 64, 3, 3}, 6)}));
  const std::vector<ChannelLink> links = find_channel_links(model);
  ASSERT_EQ(links.size(), 1U);
  EXPECT_EQ(spell(model, links[0]), "one two");
  EXPECT_EQ(links[0].vectors.size(), 4U);
  const std::vector<float> before = run(model.graph);
  std::vector<int32_t> order(64);
  std::iota(order.rbegin(), order.rend(), 0);
  reorder_channels(model, links[0], order);
  expect_same(before, run(model.graph));
}

TEST_F(ChannelLinks, OrdersKeepMore) {
  for (int64_t shared : {1, 16}) {
    PrunableModel model = open(network());
    const std::vector<float> before = run(model.graph);
    std::vector<size_t> layers;
    for (size_t i = 0; i < model.layers.size(); ++i) {
      if (model.layers[i].reason.empty()) layers.push_back(i);
    }
    PruneOptions options;
    options.method = PruneMethod::kMagnitude;
    options.pattern.shared_rows = shared;
    auto energy = [&] {
      double sum = 0;
      auto result = prune_without_data(model, layers, options);
      EXPECT_TRUE(result) << result.error().message;
      for (const LayerChange& change : result->changes) sum += change.kept_energy;
      return sum;
    };
    const double plain = energy();
    auto reordered = order_channels(model, layers, nullptr, options);
    ASSERT_TRUE(reordered) << reordered.error().message;
    // The last product stays dense: only the one before it gains, where its rows share masks.
    EXPECT_EQ(*reordered, shared == 1 ? 2 : 3);
    EXPECT_GT(energy(), plain + 0.01);
    expect_same(before, run(model.graph));
  }
}

}  // namespace
}  // namespace hussar
