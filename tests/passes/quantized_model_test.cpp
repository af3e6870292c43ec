// Models that arrive quantized: what the passes make of QuantizeLinear and DequantizeLinear.
#include "tests/passes/quantized_case.h"

namespace hussar {
namespace {

const Dim kBatch = Dim::symbol("b"), kLength = Dim::symbol("n");

TEST(PassRecogniseFakeQuantize, PairsBecomeOneNode) {
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    QuantizedCase test;
    test.bytes = bytes;
    Value* q = test.quantize(test.input({kBatch, 6}), 0.02, bytes == DType::kInt8 ? -3 : 100);
    const double zero_point = bytes == DType::kInt8 ? -3 : 100;
    test.output(test.make("Relu", {test.dequantize(q, 0.02, zero_point)}));
    test.output(test.make("Abs", {test.dequantize(q, 0.02, zero_point)}));
    EXPECT_EQ(test.run("recognise_fake_quantize"), 2);
    EXPECT_EQ(test.count("hussar.FakeQuantize"), 1);
    EXPECT_EQ(test.count("QuantizeLinear") + test.count("DequantizeLinear"), 0);
  }
}

TEST(PassRecogniseFakeQuantize, OneIsEnoughForWhatIsOnlyMoved) {
  QuantizedCase test;
  Value* x = test.both(test.make("Tanh", {test.input({2, 3, 4})}), 0.01, 128);
  x = test.both(test.transpose(x, {0, 2, 1}), 0.01, 128);
  x = test.reshape(test.dequantize(test.reshape(test.quantize(x, 0.01, 128), {8, 3}), 0.01, 128), {2, 12});
  test.output(test.make("Softmax", {test.both(x, 0.01, 128)}));
  EXPECT_GT(test.run("recognise_fake_quantize"), 0);
  EXPECT_EQ(test.count("hussar.FakeQuantize"), 1);
  EXPECT_EQ(test.count("QuantizeLinear") + test.count("DequantizeLinear"), 0);
}

TEST(PassRecogniseFakeQuantize, LeavesWhatIsNoPair) {
  QuantizedCase test;
  Value* x = test.input({kBatch, 6});
  test.output(test.dequantize(test.quantize(x, 0.02, 7), 0.03, 7));    // another scale
  test.output(test.dequantize(test.quantize(x, -0.02, 7), -0.02, 7));  // means something, but nothing faster
  test.output(test.quantize(x, 0.5, 7));                               // the bytes themselves
  Value* scales = test.constant({6}, {1, 2, 3, 4, 5, 6});
  test.output(test.make("DequantizeLinear", {test.make("QuantizeLinear", {x, scales}), scales}));
  EXPECT_EQ(test.run("recognise_fake_quantize"), 0);
}

TEST(PassQuantizeProducts, ConvolutionsOfAQuantizedModelPassBytes) {
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    for (bool quantizes_sums : {false, true}) {
      QuantizedCase test;
      test.bytes = bytes;
      const double zero = bytes == DType::kInt8 ? -128 : 0, middle = zero + 128;
      auto conv = [&](Value* x) {
        return test.make("Conv", {x, test.quantized_weights({8, 8, 3, 3}, 0), test.weights({8})},
                         with({{"pads", Ints{1, 1, 1, 1}}}));
      };
      Value* x = test.both(test.input({2, 8, 6, 6}), 0.03, middle);
      Value* y = test.both(test.make("Relu", {conv(x)}), 0.05, zero);
      y = conv(y);
      if (quantizes_sums) y = test.both(y, 0.1, middle);
      y = test.both(test.make("Relu", {test.make("Add", {y, x})}), 0.06, zero);
      test.output(conv(y));
      test.run_all();
      EXPECT_EQ(test.count("hussar.QuantizedConv"), 3);
      // Of the model's input only.
      EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
      EXPECT_EQ(test.count("DequantizeLinear") + test.count("hussar.Pointwise"), 0) << test.graph.to_string();
    }
  }
}

