// The arena of networks as people have them, compiled: within five percent of what is alive at once.
#include <gtest/gtest.h>

#include "runtime/session.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

// Writes a convolutional network layer by layer; a layer is named by its output.
class Network {
 public:
  std::string conv(const std::string& x, int64_t in, int64_t out, int64_t size, int64_t stride = 1, int64_t group = 1) {
    const std::string weights = next("w");
    std::vector<float> numbers(static_cast<size_t>(out * (in / group) * size * size));
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 0.01F * static_cast<float>(static_cast<int>(i % 13) - 6);
    parts_.initializers.push_back(tensor_of(weights, DType::kFloat32, {out, in / group, size, size}, numbers));
    const std::vector<int64_t> pads(4, size / 2), strides(2, stride);
    return add("Conv", {x, weights},
               {attribute("pads", pads), attribute("strides", strides), attribute("group", group)});
  }
  std::string relu(const std::string& x) { return add("Relu", {x}); }
  std::string add(const std::string& op, const Names& inputs, const std::vector<Message>& attributes = {}) {
    std::string y = next("y");
    parts_.nodes.push_back(node(op, inputs, {y}, attributes));
    return y;
  }
  std::string constant(const std::vector<float>& numbers) {
    std::string name = next("c");
    parts_.initializers.push_back(tensor_of(name, DType::kFloat32, {static_cast<int64_t>(numbers.size())}, numbers));
    return name;
  }
  // The arena's bytes by their lower bound; x is [1,3,size,size].
  double ratio(int64_t size, const Names& outputs) {
    parts_.inputs = {value("x", {1, 3, size, size})};
    for (const std::string& output : outputs) parts_.outputs.push_back(any_shape(output));
    CompileOptions options;
    options.threads = 2;
    auto plan = build(model(graph(parts_)).bytes(), options);
    EXPECT_TRUE(plan.has_value()) << plan.error().message;
    if (!plan) return 0;
    auto session = Session::create(*plan);
    EXPECT_TRUE(session.has_value()) << session.error().message;
    if (!session || !(*session)->prepare(std::vector<Shape>{{1, 3, size, size}})) return 0;
    EXPECT_GT((*session)->arena_lower_bound(), 100000U);
    return static_cast<double>((*session)->arena_bytes()) / static_cast<double>((*session)->arena_lower_bound());
  }

 private:
  std::string next(const char* prefix) { return prefix + std::to_string(count_++); }
  GraphParts parts_;
  int count_ = 0;
};

TEST(Arena, ResidualNetwork) {
  Network net;
  std::string x = net.relu(net.conv("x", 3, 16, 7, 2));
  int64_t channels = 16;
  for (int64_t inner : {8, 16, 32}) {
    for (int block = 0; block < 3; ++block) {
      const int64_t stride = block == 0 && inner > 8 ? 2 : 1;
      std::string y = net.relu(net.conv(x, channels, inner, 1));
      y = net.conv(net.relu(net.conv(y, inner, inner, 3, stride)), inner, inner * 4, 1);
      x = block == 0 ? net.conv(x, channels, inner * 4, 1, stride) : x;
      x = net.relu(net.add("Add", {y, x}));
      channels = inner * 4;
    }
  }
  EXPECT_LE(net.ratio(96, {net.add("GlobalAveragePool", {x})}), 1.05);
}

TEST(Arena, InvertedResiduals) {
  Network net;
  std::string x = net.conv("x", 3, 16, 3, 2);
  for (int block = 0; block < 6; ++block) {
    const int64_t stride = block % 3 == 2 ? 2 : 1;
    std::string y = net.relu(net.conv(x, 16, 96, 1));
    y = net.relu(net.conv(y, 96, 96, 3, stride, 96));
    y = net.conv(y, 96, 16, 1);
    x = stride == 1 ? net.add("Add", {y, x}) : y;
  }
  EXPECT_LE(net.ratio(96, {x}), 1.05);
}

// Values that live from the way down to the way up, joins and outputs of three sizes, as detectors have them.
TEST(Arena, DetectorWithLongSkips) {
  Network net;
  const std::string scales = net.constant({1, 1, 2, 2});
  std::vector<std::string> skips;
  std::string x = net.conv("x", 3, 8, 3, 2);
  int64_t channels = 8;
  for (int level = 0; level < 4; ++level) {
    x = net.add("Mul", {x, net.add("Sigmoid", {x})});
    skips.push_back(x);
    x = net.conv(x, channels, channels * 2, 3, 2);
    channels *= 2;
  }
  Names outputs;
  for (int level = 3; level >= 0; --level) {
    x = net.add("Resize", {x, "", scales});
    x = net.add("Concat", {x, skips[static_cast<size_t>(level)]}, {attribute("axis", int64_t{1})});
    x = net.relu(net.conv(x, channels + channels / 2, channels / 2, 3));
    channels /= 2;
    if (level < 3) outputs.push_back(net.conv(x, channels, 4, 1));
  }
  EXPECT_LE(net.ratio(128, outputs), 1.05);
}

}  // namespace
}  // namespace hussar
