// Casts of casts.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

Value* cast(GraphCase& test, Value* x, DType dtype) {
  return test.make("Cast", {x}, with({{"to", static_cast<int64_t>(dtype)}}));
}

TEST(PassMergeCasts, WideningIsLeftOut) {
  GraphCase test;
  Value* x = test.input({2, 3});
  test.output(cast(test, cast(test, x, DType::kFloat64), DType::kFloat16));
  EXPECT_EQ(test.run("merge_casts"), 1);
  EXPECT_EQ(test.count("Cast"), 1);
}

TEST(PassMergeCasts, NarrowingStays) {
  GraphCase test;
  Value* x = test.input({2, 3});
  test.output(cast(test, cast(test, x, DType::kFloat16), DType::kFloat32));
  test.output(cast(test, cast(test, x, DType::kInt32), DType::kFloat32));
  EXPECT_EQ(test.run("merge_casts"), 0);
  EXPECT_EQ(test.count("Cast"), 4);
}

TEST(PassMergeCasts, OthersMayUseTheFirst) {
  GraphCase test;
  Value* x = test.input({2, 3});
  Value* wide = cast(test, x, DType::kFloat64);
  test.output(test.make("Neg", {wide}));
  test.output(cast(test, wide, DType::kFloat16));
  EXPECT_EQ(test.run("merge_casts"), 1);
  EXPECT_EQ(test.count("Cast"), 2);
}

}  // namespace
}  // namespace hussar