TEST(PassQuantizeProducts, ProductsOfAQuantizedModel) {
  for (int axis : {-1, 1}) {
    QuantizedCase test;
    Value* x =
        test.both(test.make("LayerNormalization", {test.input({kBatch, 5, 16}), test.weights({16}, 1)}), 0.03, 128);
    Value* y = test.make("MatMul", {x, test.quantized_weights({16, 24}, axis)});
    y = test.both(test.make("Add", {test.both(y, 0.1, 120), test.weights({24})}), 0.1, 117);
    y = test.both(test.make("Tanh", {y}), 0.01, 128);
    test.output(test.make("MatMul", {y, test.quantized_weights({24, 3}, axis)}));
    test.run_all();
    EXPECT_EQ(test.count("hussar.QuantizedMatMul"), 2);
    EXPECT_EQ(test.count("hussar.FakeQuantize"), 0);
    EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
  }
}

// What no INT8 product can compute is computed in FP32, with the quantization of the model.
TEST(PassQuantizeProducts, OtherWeightsStayInFp32) {
  QuantizedCase test;
  Value* x = test.both(test.input({4, 8, 6, 6}), 0.03, 128);
  std::vector<double> q;
  for (int i = 0; i < 8 * 8 * 9; ++i) q.push_back(i * 31 % 257 - 128);
  Value* wide = test.make("DequantizeLinear", {test.constant({8, 8, 3, 3}, q, DType::kInt16), test.number(0.01)});
  Value* y = test.both(test.make("Conv", {x, wide}), 0.5, 128);
  test.output(test.make("Conv", {y, test.quantized_weights({8, 8, 1, 1}, 1)}));  // a scale per input channel
  test.run_all();
  EXPECT_EQ(test.count("hussar.QuantizedConv"), 0);
  EXPECT_EQ(test.count("Conv"), 2);
  int notes = 0;
  for (const auto& node : test.graph.nodes()) notes += node->note.find("8-bit integers") != std::string::npos ? 1 : 0;
  EXPECT_EQ(notes, 2);
}

TEST(PassQuantizeProducts, AttentionAndGeluOfAQuantizedModel) {
  for (bool quantizes_products : {false, true}) {
    QuantizedCase test;
    auto maybe = [&](Value* x, double scale) { return quantizes_products ? test.both(x, scale, 128) : x; };
    auto project = [&](Value* x) {
      Value* y = maybe(test.make("MatMul", {x, test.quantized_weights({16, 16}, 1)}), 0.2);
      y = test.both(test.make("Add", {y, test.weights({16})}), 0.2, 128);
      return test.transpose(test.both(test.reshape(y, {0, 0, 2, 8}), 0.2, 128), {0, 2, 1, 3});
    };
    Value* x = test.both(test.make("LayerNormalization", {test.input({2, 5, 16}), test.weights({16}, 1)}), 0.03, 128);
    Value* keys = test.both(test.transpose(project(x), {0, 1, 3, 2}), 0.2, 128);
    Value* scores = maybe(test.make("MatMul", {project(x), keys}), 4);
    scores = maybe(test.make("Mul", {scores, test.number(0.02)}), 0.08);
    Value* mixed = test.make("MatMul", {maybe(test.make("Softmax", {scores}), 1.0 / 255), project(x)});
    mixed = test.both(test.transpose(maybe(mixed, 0.2), {0, 2, 1, 3}), 0.2, 128);
    mixed = test.both(test.reshape(mixed, {0, 0, 16}), 0.2, 128);
    Value* y = maybe(test.make("MatMul", {mixed, test.quantized_weights({16, 24}, 1)}), 0.1);
    y = test.both(test.make("Add", {y, test.weights({24})}), 0.1, 128);
    Value* erf = test.make("Erf", {test.make("Div", {y, test.number(1.41421356)})});
    Value* gelu = maybe(test.make("Add", {maybe(erf, 0.01), test.number(1)}), 0.02);
    gelu = maybe(test.make("Mul", {y, gelu}), 0.25);
    gelu = test.both(test.make("Mul", {gelu, test.number(0.5)}), 0.1, 20);
    test.output(test.make("MatMul", {gelu, test.quantized_weights({24, 4}, 1)}));
    // Scores, probabilities and the inside of the formula are not rounded any more, and the steps are coarse.
    test.run_all(0.5);
    EXPECT_EQ(test.count("hussar.Attention"), 1) << test.graph.to_string();
    EXPECT_EQ(test.count("hussar.QuantizedMatMul"), 5) << test.graph.to_string();
    EXPECT_EQ(test.count("MatMul") + test.count("Erf") + test.count("hussar.Pointwise"), 0) << test.graph.to_string();
    // Of the norm and of the attention.
    EXPECT_EQ(test.count("QuantizeLinear"), 2) << test.graph.to_string();
  }
}

