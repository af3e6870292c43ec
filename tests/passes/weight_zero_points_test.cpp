// Quantized models whose weights have zero points that are not in the middle: their products are INT8, too, and what
// int8 lacks is added.
#include "tests/passes/quantized_case.h"

namespace hussar {
namespace {

const Dim kBatch = Dim::symbol("b");

struct Form {
  DType bytes = DType::kUInt8;
  bool per_channel = false;
  bool has_bias = false, has_activation = false;
};

std::vector<Form> forms() {
  std::vector<Form> list;
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    for (bool per_channel : {false, true}) {
      for (bool has_bias : {false, true}) {
        for (bool has_activation : {false, true}) list.push_back({bytes, per_channel, has_bias, has_activation});
      }
    }
  }
  return list;
}

class ZeroPointCase : public QuantizedCase {
 public:
  // All that bytes can be.
  Value* integers(const Shape& shape, const Form& form) {
    std::vector<double> q(static_cast<size_t>(shape.elements()));
    for (double& number : q) {
      random_ = random_ * 1664525U + 1013904223U;
      number = static_cast<double>(random_ >> 24) + (form.bytes == DType::kInt8 ? -128 : 0);
    }
    return constant(shape, q, form.bytes);
  }
  // Zero points are far from the middle.
  Value* asymmetric_weights(const Shape& shape, int axis, const Form& form) {
    const double lowest = form.bytes == DType::kInt8 ? -128 : 0;
    const int64_t count = form.per_channel ? shape[axis] : 1;
    std::vector<double> scales, zeros;
    for (int64_t i = 0; i < count; ++i) {
      scales.push_back(0.003 + 0.0004 * static_cast<double>(i));
      zeros.push_back(static_cast<double>((i * 61 + 20) % 256) + lowest);
    }
    const Shape parameters = form.per_channel ? Shape{count} : Shape{};
    return make("DequantizeLinear",
                {integers(shape, form), constant(parameters, scales), constant(parameters, zeros, form.bytes)},
                with({{"axis", int64_t{axis}}}));
  }
  Value* end_of(Value* y, const Shape& bias, const Form& form) {
    if (form.has_bias) y = make("Add", {y, weights(bias)});
    return form.has_activation ? make("Tanh", {y}) : y;
  }
  int sums() const {
    int count = 0;
    for (const auto& node : graph.nodes()) count += node->name.starts_with("sums for") ? 1 : 0;
    return count;
  }
  int quantized_in_model() const {
    int count = 0;
    for (const auto& node : graph.nodes()) count += node->note == "INT8: quantized in the model" ? 1 : 0;
    return count;
  }

