// Activations from their formulas, in the ways that exporters write them.
#include <cmath>

#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Dims kDims = {2, Dim::symbol("n"), 8};

Value* one_plus_erf(GraphCase& test, Value* x, bool divides) {
  Value* inner =
      divides ? test.make("Div", {x, test.number(std::sqrt(2.0))}) : test.make("Mul", {test.number(M_SQRT1_2), x});
  return test.make("Add", {test.number(1), test.make("Erf", {inner})});
}

TEST(PassRecogniseGelu, ExactInEveryOrder) {
  for (int order = 0; order < 6; ++order) {
    GraphCase test;
    Value* x = test.input(kDims);
    Value* half = test.number(0.5);
    Value* e = one_plus_erf(test, x, order % 2 == 0);
    Value* y = nullptr;
    if (order % 3 == 0) y = test.make("Mul", {test.make("Mul", {x, e}), half});
    if (order % 3 == 1) y = test.make("Mul", {x, test.make("Mul", {half, e})});
    if (order % 3 == 2) y = test.make("Mul", {test.make("Div", {x, test.number(2)}), e});
    test.output(y);
    EXPECT_EQ(test.run("recognise_gelu"), 1) << order;
    EXPECT_EQ(test.graph.nodes().size(), 1U);
    EXPECT_EQ(test.graph.nodes()[0]->attributes.get_string("approximate", ""), "none");
  }
}

TEST(PassRecogniseGelu, Tanh) {
  for (int form = 0; form < 4; ++form) {
    GraphCase test;
    Value* x = test.input(kDims);
    Value* c = test.number(0.044715);
    Value* scale = test.number(std::sqrt(2 / M_PI));
    Value* square = test.make("Mul", {x, x});
    Value* inner = nullptr;
    if (form == 0) inner = test.make("Add", {x, test.make("Mul", {test.make("Pow", {x, test.number(3)}), c})});
    if (form == 1) inner = test.make("Add", {test.make("Mul", {c, test.make("Mul", {square, x})}), x});
    if (form == 2) inner = test.make("Mul", {x, test.make("Add", {test.number(1), test.make("Mul", {c, square})})});
    if (form == 3)
      inner = test.make("Add", {x, test.make("Mul", {x, test.make("Mul", {x, test.make("Mul", {c, x})})})});
    Value* tanh = test.make("Tanh", {test.make("Mul", {inner, scale})});
    Value* y = test.make("Mul", {test.make("Mul", {test.number(0.5), x}), test.make("Add", {tanh, test.number(1)})});
    test.output(y);
    EXPECT_EQ(test.run("recognise_gelu", 1e-4), 1) << form;
    EXPECT_EQ(test.graph.nodes().size(), 1U);
    EXPECT_EQ(test.graph.nodes()[0]->attributes.get_string("approximate", ""), "tanh");
  }
}

TEST(PassRecogniseGelu, RefusesOtherNumbersAndOtherUsers) {
  GraphCase test;
  Value* x = test.input(kDims);
  Value* e = one_plus_erf(test, x, true);
  test.output(test.make("Mul", {test.make("Mul", {x, e}), test.number(0.6)}));
  test.output(e);
  test.output(test.make("Mul", {test.make("Mul", {x, e}), test.number(0.5)}));
  EXPECT_EQ(test.run("recognise_gelu"), 0);
}

TEST(PassRecogniseGelu, RefusesANumberThatEnlargesTheShape) {
  GraphCase test;
  Value* x = test.input({8});
  Value* e = one_plus_erf(test, x, true);
  test.output(test.make("Mul", {test.make("Mul", {x, e}), test.constant({1, 1}, {0.5})}));
  EXPECT_EQ(test.run("recognise_gelu"), 0);
}

TEST(PassRecogniseSilu, WithAndWithoutSlope) {
  GraphCase test;
  Value* x = test.input(kDims);
  test.output(test.make("Mul", {test.make("Sigmoid", {x}), x}));
  test.output(test.make("Mul", {x, test.make("Sigmoid", {test.make("Mul", {x, test.number(1.702)})})}));
  EXPECT_EQ(test.run("recognise_silu"), 2);
  EXPECT_EQ(test.count("Swish"), 2);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
}

TEST(PassRecogniseSilu, RefusesAGate) {
  GraphCase test;
  Value* x = test.input(kDims);
  Value* gate = test.input(kDims);
  test.output(test.make("Mul", {x, test.make("Sigmoid", {gate})}));
  EXPECT_EQ(test.run("recognise_silu"), 0);
}

Value* clip(GraphCase& test, Value* x) {
  return test.make("Clip", {test.make("Add", {x, test.constant({1}, {3})}), test.number(0), test.number(6)});
}