TEST(PassLowerQuantized, QLinearOperators) {
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    for (bool per_channel : {false, true}) {
      QuantizedCase test;
      test.bytes = bytes;
      const double zero = bytes == DType::kInt8 ? -10 : 118;
      std::vector<double> q, scales, bias;
      for (int i = 0; i < 8 * 6 * 9; ++i) q.push_back(i * 37 % 255 - 127);
      for (int i = 0; i < 8; ++i) scales.push_back(0.002 + 0.0003 * i), bias.push_back(i * 100 - 350);
      Value* w_scale = per_channel ? test.constant({8}, scales) : test.number(0.003);
      Value* w_zero =
          per_channel ? test.constant({8}, std::vector<double>(8, 0), DType::kInt8) : test.number(0, DType::kInt8);
      Value* x = test.quantize(test.input({2, 6, 7, 7}), 0.03, zero);
      Value* y = test.make(
          "QLinearConv",
          {x, test.number(0.03), test.number(zero, bytes), test.constant({8, 6, 3, 3}, q, DType::kInt8), w_scale,
           w_zero, test.number(0.05), test.number(zero, bytes), test.constant({8}, bias, DType::kInt32)},
          with({{"pads", Ints{1, 1, 1, 1}}}));
      y = test.reshape(y, {16, 49});
      q.resize(49 * 8);
      y = test.make("QLinearMatMul",
                    {y, test.number(0.05), test.number(zero, bytes), test.constant({49, 8}, q, DType::kInt8), w_scale,
                     w_zero, test.number(0.1), test.number(zero, bytes)});
      test.output(test.dequantize(y, 0.1, zero));
      // A step of the output's scale, where the last bit of a sum decides.
      test.run_all(0.02);
      EXPECT_EQ(test.count("hussar.QuantizedConv"), 1) << test.graph.to_string();
      EXPECT_EQ(test.count("hussar.QuantizedMatMul"), 1);
      EXPECT_EQ(test.count("QLinearConv") + test.count("QLinearMatMul") + test.count("DequantizeLinear"), 0);
    }
  }
}

TEST(PassLowerQuantized, TablesStayBytes) {
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    QuantizedCase test;
    test.bytes = bytes;
    const double zero = bytes == DType::kInt8 ? -20 : 83;
    std::vector<double> q;
    for (int i = 0; i < 50 * 8; ++i) q.push_back(i * 37 % 256 - (bytes == DType::kInt8 ? 128 : 0));
    Value* rows = test.make("Gather", {test.dequantize(test.constant({50, 8}, q, bytes), 0.02, zero),
                                       test.constant({3}, {7, 49, 0}, DType::kInt64)});
    Value* indices = test.make("ArgMax", {test.input({3, 6})}, with({{"axis", int64_t{1}}, {"keepdims", int64_t{0}}}));
    Value* more = test.make("Gather", {test.dequantize(test.constant({50, 8}, q, bytes), 0.02, zero), indices});
    test.output(test.make("Tanh", {test.make("Add", {test.both(more, 0.02, zero), rows})}));
    test.run_all();
    // The rows have the pair's scale already.
    EXPECT_EQ(test.count("hussar.FakeQuantize"), 0);
    EXPECT_EQ(test.count("DequantizeLinear"), 1) << test.graph.to_string();
    EXPECT_EQ(test.count("Gather"), 1);
    for (const auto& node : test.graph.nodes()) {
      if (node->op == "Gather") {
        EXPECT_EQ(node->inputs[0]->dtype, DType::kUInt8);
      }
    }
  }
}

TEST(PassRecogniseFakeQuantize, ReadsATableBeforeItRounds) {
  QuantizedCase test;
  Value* indices = test.make("ArgMax", {test.input({3, 6})}, with({{"axis", int64_t{1}}, {"keepdims", int64_t{0}}}));
  Value* rows = test.make("Gather", {test.weights({50, 8}), indices});
  test.output(test.make("Tanh", {test.both(rows, 0.02, 128)}));
  test.run_all();
  for (const auto& node : test.graph.nodes()) {
    if (node->op == "Gather") {
      EXPECT_EQ(node->inputs[0]->producer, nullptr) << test.graph.to_string();
    }
  }
}

