// Sums of integers whose scales are not those of DynamicQuantizeLinear: INT8 products all the same, and exact.
#include "tests/passes/quantized_case.h"

namespace hussar {
namespace {

class IntegerCase : public QuantizedCase {
 public:
  using QuantizedCase::QuantizedCase;

  Value* cast(Value* x, DType dtype) { return make("Cast", {x}, with({{"to", static_cast<int64_t>(dtype)}})); }
  // Bytes of their whole range, which nothing says the scale of.
  Value* activations(const Dims& dims, DType dtype) {
    const double lowest = dtype == DType::kInt8 ? -128 : 0;
    Value* x = make("Add", {make("Mul", {input(dims), number(60)}), number(lowest + 128)});
    return cast(make("Clip", {x, number(lowest), number(lowest + 255)}), dtype);
  }
  Value* bytes_of(const Shape& shape, DType dtype) {
    std::vector<double> q;
    for (int64_t i = 0; i < shape.elements(); ++i)
      q.push_back(static_cast<double>((i * 7919 + 13 * ++made_) % 256 - (dtype == DType::kInt8 ? 128 : 0)));
    return constant(shape, q, dtype);
  }
  Value* zeros(int64_t count, double first, DType dtype) {
    std::vector<double> numbers;
    for (int64_t i = 0; i < count; ++i) numbers.push_back(first + static_cast<double>(3 * i % 40));
    return constant({count}, numbers, dtype);
  }
  void expect_products(int matrices, int convolutions, double tolerance = 0) {
    run_all(tolerance);
    EXPECT_EQ(count("hussar.QuantizedMatMul"), matrices) << graph.to_string();
    EXPECT_EQ(count("hussar.QuantizedConv"), convolutions) << graph.to_string();
    EXPECT_EQ(count("MatMulInteger") + count("ConvInteger"), 0) << graph.to_string();
  }
};

struct Types {
  DType a, w;
};
constexpr Types kTypes[] = {{DType::kUInt8, DType::kInt8},
                            {DType::kInt8, DType::kInt8},
                            {DType::kUInt8, DType::kUInt8},
                            {DType::kInt8, DType::kUInt8}};
double lowest(DType dtype) { return dtype == DType::kInt8 ? -128 : 0; }

TEST(PassLowerInteger, IntegersOfMatricesAreExact) {
  for (const Types& types : kTypes) {
    for (int64_t depth : {1, 37, 150}) {
      IntegerCase test;
      Value* a = test.activations({2, 5, depth}, types.a);
      Value* zero = test.number(lowest(types.a) + 117, types.a);
      Value* w = test.bytes_of({depth, 7}, types.w);
      test.output(test.make("MatMulInteger", {a, w, zero, test.zeros(7, lowest(types.w) + 90, types.w)}));
      test.output(test.make("MatMulInteger", {a, test.bytes_of({depth, 3}, DType::kInt8)}));
      test.run_all(0);
      EXPECT_GE(test.count("hussar.QuantizedMatMul"), 2) << test.graph.to_string();
      EXPECT_EQ(test.count("MatMulInteger"), 0) << test.graph.to_string();
    }
  }
}

TEST(PassLowerInteger, LargeSumsAreTwoProducts) {
  IntegerCase test;
  Value* a =
      test.cast(test.make("Clip", {test.make("Abs", {test.make("Mul", {test.input({3, 900}), test.number(3000)})}),
                                   test.number(0), test.number(255)}),
                DType::kUInt8);
  std::vector<double> q(900 * 5);
  for (size_t i = 0; i < q.size(); ++i) q[i] = 127 - static_cast<double>(i % 2);
  test.output(test.make("MatMulInteger", {a, test.constant({900, 5}, q, DType::kInt8)}));
  test.expect_products(2, 0);
}

TEST(PassLowerInteger, ZeroPointsOfRowsAndOfTheRun) {
  for (const Types& types : kTypes) {
    IntegerCase test;
    Value* a = test.activations({5, 37}, types.a);
    Value* w = test.bytes_of({37, 7}, DType::kInt8);
    test.output(test.make("MatMulInteger", {a, w, test.zeros(5, lowest(types.a) + 100, types.a)}));
    Value* rows = test.reshape(test.zeros(5, lowest(types.a) + 100, types.a), {5, 1});
    test.output(test.make("MatMulInteger", {test.reshape(a, {1, 5, 37}), w, rows}));
    std::vector<Value*> dynamic = test.make_many("DynamicQuantizeLinear", {test.input({4, 37})}, 3);
    test.output(test.make("MatMulInteger", {dynamic[0], w, dynamic[2]}));
    test.expect_products(3, 0);
  }
}

TEST(PassLowerInteger, IntegersOfConvolutionsAreExact) {
  for (const Types& types : kTypes) {
    for (int64_t group : {1, 6}) {
      IntegerCase test;
      Value* a = test.activations({2, 6, 7, 5}, types.a);
      Value* w = test.bytes_of({12, 6 / group, 3, 3}, types.w);
      Value* zero = test.number(lowest(types.a) + 117, types.a);
      Value* sums = test.make("ConvInteger", {a, w, zero, test.zeros(12, lowest(types.w) + 40, types.w)},
                              with({{"pads", Ints{1, 0, 1, 2}}, {"strides", Ints{2, 1}}, {"group", int64_t{group}}}));
      test.output(sums);
      test.output(test.make("Relu", {test.cast(sums, DType::kFloat32)}));
      test.run_all(0);
      EXPECT_GE(test.count("hussar.QuantizedConv"), 1) << test.graph.to_string();
      EXPECT_EQ(test.count("ConvInteger"), 0);
    }
  }
}

// A static scale: what the quantizer makes, and what one constant factor or one per channel makes of the sums.
TEST(PassLowerInteger, FactorsBecomeScales) {
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    for (bool per_channel : {false, true}) {
      IntegerCase test;
      test.bytes = bytes;
      const double zero = lowest(bytes) + 118;
      auto factor = [&](int64_t channels, const Shape& shape) {
        std::vector<double> numbers;
        for (int64_t i = 0; i < channels; ++i) numbers.push_back(6e-5 + 9e-6 * static_cast<double>(i));
        return per_channel ? test.constant(shape, numbers) : test.number(6e-5);
      };
      auto product = [&](const char* op, Value* x, Value* w, Value* scale, Attributes attributes) {
        Value* q = test.quantize(x, 0.03, zero);
        Value* sums = test.make(op, {q, w, test.number(zero, bytes)}, std::move(attributes));
        return test.make("Mul", {scale, test.cast(sums, DType::kFloat32)});
      };
      Value* y = product("ConvInteger", test.input({2, 6, 7, 7}), test.bytes_of({8, 6, 3, 3}, DType::kInt8),
                         factor(8, {8, 1, 1}), with({{"pads", Ints{1, 1, 1, 1}}}));
      y = test.make("Relu", {test.make("Add", {y, test.weights({8, 1, 1})})});
      y = product("MatMulInteger", test.reshape(y, {16, 49}), test.bytes_of({49, 5}, DType::kInt8), factor(5, {5}), {});
      test.output(test.make("Add", {y, test.weights({5})}));
      // A byte that rounds the other way moves the sum by 128 steps.
      test.expect_products(1, 1, 0.02);
      EXPECT_EQ(test.count("Cast") + test.count("Mul") + test.count("DequantizeLinear"), 0) << test.graph.to_string();
      EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
    }
  }
}

// Attention of a dynamically quantized model: both products are of activations, their sums are those of integers.
TEST(PassLowerInteger, DynamicProductsOfActivationsAreFused) {
  for (const Dims& dims : {Dims{2, 3, 9, 16}, Dims{1, 2, 5, 7}}) {
    IntegerCase test;
    auto dynamic = [&](Value* x) { return test.make_many("DynamicQuantizeLinear", {x}, 3); };
    auto product = [&](Value* a, Value* b) {
      const std::vector<Value*> left = dynamic(a), right = dynamic(b);
      Value* sums = test.cast(test.make("MatMulInteger", {left[0], right[0], left[2], right[2]}), DType::kFloat32);
      return test.make("Mul", {sums, test.make("Mul", {left[1], right[1]})});
    };
    Value* keys = test.make("Transpose", {test.input(dims)}, with({{"perm", Ints{0, 1, 3, 2}}}));
    Value* scores = test.make("Div", {product(test.input(dims), keys), test.number(4)});
    Value* weights = test.make("Softmax", {scores}, with({{"axis", int64_t{-1}}}));
    test.output(product(weights, test.input(dims)));
    test.run_all();
    EXPECT_EQ(test.count("hussar.IntegerMatMul"), 2) << test.graph.to_string();
    EXPECT_EQ(test.count("MatMulInteger") + test.count("Cast") + test.count("Div"), 0) << test.graph.to_string();
    EXPECT_EQ(test.count("DynamicQuantizeLinear"), 4) << test.graph.to_string();
    // The scales of both sides, multiplied; the rest is in the products.
    EXPECT_EQ(test.count("hussar.Pointwise") + test.count("Mul"), 2) << test.graph.to_string();
  }
}

// Whoever wants the integers, or zero points per row, keeps the product as it is.
TEST(PassLowerInteger, IntegersOfActivationsStayIntegers) {
  IntegerCase test;
  Value* a = test.activations({4, 9}, DType::kUInt8);
  Value* b = test.activations({9, 3}, DType::kInt8);
  Value* sums = test.make("MatMulInteger", {a, b});
  test.output(sums);
  test.output(test.cast(sums, DType::kFloat32));
  test.output(test.cast(test.make("MatMulInteger", {a, b, test.zeros(4, 100, DType::kUInt8)}), DType::kFloat32));
  test.run_all(0);
  EXPECT_EQ(test.count("MatMulInteger"), 2) << test.graph.to_string();
}

TEST(PassLowerInteger, LeavesWhatHasNoInt8Form) {
  IntegerCase test;
  Value* a = test.activations({4, 9}, DType::kUInt8);
  test.output(test.make("MatMulInteger", {a, test.activations({9, 3}, DType::kInt8)}));  // no constant
  test.output(test.make("MatMulInteger", {a, test.bytes_of({2, 9, 3}, DType::kInt8)}));  // several matrices
  test.output(test.make("MatMulInteger", {test.bytes_of({9}, DType::kInt8), test.activations({9, 4}, DType::kUInt8)}));
  EXPECT_EQ(test.run("lower_integer"), 0);
}

}  // namespace
}  // namespace hussar
