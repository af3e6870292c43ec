// MaskWatch: a pass that loses zeros of 2:4 weights is found, by the name of the node.
#include "passes/support/mask_watch.h"

#include <cmath>
#include <limits>
#include <span>

#include "passes/support/fake_quantize.h"
#include "tensor/convert.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

// Weights [n][k] of which the first two of four are kept in `shared` rows, the last two in the next so many.
Tensor masked(int64_t n, int64_t k, int64_t shared, DType dtype = DType::kFloat32) {
  std::vector<float> values;
  for (int64_t row = 0; row < n; ++row) {
    for (int64_t i = 0; i < k; ++i) values.push_back((i % 4 < 2) == (row / shared % 2 == 0) ? 1.0F : 0.0F);
  }
  return converted(Tensor::from<float>(DType::kFloat32, {n, k, 1, 1}, values), dtype);
}

class MaskWatched : public ::testing::Test {
 protected:
  void SetUp() override {
    node_ = test_.make("Conv", {test_.input({1, 16, 4, 4}), value(masked(64, 16, 32))})->producer;
    node_->name = "the_node";
    test_.output(node_->output());
  }
  Value* value(Tensor weights) { return test_.graph.add_constant(test_.graph.unique_name("w"), std::move(weights)); }
  Status become(Tensor weights) {
    MaskWatch watch(test_.graph);
    test_.graph.set_input(node_, 1, value(std::move(weights)));
    return watch.check(test_.graph, "some_pass");
  }

  GraphCase test_;
  Node* node_ = nullptr;
};

TEST_F(MaskWatched, MasksThatStay) {
  EXPECT_TRUE(become(masked(64, 16, 32)));
  EXPECT_TRUE(become(masked(64, 16, 64)));
  EXPECT_TRUE(become(masked(64, 16, 64, DType::kFloat16)));
  EXPECT_TRUE(become(masked(64, 16, 64, DType::kBFloat16)));
  EXPECT_TRUE(become(masked(64, 16, 64, DType::kInt8)));
  EXPECT_TRUE(become(masked(64, 16, 64, DType::kFloat8E4M3FN)));
}

TEST_F(MaskWatched, MasksThatAreLost) {
  Tensor dense = masked(64, 16, 32);
  dense.data<float>()[35 * 16] = std::numeric_limits<float>::quiet_NaN();
  const Status status = become(dense);
  ASSERT_FALSE(status);
  for (const char* part : {"node 'the_node'", "2:4x32", "not 2:4", "some_pass", "--disable-pass"})
    EXPECT_NE(status.error().message.find(part), std::string::npos) << part << ": " << status.error().message;
}

TEST_F(MaskWatched, MasksThatFewerChannelsShare) {
  const Status status = become(masked(64, 16, 16));
  ASSERT_FALSE(status);
  EXPECT_NE(status.error().message.find("were 2:4x32 and are 2:4x16"), std::string::npos) << status.error().message;
}

TEST_F(MaskWatched, HalvesCountWithNegativeZeros) {
  for (DType dtype : {DType::kFloat16, DType::kBFloat16}) {
    Tensor halves = masked(64, 16, 32, dtype);
    auto* bits = reinterpret_cast<uint16_t*>(halves.raw());
    for (int64_t i = 0; i < halves.elements(); ++i) bits[i] = bits[i] == 0 ? uint16_t{0x8000} : bits[i];
    EXPECT_TRUE(become(halves.clone()));
    bits[2] = 1;  // the least that is not zero
    EXPECT_FALSE(become(halves));
  }
}

TEST_F(MaskWatched, IntegersOfTheModelMayHaveZeroPoints) {
  node_->note = kQuantizedInModel;
  Tensor dense = masked(64, 16, 32);
  for (float& weight : std::span(dense.data<float>(), 4)) weight = 1;
  EXPECT_TRUE(become(dense));
}

// Through the whole pipeline: an infinite factor makes NaN of zeros.
TEST(MaskWatchInThePipeline, NamesTheNode) {
  for (double factor : {2.0, std::numeric_limits<double>::infinity()}) {
    GraphCase test;
    Value* y = test.make("Conv", {test.input({1, 16, 4, 4}), test.graph.add_constant("w", masked(64, 16, 64))});
    y->producer->name = "conv_of_the_file";
    test.output(test.make("Mul", {y, test.constant({1, 1, 1, 1}, {factor})}));
    const auto records = run_pipeline(test.graph, {});
    EXPECT_EQ(records.has_value(), factor == 2.0);
    if (records) continue;
    EXPECT_NE(records.error().message.find("conv_of_the_file"), std::string::npos) << records.error().message;
    EXPECT_NE(records.error().message.find("fold_batch_norm"), std::string::npos) << records.error().message;
  }
}

}  // namespace
}  // namespace hussar
