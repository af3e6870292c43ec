// CUDA kernels that compute element by element or move elements, against the reference.
#include <cmath>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr DType kFloats[] = {DType::kFloat32, DType::kFloat16, DType::kBFloat16};

double tolerance_of(DType dtype) { return dtype == DType::kFloat32 ? 2e-6 : dtype == DType::kFloat16 ? 2e-3 : 1.6e-2; }

KernelCase binary_case(const char* op, DType dtype, const Shape& a, const Shape& b) {
  const bool divides = std::string(op) == "Div" || std::string(op) == "Mod";
  Tensor second = random_tensor(dtype, b, divides ? 1 : -3, 3);
  KernelCase test{"cuda_elementwise", op, {{random_tensor(dtype, a, -3, 3)}, {second}}};
  test.tolerance = tolerance_of(dtype);
  return test;
}

TEST(CudaElementwise, Broadcasting) {
  const std::pair<Shape, Shape> shapes[] = {
      {{2, 3, 8}, {2, 3, 8}},    {{2, 3, 5}, {5}},  {{4, 1, 8}, {3, 1}},    {{}, {7}},       {{1}, {2, 1, 16}},
      {{2, 1, 3, 1}, {5, 1, 4}}, {{3, 16}, {3, 1}}, {{1000, 3}, {1000, 3}}, {{0, 3}, {1, 3}}};
  for (const auto& [a, b] : shapes) {
    for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kInt64}) {
      expect_kernel_agrees(binary_case("Add", dtype, a, b));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaElementwise, Types) {
  for (DType dtype : kFloats) expect_kernel_agrees(binary_case("Div", dtype, {3, 17}, {17}));
  for (DType dtype : {DType::kInt8, DType::kUInt8, DType::kInt16, DType::kInt32, DType::kUInt32, DType::kInt64}) {
    expect_kernel_agrees(binary_case("Div", dtype, {2, 9}, {2, 9}));
    expect_kernel_agrees(binary_case("Less", dtype, {2, 8}, {2, 8}));
  }
}

TEST(CudaElementwise, Unary) {
  for (const char* op : {"Sin", "Cos", "Atan", "Asinh", "Abs", "Neg", "Sign", "IsNaN"}) {
    Tensor x = random_tensor(DType::kFloat32, {3, 21});
    x.data<float>()[5] = NAN;
    KernelCase test{"cuda_elementwise", op, {{x}}};
    test.tolerance = 1e-5;
    expect_kernel_agrees(test);
  }
}

// In FP32 these are fused programs, which kernels have anyway.
TEST(CudaElementwise, Activations) {
  for (const char* op : {"Relu",
                         "LeakyRelu",
                         "Elu",
                         "Celu",
                         "Selu",
                         "HardSigmoid",
                         "HardSwish",
                         "Sigmoid",
                         "Swish",
                         "Tanh",
                         "Erf",
                         "Exp",
                         "Floor",
                         "Ceil",
                         "Round",
                         "Softplus",
                         "Softsign",
                         "Mish",
                         "ThresholdedRelu",
                         "Gelu",
                         "Reciprocal"}) {
    const DType dtype = kFloats[pick(0, 2)];
    KernelCase test{"cuda_elementwise", op, {{random_tensor(dtype, {3, 8})}}};
    test.tolerance = 4 * tolerance_of(dtype);
    if (std::string(op) == "Gelu" && pick(0, 1) == 0) test.attributes.set("approximate", std::string("tanh"));
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaElementwise, Extremes) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kInt32}) {
    const Tensor x = random_tensor(dtype, {3, 8}, -5, 5), low = random_tensor(dtype, {}, -3, -1);
    const Tensor high = random_tensor(dtype, {}, 1, 3);
    for (const char* op : {"Max", "Min"}) {
      expect_kernel_agrees({"cuda_elementwise", op, {{x}, {random_tensor(dtype, {8}, -5, 5)}, {low}}});
    }
    expect_kernel_agrees({"cuda_elementwise", "Clip", {{x}, {low}, {high, true}}});
    expect_kernel_agrees({"cuda_elementwise", "Clip", {{x}, {}, {high}}});
  }
}

