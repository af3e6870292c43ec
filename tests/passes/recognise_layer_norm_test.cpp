// Layer and RMS normalisation from their formulas.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

const Dims kDims = {2, Dim::symbol("n"), 8};

Value* mean(GraphCase& test, Value* x, const Ints& axes = {-1}) {
  return test.make("ReduceMean", {x, test.integers(axes)});
}

Value* deviation(GraphCase& test, Value* variance) {
  return test.make("Sqrt", {test.make("Add", {variance, test.number(1e-5)})});
}

Value* scale_and_bias(GraphCase& test, Value* x) {
  return test.make("Add", {test.weights({8}), test.make("Mul", {x, test.weights({8})})});
}

TEST(PassRecogniseLayerNorm, PowerAndProduct) {
  for (bool is_power : {false, true}) {
    GraphCase test;
    Value* x = test.input(kDims);
    Value* centred = test.make("Sub", {x, mean(test, x)});
    Value* square = is_power ? test.make("Pow", {centred, test.number(2)}) : test.make("Mul", {centred, centred});
    test.output(scale_and_bias(test, test.make("Div", {centred, deviation(test, mean(test, square))})));
    EXPECT_EQ(test.run("recognise_layer_norm"), 3);
    EXPECT_EQ(test.count("LayerNormalization"), 1);
    EXPECT_EQ(test.graph.nodes().size(), 1U);
  }
}