TEST(PassRecogniseHardSwish, EveryForm) {
  GraphCase test;
  Value* x = test.input(kDims);
  Value* sixth = test.number(1.0 / 6);
  test.output(test.make("Div", {test.make("Mul", {x, clip(test, x)}), test.number(6)}));
  test.output(test.make("Mul", {x, test.make("Mul", {clip(test, x), sixth})}));
  test.output(test.make("Mul", {test.make("Div", {clip(test, x), test.number(6)}), x}));
  test.output(test.make("Mul", {x, test.make("HardSigmoid", {x}, with({{"alpha", 1.0F / 6}, {"beta", 0.5F}}))}));
  EXPECT_EQ(test.run("recognise_hard_swish"), 4);
  EXPECT_EQ(test.count("HardSwish"), 4);
  EXPECT_EQ(test.graph.nodes().size(), 4U);
}

TEST(PassRecogniseHardSwish, HardSigmoidAlone) {
  GraphCase test;
  Value* x = test.input(kDims);
  test.output(test.make("Div", {clip(test, x), test.number(6)}));
  Value* relu6 = test.make("Min", {test.make("Relu", {test.make("Add", {x, test.number(3)})}), test.number(6)});
  test.output(test.make("Mul", {relu6, test.number(1.0 / 6)}));
  EXPECT_EQ(test.run("recognise_hard_swish"), 2);
  EXPECT_EQ(test.count("HardSigmoid"), 2);
}

TEST(PassRecogniseHardSwish, RefusesTheDefaultHardSigmoid) {
  GraphCase test;
  Value* x = test.input(kDims);
  test.output(test.make("Mul", {x, test.make("HardSigmoid", {x})}));
  EXPECT_EQ(test.run("recognise_hard_swish"), 0);
}

TEST(PassRecogniseMish, BothForms) {
  GraphCase test;
  Value* x = test.input(kDims);
  test.output(test.make("Mul", {x, test.make("Tanh", {test.make("Softplus", {x})})}));
  Value* log = test.make("Log", {test.make("Add", {test.make("Exp", {x}), test.number(1)})});
  test.output(test.make("Mul", {test.make("Tanh", {log}), x}));
  EXPECT_EQ(test.run("recognise_mish"), 2);
  EXPECT_EQ(test.count("Mish"), 2);
}

TEST(PassRecogniseLeakyRelu, MaximumAndTwoSides) {
  GraphCase test;
  Value* x = test.input(kDims);
  test.output(test.make("Max", {x, test.make("Mul", {x, test.number(0.1)})}));
  Value* left = test.make("Relu", {test.make("Neg", {x})});
  test.output(test.make("Sub", {test.make("Relu", {x}), test.make("Mul", {test.number(0.25), left})}));
  Value* other = test.make("Relu", {test.make("Mul", {x, test.number(-1)})});
  test.output(test.make("Add", {test.make("Mul", {other, test.number(-0.3)}), test.make("Relu", {x})}));
  EXPECT_EQ(test.run("recognise_leaky_relu"), 3);
  EXPECT_EQ(test.count("LeakyRelu"), 3);
  EXPECT_EQ(test.graph.nodes().size(), 3U);
}

TEST(PassRecogniseSoftmax, AlongAnyAxis) {
  for (int64_t axis : {1, -1}) {
    GraphCase test;
    Value* x = test.input(kDims);
    Value* axes = test.integers({axis});
    Value* power = test.make("Exp", {test.make("Sub", {x, test.make("ReduceMax", {x, axes})})});
    test.output(test.make("Div", {power, test.make("ReduceSum", {power, axes})}));
    EXPECT_EQ(test.run("recognise_softmax"), 1);
    EXPECT_EQ(test.graph.nodes().size(), 1U);
  }
}

TEST(PassRecogniseSoftmax, WithoutFlattening) {
  GraphCase test;
  Value* x = test.input({2, 3, 8});
  Value* flat =
      test.make("Softmax", {test.make("Flatten", {x}, with({{"axis", int64_t{2}}}))}, with({{"axis", int64_t{-1}}}));
  test.output(test.make("Reshape", {flat, test.make("Shape", {x})}));
  Value* all =
      test.make("Softmax", {test.make("Flatten", {x}, with({{"axis", int64_t{1}}}))}, with({{"axis", int64_t{-1}}}));
  test.output(test.reshape(all, {2, 3, 8}));
  EXPECT_EQ(test.run("recognise_softmax"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 4U);
}

TEST(PassRecogniseSoftmax, RefusesDifferentAxes) {
  GraphCase test;
  Value* x = test.input(kDims);
  Value* largest = test.make("ReduceMax", {x, test.integers({1})});
  Value* power = test.make("Exp", {test.make("Sub", {x, largest})});
  test.output(test.make("Div", {power, test.make("ReduceSum", {power, test.integers({2})})}));
  EXPECT_EQ(test.run("recognise_softmax"), 0);
}

}  // namespace
}  // namespace hussar