 private:
  uint32_t random_ = 1;
};

TEST(WeightZeroPoints, Products) {
  for (const Form& form : forms()) {
    ZeroPointCase test;
    Value* x = test.both(test.input({kBatch, 5, 16}), 0.03, 100);
    test.output(test.end_of(test.make("MatMul", {x, test.asymmetric_weights({16, 24}, 1, form)}), {24}, form));
    test.run_all();
    EXPECT_EQ(test.quantized_in_model(), 1) << test.graph.to_string();
    EXPECT_EQ(test.sums(), 1);
    EXPECT_EQ(test.count("hussar.QuantizedMatMul"), 2);
    EXPECT_EQ(test.count("MatMul"), 0);
  }
}

TEST(WeightZeroPoints, GemmWithTurnedWeights) {
  for (const Form& form : forms()) {
    ZeroPointCase test;
    Value* x = test.both(test.input({kBatch, 16}), 0.03, 100);
    std::vector<Value*> inputs = {x, test.asymmetric_weights({24, 16}, 0, form)};
    if (form.has_bias) inputs.push_back(test.weights({24}));
    Value* y = test.make("Gemm", inputs, with({{"transB", int64_t{1}}}));
    test.output(form.has_activation ? test.make("Relu", {y}) : y);
    test.run_all();
    EXPECT_EQ(test.quantized_in_model(), 1) << test.graph.to_string();
    EXPECT_EQ(test.sums(), 1);
  }
}

// Padding counts as 0, whatever the zero points are. Convolutions in groups are as many sums as they have channels.
TEST(WeightZeroPoints, Convolutions) {
  for (const Form& form : forms()) {
    for (int64_t groups : {1, 2, 8}) {
      ZeroPointCase test;
      Value* x = test.both(test.input({2, 8, 7, 6}), 0.03, 50);
      std::vector<Value*> inputs = {x, test.asymmetric_weights({8, 8 / groups, 3, 3}, 0, form)};
      if (form.has_bias) inputs.push_back(test.weights({8}));
      Value* y =
          test.make("Conv", inputs, with({{"pads", Ints{1, 2, 0, 1}}, {"strides", Ints{2, 1}}, {"group", groups}}));
      test.output(form.has_activation ? test.make("HardSwish", {y}) : y);
      test.run_all();
      EXPECT_EQ(test.quantized_in_model(), 1) << test.graph.to_string();
      EXPECT_EQ(test.sums(), 1);
      EXPECT_EQ(test.count("Conv"), 0);
      for (const auto& node : test.graph.nodes()) {
        if (!node->name.starts_with("sums for")) continue;
        EXPECT_EQ(node->inputs[1]->constant->shape()[0], groups == 1 ? 1 : 8);
      }
    }
  }
}

TEST(WeightZeroPoints, ConvolutionsOfOneAndThreeDimensions) {
  for (int rank : {1, 3}) {
    ZeroPointCase test;
    Dims dims = {2, 4, 9};
    Shape filter = {6, 4, 3};
    for (int axis = 1; axis < rank; ++axis) dims.push_back(5), filter.push_back(2);
    Value* x = test.both(test.input(dims), 0.03, 50);
    test.output(test.make("Conv", {x, test.asymmetric_weights(filter, 0, {DType::kInt8, true})}));
    test.run_all();
    EXPECT_EQ(test.quantized_in_model(), 1) << test.graph.to_string();
    EXPECT_EQ(test.sums(), 1);
  }
}

TEST(WeightZeroPoints, SingleRowsAndColumns) {
  for (int64_t rows : {1, 3}) {
    for (int64_t columns : {1, 4}) {
      ZeroPointCase test;
      Value* x = test.both(test.input({rows, 16}), 0.03, 128);
      test.output(test.make("MatMul", {x, test.asymmetric_weights({16, columns}, 1, {})}));
      x = test.both(test.input({16}), 0.03, 128);
      test.output(test.make("MatMul", {x, test.asymmetric_weights({16, columns}, 1, {})}));
      x = test.both(test.input({rows, 4, columns, 1}), 0.03, 128);
      test.output(test.make("Conv", {x, test.asymmetric_weights({columns, 4, 1, 1}, 0, {})}));
      test.run_all();
      EXPECT_EQ(test.quantized_in_model(), 3) << test.graph.to_string();
      EXPECT_EQ(test.sums(), 3);
    }
  }
}

// Nothing is added where the integers fit without: quantizers take the range of all channels.
TEST(WeightZeroPoints, IntegersThatFitAreEnough) {
  for (double zero_point : {96.0, 120.0, 159.0}) {
    ZeroPointCase test;
    std::vector<double> q;
    for (int i = 0; i < 16 * 8; ++i) q.push_back(i * 37 % 192 + 32);  // 32 to 223
    Value* w = test.make("DequantizeLinear", {test.constant({16, 8}, q, DType::kUInt8), test.number(0.01),
                                              test.number(zero_point, DType::kUInt8)});
    test.output(test.make("MatMul", {test.both(test.input({3, 16}), 0.03, 128), w}));
    test.run_all();
    EXPECT_EQ(test.quantized_in_model(), 1);
    EXPECT_EQ(test.sums(), 0) << test.graph.to_string();
  }
}

TEST(WeightZeroPoints, ProductsOfTheSameShareTheirSums) {
  ZeroPointCase test;
  Value* x = test.both(test.input({kBatch, 16}), 0.03, 128);
  Value* gate = test.make("Sigmoid", {test.make("MatMul", {x, test.asymmetric_weights({16, 24}, 1, {})})});
  Value* up = test.make("MatMul", {x, test.asymmetric_weights({16, 24}, 1, {DType::kInt8})});
  test.output(test.make("Mul", {gate, up}));
  test.run_all();
  EXPECT_EQ(test.quantized_in_model(), 2) << test.graph.to_string();
  EXPECT_EQ(test.sums(), 1);
}

// Bytes go from product to product as ever, and a residual is added behind.
TEST(WeightZeroPoints, ProductsPassBytes) {
  for (bool quantizes_sums : {false, true}) {
    ZeroPointCase test;
    const Form form = {DType::kUInt8, true};
    auto conv = [&](Value* x) {
      return test.make("Conv", {x, test.asymmetric_weights({8, 8, 3, 3}, 0, form), test.weights({8})},
                       with({{"pads", Ints{1, 1, 1, 1}}}));
    };
    Value* x = test.both(test.input({2, 8, 6, 6}), 0.03, 128);
    Value* y = conv(test.both(test.make("Relu", {conv(x)}), 0.2, 0));
    if (quantizes_sums) y = test.both(y, 0.5, 128);
    y = test.both(test.make("Relu", {test.make("Add", {y, x})}), 0.5, 0);
    test.output(conv(y));
    // A step of a byte on the way, where the last bit of a sum decides.
    test.run_all(0.01);
    EXPECT_EQ(test.quantized_in_model(), 3) << test.graph.to_string();
    EXPECT_EQ(test.sums(), 3);
    EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
    EXPECT_EQ(test.count("DequantizeLinear") + test.count("hussar.Pointwise"), 0) << test.graph.to_string();
  }
}

TEST(WeightZeroPoints, TooMuchFusedWorkIsToldOf) {
  for (int steps : {kProgramSteps - 3, kProgramSteps - 2}) {
    ZeroPointCase test;
    Value* y =
        test.make("MatMul", {test.both(test.input({3, 16}), 0.03, 128), test.asymmetric_weights({16, 8}, 1, {})});
    for (int i = 0; i < steps; ++i) y = test.make(i % 2 == 0 ? "Tanh" : "Neg", {y});
    test.output(y);
    test.run_all();
    const bool fits = steps + 3 <= kProgramSteps;
    EXPECT_EQ(test.quantized_in_model(), fits ? 1 : 0) << test.graph.to_string();
    EXPECT_EQ(test.count("MatMul"), fits ? 0 : 1);
    for (const auto& node : test.graph.nodes()) {
      if (node->op == "MatMul") {
        EXPECT_NE(node->note.find("its weights have zero points, and there is no room"), std::string::npos);
      }
    }
  }
}

TEST(WeightZeroPoints, QLinearOperators) {
  for (const Form& form : forms()) {
    if (form.has_bias != form.has_activation) continue;
    ZeroPointCase test;
    const double lowest = form.bytes == DType::kInt8 ? -128 : 0;
    std::vector<double> scales, zeros, bias;
    for (int i = 0; i < 8; ++i) {
      scales.push_back(0.002 + 0.0003 * i), zeros.push_back(i * 30 + 3 + lowest), bias.push_back(i * 100 - 350);
    }
    Value* w_scale = form.per_channel ? test.constant({8}, scales) : test.number(0.003);
    Value* w_zero = form.per_channel ? test.constant({8}, zeros, form.bytes) : test.number(lowest + 40, form.bytes);
    std::vector<Value*> inputs = {test.quantize(test.input({2, 6, 7, 7}), 0.03, 118),
                                  test.number(0.03),
                                  test.number(118, DType::kUInt8),
                                  test.integers({8, 6, 3, 3}, form),
                                  w_scale,
                                  w_zero,
                                  test.number(0.2),
                                  test.number(118, DType::kUInt8)};
    if (form.has_bias) inputs.push_back(test.constant({8}, bias, DType::kInt32));
    Value* y = test.make("QLinearConv", inputs, with({{"pads", Ints{1, 1, 1, 1}}}));
    y = test.make("QLinearMatMul",
                  {test.reshape(y, {16, 49}), test.number(0.2), test.number(118, DType::kUInt8),
                   test.integers({49, 8}, form), w_scale, w_zero, test.number(0.5), test.number(118, DType::kUInt8)});
    test.output(test.dequantize(y, 0.5, 118));
    // A step of the output's scale, where the last bit of a sum decides.
    test.run_all(0.02);
    EXPECT_EQ(test.quantized_in_model(), 2) << test.graph.to_string();
    EXPECT_EQ(test.sums(), 2);
    EXPECT_EQ(test.count("QLinearConv") + test.count("QLinearMatMul") + test.count("DequantizeLinear"), 0);
  }
}

// One number for all channels beside one per channel, whichever it is.
TEST(WeightZeroPoints, ScalesAndZeroPointsOfOtherShapes) {
  for (bool scale_per_channel : {false, true}) {
    ZeroPointCase test;
    auto parameter = [&](bool per_channel, double first, double step, DType dtype) {
      std::vector<double> numbers;
      for (int i = 0; i < 8; ++i) numbers.push_back(first + step * i);
      return per_channel ? test.constant({8}, numbers, dtype) : test.constant({1}, {first}, dtype);
    };
    Value* scale = parameter(scale_per_channel, 0.002, 0.0003, DType::kFloat32);
    Value* zero = parameter(!scale_per_channel, 40, 20, DType::kUInt8);
    Value* y = test.make("QLinearConv", {test.quantize(test.input({2, 6, 7, 7}), 0.03, 118), test.number(0.03),
                                         test.number(118, DType::kUInt8), test.integers({8, 6, 3, 3}, {}), scale, zero,
                                         test.number(0.2), test.number(118, DType::kUInt8)});
    y = test.make("QLinearMatMul",
                  {test.reshape(y, {16, 25}), test.number(0.2), test.number(118, DType::kUInt8),
                   test.integers({25, 8}, {}), scale, zero, test.number(0.5), test.number(118, DType::kUInt8)});
    test.output(test.dequantize(y, 0.5, 118));
    test.run_all(0.02);
    EXPECT_EQ(test.quantized_in_model(), 2) << test.graph.to_string();
  }
}

// As ONNX Runtime's quantize_dynamic writes them, and as it saves them for itself.
TEST(WeightZeroPoints, DynamicallyQuantizedProducts) {
  for (const Form& form : forms()) {
    if (form.has_bias != form.has_activation) continue;
    ZeroPointCase test;
    const double lowest = form.bytes == DType::kInt8 ? -128 : 0;
    auto parameter = [&](int64_t channels, double first, double step, DType dtype) {
      std::vector<double> numbers;
      for (int64_t i = 0; i < channels; ++i) numbers.push_back(first + step * static_cast<double>(i));
      return form.per_channel ? test.constant({channels}, numbers, dtype) : test.number(first, dtype);
    };
    auto zeros = [&](int64_t channels) { return parameter(channels, lowest + 30, 11, form.bytes); };
    auto product = [&](const char* op, Value* x, Value* w, int64_t channels, Value* scale, Attributes attributes) {
      std::vector<Value*> dynamic = test.make_many("DynamicQuantizeLinear", {x}, 3);
      Value* sum = test.make(op, {dynamic[0], w, dynamic[2], zeros(channels)}, std::move(attributes));
      return test.make("Mul",
                       {test.make("Cast", {sum}, with({{"to", int64_t{1}}})), test.make("Mul", {dynamic[1], scale})});
    };
    Value* y = product("ConvInteger", test.input({2, 6, 7, 7}), test.integers({8, 6, 3, 3}, form), 8,
                       test.number(0.002), with({{"pads", Ints{1, 1, 1, 1}}}));
    y = test.reshape(y, {16, 49});
    Value* first =
        product("MatMulInteger", y, test.integers({49, 5}, form), 5, parameter(5, 0.002, 0.0003, DType::kFloat32), {});
    std::vector<Value*> inputs = {y, test.integers({49, 5}, form), parameter(5, 0.002, 0.0003, DType::kFloat32),
                                  zeros(5)};
    if (form.has_bias) inputs.push_back(test.weights({5}));
    Value* second = test.make("com.microsoft.DynamicQuantizeMatMul", inputs);
    std::vector<Value*> dynamic = test.make_many("DynamicQuantizeLinear", {y}, 3);
    inputs = {dynamic[0], test.integers({49, 5}, form),
              dynamic[1], parameter(5, 0.002, 0.0003, DType::kFloat32),
              dynamic[2], zeros(5)};
    if (form.has_bias) inputs.push_back(test.weights({5}));
    Value* third = test.make("com.microsoft.MatMulIntegerToFloat", inputs);
    Value* fixed = test.quantize(test.input({16, 49}), 0.03, 118);
    inputs = {fixed,
              test.integers({49, 5}, form),
              test.number(0.03),
              parameter(5, 0.002, 0.0003, DType::kFloat32),
              test.number(118, DType::kUInt8),
              zeros(5)};
    Value* fourth = test.make("com.microsoft.MatMulIntegerToFloat", inputs);
    for (Value* value : {first, second, third, fourth}) test.output(value);
    // A byte that rounds the other way moves the next sums by up to 255 weights' steps.
    test.run_all(0.02);
    EXPECT_EQ(test.quantized_in_model(), 5) << test.graph.to_string();
    EXPECT_EQ(test.count("MatMul") + test.count("Conv"), 0);
    EXPECT_EQ(test.count("MatMulInteger") + test.count("ConvInteger") + test.count("Cast"), 0);
  }
}

}  // namespace
}  // namespace hussar
