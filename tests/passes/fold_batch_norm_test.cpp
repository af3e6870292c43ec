// Per-channel arithmetic behind linear operators.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

Value* batch_norm(GraphCase& test, Value* x, int64_t channels) {
  std::vector<double> variance;
  for (int64_t i = 0; i < channels; ++i) variance.push_back(0.5 + 0.25 * static_cast<double>(i));
  return test.make("BatchNormalization", {x, test.weights({channels}, 1), test.weights({channels}),
                                          test.weights({channels}), test.constant({channels}, variance)});
}

TEST(PassFoldBatchNorm, ConvolutionsOfAllKinds) {
  for (bool has_bias : {false, true}) {
    for (int64_t groups : {1, 2, 4}) {
      GraphCase test;
      Value* x = test.input({2, 4, 5, 6});
      std::vector<Value*> inputs = {x, test.weights({8, 4 / groups, 3, 3})};
      if (has_bias) inputs.push_back(test.weights({8}));
      Value* y = batch_norm(test, test.make("Conv", inputs, with({{"group", groups}})), 8);
      test.output(y);
      EXPECT_EQ(test.run("fold_batch_norm"), 1);
      EXPECT_EQ(test.graph.nodes().size(), 1U);
    }
  }
}

TEST(PassFoldBatchNorm, TransposedConvolutions) {
  for (int64_t groups : {1, 2}) {
    GraphCase test;
    Value* x = test.input({2, 4, 5, 6});
    Value* y = test.make("ConvTranspose", {x, test.weights({4, 3, 2, 2})}, with({{"group", groups}}));
    test.output(batch_norm(test, test.make("Add", {y, test.weights({3 * groups, 1, 1})}), 3 * groups));
    EXPECT_EQ(test.run("fold_batch_norm"), 2);
    EXPECT_EQ(test.graph.nodes().size(), 1U);
  }
}

TEST(PassFoldBatchNorm, Gemm) {
  for (int64_t transposed : {0, 1}) {
    GraphCase test;
    Value* x = test.input({3, 4});
    Value* w = test.weights(transposed != 0 ? Shape{5, 4} : Shape{4, 5});
    Value* y = test.make("Gemm", {x, w, test.weights({1, 5})},
                         with({{"transB", transposed}, {"alpha", 0.5F}, {"beta", 2.0F}}));
    test.output(batch_norm(test, y, 5));
    EXPECT_EQ(test.run("fold_batch_norm"), 1);
    EXPECT_EQ(test.graph.nodes().size(), 1U);
  }
}

TEST(PassFoldBatchNorm, MatMulKeepsAnAdd) {
  GraphCase test;
  Value* x = test.input({3, 4});
  test.output(batch_norm(test, test.make("MatMul", {x, test.weights({4, 5})}), 5));
  EXPECT_EQ(test.run("fold_batch_norm"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
  EXPECT_EQ(test.count("Add"), 1);
}

TEST(PassFoldBatchNorm, AloneBecomesMulAndAdd) {
  GraphCase test;
  Value* x = test.input({2, 4, Dim::symbol("h"), 6});
  test.output(batch_norm(test, x, 4));
  EXPECT_EQ(test.run("fold_batch_norm"), 1);
  EXPECT_EQ(test.count("Mul"), 1);
  EXPECT_EQ(test.count("Add"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
}

TEST(PassFoldBatchNorm, WeightsOfOthersStay) {
  GraphCase test;
  Value* x = test.input({1, 2, 4, 4});
  Value* w = test.weights({2, 2, 1, 1});
  Value* y = test.make("Conv", {x, w});
  test.output(batch_norm(test, y, 2));
  test.output(test.make("Conv", {x, w}));
  EXPECT_EQ(test.run("fold_batch_norm"), 1);
  EXPECT_EQ(test.count("Conv"), 2);
}

TEST(PassFoldBatchNorm, SharedResultIsKept) {
  GraphCase test;
  Value* x = test.input({1, 2, 4, 4});
  Value* y = test.make("Conv", {x, test.weights({2, 2, 1, 1})});
  test.output(y);
  test.output(batch_norm(test, y, 2));
  EXPECT_EQ(test.run("fold_batch_norm"), 1);
  EXPECT_EQ(test.count("Mul"), 1);
}

TEST(PassFoldBatchNorm, ArithmeticChains) {
  GraphCase test;
  Value* x = test.input({2, 3, 4, 4});
  Value* y = test.make("Conv", {x, test.weights({6, 3, 1, 1})});
  y = test.make("Mul", {test.number(2), y});
  y = test.make("Add", {y, test.weights({6, 1, 1})});
  y = test.make("Div", {y, test.weights({1, 6, 1, 1}, 9)});
  y = test.make("Sub", {y, test.weights({1})});
  y = test.make("Sub", {test.weights({6, 1, 1}), y});
  test.output(y);
  EXPECT_EQ(test.run("fold_batch_norm"), 5);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
}

TEST(PassFoldBatchNorm, RefusesWhatIsNotPerChannel) {
  GraphCase test;
  Value* x = test.input({1, 3, 4, 4});
  Value* conv = test.make("Conv", {x, test.weights({1, 3, 1, 1})});
  test.output(test.make("Mul", {conv, test.weights({5, 1, 1})}));  // enlarges one channel to five
  Value* other = test.make("Conv", {x, test.weights({4, 3, 1, 1})});
  test.output(test.make("Add", {other, test.weights({4})}));  // along the width
  Value* divided = test.make("Conv", {x, test.weights({4, 3, 1, 1})});
  test.output(test.make("Div", {test.number(1), divided}));
  EXPECT_EQ(test.run("fold_batch_norm"), 0);
}

TEST(PassFoldBatchNorm, VariableWeightsTakeAShiftOnly) {
  GraphCase test;
  Value* x = test.input({1, 3, 4, 4});
  Value* w = test.input({2, 3, 1, 1});
  Value* y = test.make("Add", {test.make("Conv", {x, w}), test.weights({2, 1, 1})});
  test.output(test.make("Mul", {y, test.number(3)}));
  EXPECT_EQ(test.run("fold_batch_norm"), 1);
  EXPECT_EQ(test.count("Mul"), 1);
}

}  // namespace
}  // namespace hussar
