// Ranges that are counted in floating point.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

Value* columns_of(GraphCase& test, Value* x, DType dtype) {
  Value* count = test.make("Gather", {test.make("Shape", {x}), test.number(1, DType::kInt64)});
  return test.make("Cast", {count}, with({{"to", static_cast<int64_t>(dtype)}}));
}

TEST(PassIntegerRange, TheLengthBecomesKnown) {
  for (DType dtype : {DType::kFloat32, DType::kFloat64}) {
    GraphCase test;
    Value* x = test.input({Dim::symbol("R"), Dim::symbol("C")});
    Value* limit = columns_of(test, x, dtype);
    test.output(test.make("Range", {test.number(0, dtype), limit, test.number(1, dtype)}));
    test.output(test.make("Range", {test.number(7, dtype), limit, test.number(-2, dtype)}));
    EXPECT_EQ(test.run("integer_range"), 2);
    EXPECT_EQ((*test.graph.outputs[0]->dims)[0], Dim::symbol("C"));
    EXPECT_EQ(test.graph.outputs[0]->dtype, dtype);
  }
}

TEST(PassIntegerRange, FractionsStay) {
  GraphCase test;
  Value* limit = columns_of(test, test.input({2, 5}), DType::kFloat32);
  test.output(test.make("Range", {test.number(0.5), limit, test.number(1)}));
  test.output(test.make("Range", {test.number(0), limit, test.number(0.25)}));
  test.output(test.make("Range", {test.number(0), test.make("Mul", {limit, limit}), test.number(1)}));
  EXPECT_EQ(test.run("integer_range"), 0);
}

}  // namespace
}  // namespace hussar
