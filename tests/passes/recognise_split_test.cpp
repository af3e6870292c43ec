// Slices that are the parts of a whole.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

Value* slice(GraphCase& test, Value* x, int64_t begin, int64_t end, int64_t axis, int64_t step = 1) {
  return test.make("Slice",
                   {x, test.integers({begin}), test.integers({end}), test.integers({axis}), test.integers({step})});
}

TEST(PassRecogniseSplit, PartsOfAWhole) {
  GraphCase test;
  Value* x = test.input({2, 7, Dim::symbol("w")});
  // Out of order, from the end, and beyond it; the axis from both sides.
  test.output(test.make("Neg", {slice(test, x, -4, 1000, -2)}));
  test.output(slice(test, x, 0, 2, 1));
  test.output(slice(test, x, 2, 3, 1));
  test.output(test.make("Abs", {x}));
  EXPECT_EQ(test.run("recognise_split"), 1);
  EXPECT_EQ(test.count("Split"), 1);
  EXPECT_EQ(test.count("Slice"), 0);
}

TEST(PassRecogniseSplit, ACountOfOneIsNoSplit) {
  GraphCase test;
  Value* x = test.input({2, 8});
  test.output(slice(test, x, 0, 8, 1));
  EXPECT_EQ(test.run("recognise_split"), 0);
}

TEST(PassRecogniseSplit, GapsOverlapsStepsAndOtherAxesStay) {
  for (int variant = 0; variant < 5; ++variant) {
    GraphCase test;
    Value* x = test.input({6, 6});
    test.output(slice(test, x, 0, 3, 1));
    switch (variant) {
      case 0: test.output(slice(test, x, 4, 6, 1)); break;
      case 1: test.output(slice(test, x, 2, 6, 1)); break;
      case 2: test.output(slice(test, x, 3, 5, 1)); break;
      case 3: test.output(slice(test, x, 3, 6, 0)); break;
      case 4: test.output(slice(test, x, -1, -4, 1, -1)); break;
    }
    EXPECT_EQ(test.run("recognise_split"), 0) << variant;
    EXPECT_EQ(test.count("Slice"), 2) << variant;
  }
}

TEST(PassRecogniseSplit, AnAxisOfOpenLengthStays) {
  GraphCase test;
  Value* x = test.input({2, Dim::symbol("n")});
  test.output(slice(test, x, 0, 1, 1));
  test.output(slice(test, x, 1, 1000, 1));
  EXPECT_EQ(test.run("recognise_split"), 0);
}

}  // namespace
}  // namespace hussar
