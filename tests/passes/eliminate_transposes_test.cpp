// Transposes move down and cancel.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Ints kToLast = {0, 2, 3, 1}, kToFirst = {0, 3, 1, 2};

TEST(PassEliminateTransposes, InversePairsAndChains) {
  GraphCase test;
  Value* x = test.input({2, 3, 4, 5});
  test.output(test.make("Relu", {test.transpose(test.transpose(x, kToLast), kToFirst)}));
  test.output(test.transpose(test.transpose(x, {1, 0, 2, 3}), {0, 1, 3, 2}));
  EXPECT_GE(test.run("eliminate_transposes"), 2);
  EXPECT_EQ(test.count("Transpose"), 1);
}

// What tf2onnx makes of a residual block: channels-last data with transposes around every convolution.
TEST(PassEliminateTransposes, ResidualBlock) {
  GraphCase test;
  auto conv = [&](Value* x) {
    Value* y = test.make("Conv", {test.transpose(x, kToFirst), test.weights({3, 3, 1, 1})});
    return test.transpose(y, kToLast);
  };
  Value* x = conv(test.input({1, 4, 5, 3}));
  Value* y = test.make("Add", {conv(test.make("Relu", {x})), test.weights({3})});
  y = test.make("Add", {x, test.make("Mul", {y, test.weights({5, 1})})});
  y = test.make("Clip", {y, test.number(0), test.number(6)});
  test.output(test.make("ReduceMean", {conv(y), test.integers({1, 2})}, with({{"keepdims", int64_t{0}}})));
  EXPECT_GT(test.run("eliminate_transposes"), 0);
  EXPECT_EQ(test.count("Transpose"), 1);  // of the input
}

TEST(PassEliminateTransposes, JoinsCutsPaddingAndResizing) {
  GraphCase test;
  Value* x = test.input({1, 3, 4, 6});
  Value* y = test.input({1, 2, 4, 6});
  Value* joined =
      test.make("Concat", {test.transpose(x, kToLast), test.transpose(y, kToLast)}, with({{"axis", int64_t{-1}}}));
  auto parts = test.make_many("Split", {joined, test.integers({1, 4})}, 2, with({{"axis", int64_t{3}}}));
  Value* cut = test.make(
      "Slice", {parts[1], test.integers({1, 0}), test.integers({4, 3}), test.integers({2, -1}), test.integers({2, 1})});
  Value* padded = test.make("Pad", {cut, test.integers({0, 1, 0, 0, 0, 0, 2, 1})});
  Value* resized = test.make("Resize", {padded, nullptr, test.constant({4}, {1, 2, 3, 1})},
                             with({{"mode", std::string("nearest")},
                                   {"coordinate_transformation_mode", std::string("asymmetric")},
                                   {"nearest_mode", std::string("floor")}}));
  test.output(test.transpose(resized, kToFirst));
  test.output(test.transpose(parts[0], kToFirst));
  EXPECT_GT(test.run("eliminate_transposes"), 0);
  EXPECT_EQ(test.count("Transpose"), 0);
}

TEST(PassEliminateTransposes, ReductionsWithoutTheirAxes) {
  GraphCase test;
  Value* x = test.input({2, 3, 4, 5});
  Value* t = test.transpose(x, {0, 2, 1, 3});
  test.output(test.make("ReduceSum", {t, test.integers({1})}, with({{"keepdims", int64_t{0}}})));
  Value* kept = test.make("ReduceMax", {t, test.integers({-1})});
  test.output(test.transpose(kept, {0, 2, 1, 3}));
  EXPECT_GT(test.run("eliminate_transposes"), 0);
  EXPECT_EQ(test.count("Transpose"), 0);
}

TEST(PassEliminateTransposes, MatrixProducts) {
  GraphCase test;
  Value* x = test.input({2, 4, 5});
  Value* y = test.input({2, 6, 5});
  test.output(test.make("MatMul", {x, test.transpose(y, {0, 2, 1})}));
  Value* a = test.input({4, 5});
  test.output(test.make("Gemm", {test.transpose(a, {1, 0}), test.weights({3, 4})}, with({{"transB", int64_t{1}}})));
  EXPECT_EQ(test.run("eliminate_transposes"), 2);
  EXPECT_EQ(test.count("Transpose"), 0);
  EXPECT_EQ(test.count("com.microsoft.FusedMatMul"), 1);
}

TEST(PassEliminateTransposes, LeavesWhatWouldNotPay) {
  GraphCase test;
  Value* x = test.input({2, 3, 4});
  Value* t = test.transpose(x, {0, 2, 1});
  test.output(test.make("Add", {t, test.input({2, 4, 3})}));
  test.output(test.make("Relu", {t}));
  test.output(test.make("Softmax", {t}, with({{"axis", int64_t{-1}}})));
  EXPECT_EQ(test.run("eliminate_transposes"), 0);
  EXPECT_EQ(test.count("Transpose"), 1);
}

}  // namespace
}  // namespace hussar