TEST(CudaElementwise, Bits) {
  for (const char* op : {"BitwiseAnd", "BitwiseOr", "BitwiseXor"}) {
    expect_kernel_agrees(binary_case(op, DType::kInt16, {3, 8}, {8}));
  }
  expect_kernel_agrees({"cuda_elementwise", "BitwiseNot", {{random_tensor(DType::kInt32, {9}, -99, 99)}}});
  for (const char* direction : {"LEFT", "RIGHT"}) {
    KernelCase test{"cuda_elementwise",
                    "BitShift",
                    {{random_tensor(DType::kUInt8, {3, 8}, 0, 255)}, {random_tensor(DType::kUInt8, {8}, 0, 9)}}};
    test.attributes = attributes({{"direction", std::string(direction)}});
    expect_kernel_agrees(test);
  }
}

TEST(CudaElementwise, Remainders) {
  for (DType dtype : {DType::kFloat32, DType::kInt32, DType::kInt8}) {
    for (int64_t truncates : {0, 1}) {
      if (dtype == DType::kFloat32 && truncates == 0) continue;  // ONNX has none
      KernelCase test = binary_case("Mod", dtype, {4, 8}, {4, 8});
      test.attributes = attributes({{"fmod", truncates}});
      expect_kernel_agrees(test);
    }
  }
  Tensor x = random_tensor(DType::kFloat32, {9});
  x.data<float>()[2] = INFINITY;
  x.data<float>()[5] = -INFINITY;
  x.data<float>()[6] = NAN;
  for (int64_t negative : {0, 1}) {
    expect_kernel_agrees({"cuda_elementwise", "IsInf", {{x}}, attributes({{"detect_negative", negative}})});
  }
}

TEST(CudaElementwise, Quantization) {
  for (DType dtype : {DType::kInt8, DType::kUInt8, DType::kInt16}) {
    for (int64_t axis : {-1, 0, 1}) {
      const Shape shape{5, 8}, scales = axis < 0 ? Shape{} : Shape{shape[static_cast<int>(axis)]};
      const Argument scale{random_tensor(DType::kFloat32, scales, 0.01, 0.1)};
      const Argument zero{random_tensor(dtype, scales, 0, 9)};
      KernelCase quantize{
          "cuda_elementwise", "QuantizeLinear", {{random_tensor(DType::kFloat32, shape, -9, 9)}, scale, zero}};
      KernelCase dequantize{"cuda_elementwise", "DequantizeLinear", {{random_tensor(dtype, shape, 0, 99)}, scale}};
      if (pick(0, 1) == 0) dequantize.inputs.push_back(zero);
      quantize.attributes = dequantize.attributes = attributes({{"axis", std::max<int64_t>(axis, 0)}});
      expect_kernel_agrees(quantize);
      expect_kernel_agrees(dequantize);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaElementwise, ChannelsLastSlices) {
  for (int64_t gap : {0, 3, 8}) {
    KernelCase test = binary_case("Add", DType::kFloat32, {2, 8, 3, 5}, {2, 8, 3, 5});
    for (Argument& input : test.inputs) input.layout = Layout::kChannelsLast;
    test.inputs[1].gap = gap;
    test.output_layout = Layout::kChannelsLast;
    test.output_gap = 8 - gap;
    expect_kernel_agrees(test);
  }
}

TEST(CudaElementwise, CastAndWhere) {
  for (DType from : {DType::kFloat32, DType::kFloat16, DType::kInt32, DType::kBool}) {
    for (DType to : {DType::kFloat32, DType::kBFloat16, DType::kInt64, DType::kBool}) {
      KernelCase test{"cuda_elementwise", "Cast", {{random_tensor(from, {5, 12}, 0, 1)}}};
      test.attributes = attributes({{"to", static_cast<int64_t>(to)}});
      expect_kernel_agrees(test);
    }
  }
  expect_kernel_agrees({"cuda_elementwise",
                        "Where",
                        {{random_tensor(DType::kBool, {3, 1, 8}, 0, 1)},
                         {random_tensor(DType::kFloat32, {4, 8})},
                         {random_tensor(DType::kFloat32, {1})}}});
}

TEST(CudaElementwise, FusedProgram) {
  Program program{};
  program.operand_count = 1;
  auto add = [&](ProgramOp op, ProgramSource source, uint8_t b, float p0 = 0, float p1 = 0) {
    ProgramStep& step = program.steps[program.step_count++];
    step.op = op;
    step.dst = 0;
    step.a = 0;
    step.source = source;
    step.b = b;
    step.p0 = p0;
    step.p1 = p1;
  };
  add(ProgramOp::kAdd, ProgramSource::kOperand, 0);
  add(ProgramOp::kSilu, ProgramSource::kConstant, 0);
  add(ProgramOp::kClip, ProgramSource::kConstant, 0, -0.25F, 1.5F);
  for (DType dtype : kFloats) {
    KernelCase test{
        "cuda_elementwise", "hussar.Pointwise", {{random_tensor(dtype, {2, 6, 8})}, {random_tensor(dtype, {8})}}};
    test.program = program;
    test.program_inputs = 1;
    test.tolerance = std::max(1e-5, tolerance_of(dtype));
    expect_kernel_agrees(test);
  }
}

TEST(CudaCopy, Transpose) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
    for (const Ints& order : {Ints{0, 2, 1}, Ints{2, 1, 0}, Ints{1, 0, 2}}) {
      KernelCase test{"cuda_copy", "Transpose", {{random_tensor(dtype, {3, 5, 8}, 0, 9)}}};
      test.attributes = attributes({{"perm", order}});
      expect_kernel_agrees(test);
    }
  }
}

