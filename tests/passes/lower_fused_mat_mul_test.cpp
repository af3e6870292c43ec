#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const std::string kFused = "com.microsoft.FusedMatMul";

TEST(PassLowerFusedMatMul, WeightsGetRowsUnscaled) {
  GraphCase test;
  Value* x = test.input({Dim::symbol("b"), 6, 5});
  Value* y = test.make(kFused, {x, test.weights({6, 7})}, with({{"transA", int64_t{1}}, {"alpha", 0.5F}}));
  test.output(test.make(kFused, {y, test.weights({3, 7})}, with({{"transB", int64_t{1}}, {"alpha", 2.0F}})));
  EXPECT_EQ(test.run("lower_fused_mat_mul"), 2);
  EXPECT_EQ(test.count("Transpose"), 1);
  EXPECT_EQ(test.count("MatMul"), 1);
  EXPECT_EQ(test.count(kFused), 1);
}

TEST(PassLowerFusedMatMul, OtherProductsStay) {
  GraphCase test;
  Value* x = test.input({6, 5});
  Value* y = test.input({6, 7});
  test.output(test.make(kFused, {x, y}, with({{"transA", int64_t{1}}})));
  test.output(test.make(kFused, {y, test.weights({3, 7})}, with({{"transB", int64_t{1}}})));
  Value* batch = test.input({4, 3, 2});
  test.output(test.make(kFused, {batch, test.weights({2, 3})}, with({{"transBatchA", int64_t{1}}})));
  EXPECT_EQ(test.run("lower_fused_mat_mul"), 0);
}

}  // namespace
}  // namespace hussar