// As ONNX Runtime's quantize_dynamic writes it.
TEST(PassLowerQuantized, DynamicallyQuantizedProducts) {
  for (bool per_channel : {false, true}) {
    QuantizedCase test;
    auto product = [&](const char* op, Value* x, const Shape& shape, int64_t channels, const Shape& scale_shape,
                       Attributes attributes) {
      std::vector<double> q, scales;
      for (int64_t i = 0; i < shape.elements(); ++i) q.push_back(static_cast<double>(i * 37 % 255 - 127));
      for (int64_t i = 0; i < channels; ++i) scales.push_back(0.002 + 0.0003 * static_cast<double>(i));
      std::vector<Value*> dynamic = test.make_many("DynamicQuantizeLinear", {x}, 3);
      Value* zero = test.number(0, DType::kInt8);
      Value* sum = test.make(op, {dynamic[0], test.constant(shape, q, DType::kInt8), dynamic[2], zero}, attributes);
      Value* scale =
          test.make("Mul", {dynamic[1], per_channel ? test.constant(scale_shape, scales) : test.number(0.002)});
      return test.make("Mul", {test.make("Cast", {sum}, with({{"to", int64_t{1}}})), scale});
    };
    Value* x = test.input({2, 6, 7, 7});
    Value* y = product("ConvInteger", x, {8, 6, 3, 3}, 8, {8, 1, 1}, with({{"pads", Ints{1, 1, 1, 1}}}));
    y = test.make("Relu", {test.make("Add", {y, test.weights({8, 1, 1})})});
    y = product("MatMulInteger", test.reshape(y, {16, 49}), {49, 5}, 5, {5}, {});
    test.output(test.make("Tanh", {test.make("Add", {y, test.weights({5})})}));
    // A byte that rounds the other way moves the next sums by up to 127 weights of 0.0032 times its step.
    test.run_all(0.02);
    EXPECT_EQ(test.count("hussar.QuantizedConv"), 1) << test.graph.to_string();
    EXPECT_EQ(test.count("hussar.QuantizedMatMul"), 1);
    EXPECT_EQ(test.count("DynamicQuantizeLinear"), 2);
    EXPECT_EQ(test.count("Cast") + test.count("Mul") + test.count("hussar.DynamicFakeQuantize"), 0);
  }
}

// Two activations of which none is attention's: sums of integers, however the model writes them.
TEST(PassIntegerProducts, QuantizedActivationsAreMultipliedAsIntegers) {
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    const double zero = bytes == DType::kInt8 ? -9 : 117;
    QuantizedCase test;
    test.bytes = bytes;
    Value* a = test.both(test.input({2, 3, 5, 33}), 0.03, zero);
    Value* moved = test.make("Transpose", {test.quantize(test.input({2, 3, 7, 33}), 0.02, zero + 4)},
                             with({{"perm", Ints{0, 1, 3, 2}}}));
    Value* y = test.make("MatMul", {a, test.dequantize(moved, 0.02, zero + 4)});
    test.output(test.make("Relu", {test.both(y, 0.3, zero)}));
    const auto parameter = [&](double scale) -> std::vector<Value*> {
      return {test.number(scale), test.number(zero, bytes)};
    };
    const std::vector<Value*> x = parameter(0.03), w = parameter(0.05), z = parameter(0.4);
    Value* left = test.quantize(test.input({4, 9}), 0.03, zero);
    Value* right = test.quantize(test.input({9, 6}), 0.05, zero);
    test.output(test.make("QLinearMatMul", {left, x[0], x[1], right, w[0], w[1], z[0], z[1]}));
    // A byte of the results that lies between two may be the other one.
    test.run_all(0.4);
    EXPECT_EQ(test.count("hussar.IntegerMatMul"), 2) << test.graph.to_string();
    EXPECT_EQ(test.count("MatMul") + test.count("QLinearMatMul"), 0) << test.graph.to_string();
  }
}

TEST(PassIntegerProducts, RealNumbersStayReal) {
  QuantizedCase test;
  Value* a = test.both(test.input({5, 33}), 0.03, 117);
  test.output(test.make("MatMul", {a, test.input({33, 4})}));
  EXPECT_EQ(test.run("integer_products"), 0);
}

}  // namespace
}  // namespace hussar