TEST(CudaTranspose, Tiles) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kInt64, DType::kUInt8}) {
    for (const Ints& order : {Ints{0, 2, 1, 3}, Ints{2, 0, 3, 1}, Ints{1, 0, 3, 2}, Ints{0, 1, 3, 2}}) {
      KernelCase test{"cuda_transpose", "Transpose", {{random_tensor(dtype, {2, 33, 17, 40}, 0, 9)}}};
      test.attributes = attributes({{"perm", order}});
      if (order[3] == 3) {
        EXPECT_EQ(refusal_of(test), "neighbours stay neighbours");
      } else {
        expect_kernel_agrees(test);
      }
    }
  }
  for (int64_t gap : {0, 5}) {
    KernelCase test{"cuda_transpose", "hussar.Reformat", {{random_tensor(DType::kFloat32, {2, 37, 9, 5})}}};
    test.output_layout = Layout::kChannelsLast;
    test.output_gap = gap;
    expect_kernel_agrees(test);
    std::swap(test.inputs[0].layout, test.output_layout);
    std::swap(test.inputs[0].gap, test.output_gap);
    expect_kernel_agrees(test);
  }
}

TEST(CudaCopy, SliceConcatSplit) {
  KernelCase slice{"cuda_copy", "Slice", {{random_tensor(DType::kFloat32, {4, 9, 7})}}};
  for (const Ints& list : {Ints{3, 6}, Ints{0, -8}, Ints{1, 2}, Ints{-2, 3}})
    slice.inputs.push_back({integers(list), true});
  expect_kernel_agrees(slice);
  KernelCase concat{"cuda_copy", "Concat", {}};
  for (int64_t length : {3, 1, 8}) concat.inputs.push_back({random_tensor(DType::kFloat16, {2, length, 5})});
  concat.attributes = attributes({{"axis", int64_t{1}}});
  expect_kernel_agrees(concat);
  KernelCase split{"cuda_copy", "Split", {{random_tensor(DType::kInt32, {4, 12}, -9, 9)}, {integers({8, 4}), true}}};
  split.attributes = attributes({{"axis", int64_t{-1}}});
  split.outputs = 2;
  expect_kernel_agrees(split);
}

TEST(CudaCopy, ReformatAndExpand) {
  for (int64_t gap : {0, 5}) {
    KernelCase test{"cuda_copy", "hussar.Reformat", {{random_tensor(DType::kFloat32, {2, 7, 4, 3})}}};
    test.output_layout = Layout::kChannelsLast;
    test.output_gap = gap;
    expect_kernel_agrees(test);
    std::swap(test.inputs[0].layout, test.output_layout);
    std::swap(test.inputs[0].gap, test.output_gap);
    expect_kernel_agrees(test);
  }
  expect_kernel_agrees(
      {"cuda_copy", "Expand", {{random_tensor(DType::kFloat32, {3, 1, 4})}, {integers({2, 1, 5, 1}), true}}});
}

}  // namespace
}  // namespace hussar
