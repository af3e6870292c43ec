// Operators of ONNX Runtime on quantized tensors: what tests/models/contributed.py, which compares them with ONNX
// Runtime, does not see.
#include "ops/evaluate.h"
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

TEST(QuantizedComposite, ProductsAndSumsStayBytes) {
  GraphCase test;
  auto zero = [&](DType dtype, double value) { return test.number(value, dtype); };
  std::vector<double> q, columns, bias;
  for (int i = 0; i < 16 * 16; ++i) q.push_back(i * 37 % 255 - 127);
  for (int i = 0; i < 16; ++i) columns.push_back(0.002 + 0.0003 * i), bias.push_back(i * 100 - 350);
  Value* w = test.constant({16, 16}, q, DType::kInt8);
  Value* w_zero = test.constant({16}, std::vector<double>(16, 0), DType::kInt8);
  Value* x = test.make("QuantizeLinear", {test.input({4, 16}), test.number(0.03), zero(DType::kUInt8, 128)});
  auto gemm = [&](Value* in) {
    return test.make("com.microsoft.QGemm",
                     {in, test.number(0.03), zero(DType::kUInt8, 128), w, test.constant({16}, columns), w_zero,
                      test.constant({16}, bias, DType::kInt32), test.number(0.03), zero(DType::kUInt8, 128)},
                     with({{"transB", int64_t{1}}}));
  };
  Value* sum =
      test.make("com.microsoft.QLinearAdd", {gemm(x), test.number(0.03), zero(DType::kUInt8, 128), x, test.number(0.03),
                                             zero(DType::kUInt8, 128), test.number(0.03), zero(DType::kUInt8, 128)});
  test.output(test.make("DequantizeLinear", {gemm(sum), test.number(0.03), zero(DType::kUInt8, 128)}));
  // A step of the output's scale, where the last bit of a sum decides.
  for (std::string_view pass : pipeline_order()) test.run(pass, 0.02);
  EXPECT_EQ(test.count("hussar.QuantizedMatMul"), 2) << test.graph.to_string();
  EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
}

TEST(QuantizedComposite, ZeroPointsMayBeMissing) {
  for (DType bytes : {DType::kUInt8, DType::kInt8}) {
    GraphCase test;
    Value* a = test.constant({4}, {10, 20, 30, 120}, bytes);
    Value* scale = test.number(0.5);
    Value* y = test.make("com.microsoft.QLinearAdd", {a, scale, nullptr, a, scale, nullptr, scale});
    test.output(y);
    auto outputs = evaluate_graph(test.graph, {});
    ASSERT_TRUE(outputs) << outputs.error().message;
    ASSERT_EQ((*outputs)[0].dtype(), bytes);
    const int most = bytes == DType::kUInt8 ? 240 : 127, expected[] = {20, 40, 60, most};
    for (int i = 0; i < 4; ++i) {
      const void* data = (*outputs)[0].data<uint8_t>() + i;
      EXPECT_EQ(bytes == DType::kUInt8 ? *static_cast<const uint8_t*>(data) : *static_cast<const int8_t*>(data),
                expected[i]);
    }
  }
}

TEST(QuantizedComposite, RefusesWhatIsMissing) {
  const struct {
    const char* op;
    size_t inputs;
    const char* message;
  } cases[] = {{"com.microsoft.QLinearConcat", 6, "it has 6 inputs"},
               {"com.microsoft.QLinearAdd", 6, "the scale of the output, is missing"},
               {"com.microsoft.QLinearSigmoid", 2, "input 3, the scale of the output, is missing"}};
  for (const auto& entry : cases) {
    GraphCase test;
    Value* x = test.input({2, 3}, DType::kUInt8);
    std::vector<Value*> inputs(entry.inputs, test.number(0.5));
    for (size_t i = 0; i < entry.inputs; i += 3) inputs[i] = x;
    test.output(test.make(entry.op, inputs));
    auto facts = infer_graph(test.graph);
    ASSERT_FALSE(facts) << entry.op;
    EXPECT_NE(facts.error().message.find(entry.message), std::string::npos) << facts.error().message;
  }
}

TEST(QuantizedComposite, ProductsThatOnlyScaleAreMatMuls) {
  GraphCase test;
  Value* a = test.input({2, 3, 4});
  test.output(test.make("com.microsoft.FusedMatMul", {a, test.weights({4, 5})}, with({{"alpha", 0.37F}})));
  test.output(test.make("com.microsoft.FusedMatMul", {a, a}, with({{"transB", int64_t{1}}})));
  EXPECT_EQ(test.run("expand_composites"), 1);
  EXPECT_EQ(test.count("MatMul"), 1);
  EXPECT_EQ(test.count("com.microsoft.FusedMatMul"), 1);
}

}  // namespace
}  // namespace hussar