TEST(PassRecogniseLayerNorm, WithoutScaleOverTwoAxes) {
  GraphCase test;
  Value* x = test.input({3, 4, 5});
  Value* centred = test.make("Sub", {x, mean(test, x, {1, 2})});
  Value* square = test.make("Mul", {centred, centred});
  test.output(test.make("Div", {centred, deviation(test, mean(test, square, {-1, -2}))}));
  EXPECT_EQ(test.run("recognise_layer_norm"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
}

TEST(PassRecogniseLayerNorm, ReciprocalTimesScale) {
  GraphCase test;
  Value* x = test.input(kDims);
  Value* centred = test.make("Sub", {x, mean(test, x)});
  Value* inverse = test.make("Reciprocal", {deviation(test, mean(test, test.make("Mul", {centred, centred})))});
  Value* y = test.make("Mul", {centred, test.make("Mul", {inverse, test.weights({8})})});
  test.output(test.make("Add", {y, test.weights({1, 1, 8})}));
  EXPECT_EQ(test.run("recognise_layer_norm"), 2);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
}

TEST(PassRecogniseLayerNorm, MeanOfSquares) {
  GraphCase test;
  Value* x = test.input(kDims);
  Value* m = mean(test, x);
  Value* difference = test.make("Sub", {mean(test, test.make("Mul", {x, x})), test.make("Mul", {m, m})});
  Value* variance = test.make("Max", {test.number(0), difference});
  test.output(test.make("Div", {test.make("Sub", {x, m}), deviation(test, variance)}));
  EXPECT_EQ(test.run("recognise_layer_norm", 1e-4), 1);
  EXPECT_EQ(test.graph.nodes().size(), 1U);
}

// TensorFlow's batch_normalization, by the bits of `form`: what is squared how, the inverse, the order of operands.
Value* batch_normalization(GraphCase& test, int form, Value* scale, Value* bias) {
  auto bit = [&](int place) { return (form >> place & 1) != 0; };
  auto either_way = [&](const char* op, Value* a, Value* b) {
    return bit(3) ? test.make(op, {b, a}) : test.make(op, {a, b});
  };
  Value* x = test.graph.inputs[0];
  Value* m = mean(test, x);
  Value* difference = bit(0) ? test.make("Sub", {m, x}) : test.make("Sub", {x, m});
  Value* square = bit(1) ? test.make("Pow", {difference, test.number(2)}) : test.make("Mul", {difference, difference});
  Value* root = test.make("Sqrt", {either_way("Add", mean(test, square), test.number(1e-3))});
  Value* factor = bit(2) ? test.make("Div", {test.number(1), root}) : test.make("Reciprocal", {root});
  if (scale != nullptr) factor = either_way("Mul", factor, scale);
  Value* moved = either_way("Mul", m, factor);
  Value* rest = bias == nullptr ? test.make("Neg", {moved}) : test.make("Sub", {bias, moved});
  return either_way("Add", either_way("Mul", x, factor), rest);
}

TEST(PassRecogniseLayerNorm, FactorAndRest) {
  for (int form = 0; form < 16; ++form) {
    for (bool has_scale : {false, true}) {
      for (bool has_bias : {false, true}) {
        GraphCase test;
        test.input(kDims);
        test.output(batch_normalization(test, form, has_scale ? test.weights({8}) : nullptr,
                                        has_bias ? test.weights({1, 1, 8}) : nullptr));
        EXPECT_EQ(test.run("recognise_layer_norm"), 1) << form;
        EXPECT_EQ(test.count("LayerNormalization"), 1) << form;
        EXPECT_EQ(test.graph.nodes().size(), 1U) << form;
      }
    }
  }
}

TEST(PassRecogniseLayerNorm, FactorAndRestOfAnotherShape) {
  for (bool is_scale : {false, true}) {
    GraphCase test;
    test.input({2, 8, 8});
    Value* other = test.weights({8, 1});
    Value* fitting = test.weights({8});
    test.output(batch_normalization(test, 0, is_scale ? other : fitting, is_scale ? fitting : other));
    EXPECT_EQ(test.run("recognise_layer_norm"), 0);
  }
}

TEST(PassRecogniseLayerNorm, RootMeanSquare) {
  for (int form = 0; form < 3; ++form) {
    GraphCase test;
    Value* x = test.input(kDims);
    Value* variance = mean(test, test.make("Pow", {x, test.number(2)}));
    Value* shifted = test.make("Add", {test.number(1e-6), variance});
    Value* root = form == 2 ? nullptr : test.make("Sqrt", {shifted});
    Value* y = nullptr;
    if (form == 0) y = test.make("Div", {x, root});
    if (form == 1) y = test.make("Mul", {test.make("Div", {test.number(1), root}), x});
    if (form == 2) y = test.make("Mul", {x, test.make("Pow", {shifted, test.number(-0.5)})});
    test.output(test.make("Mul", {test.weights({8}), y}));
    EXPECT_EQ(test.run("recognise_layer_norm"), 2) << form;
    EXPECT_EQ(test.count("RMSNormalization"), 1);
    EXPECT_EQ(test.graph.nodes().size(), 1U);
  }
}

TEST(PassRecogniseLayerNorm, RefusesOtherAxesAndOtherUsers) {
  GraphCase test;
  Value* x = test.input({2, 4, 8});
  Value* outer = test.make("Sub", {x, mean(test, x, {1})});
  test.output(test.make("Div", {outer, deviation(test, mean(test, test.make("Mul", {outer, outer}), {1}))}));
  Value* centred = test.make("Sub", {x, mean(test, x)});
  Value* variance = mean(test, test.make("Mul", {centred, centred}));
  test.output(variance);
  test.output(test.make("Div", {centred, deviation(test, variance)}));
  EXPECT_EQ(test.run("recognise_layer_norm"), 0);
}

TEST(PassRecogniseLayerNorm, KeepsAScaleOfAnotherShape) {
  GraphCase test;
  Value* x = test.input({2, 4, 8});
  Value* centred = test.make("Sub", {x, mean(test, x)});
  Value* y = test.make("Div", {centred, deviation(test, mean(test, test.make("Mul", {centred, centred})))});
  test.output(test.make("Mul", {y, test.weights({4, 1})}));
  EXPECT_EQ(test.run("recognise_layer_norm"), 1);
  EXPECT_EQ(test.graph.nodes().size(), 2U);
}

}  // namespace
}  // namespace hussar
