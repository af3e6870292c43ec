// Bytes between INT8 products: what is only moved is moved as bytes, when one scale suits all.
#include "tests/passes/pass_case.h"

namespace hussar {
namespace {

class BytesCase : public GraphCase {
 public:
  Value* quantize(Value* x, double scale, double zero_point = 100) {
    return make("QuantizeLinear", {x, number(scale), number(zero_point, DType::kUInt8)});
  }
  // A product of kernel 1 of bytes that `quantize` has made; adds `operand` behind a SiLU.
  Value* conv(Value* bytes, double scale, Value* operand = nullptr, double zero_point = 100) {
    std::vector<double> numbers;
    for (int i = 0; i < 16; ++i) numbers.push_back((i * 37 + 11 * ++made_) % 127 - 63);
    const int64_t channels = (*bytes->dims)[1].value();
    std::vector<double> repeated;
    for (int64_t i = 0; i < 4 * channels; ++i) repeated.push_back(numbers[static_cast<size_t>(i % 16)]);
    std::vector<Value*> inputs = {bytes, constant({4, channels, 1, 1}, repeated, DType::kInt8),
                                  constant({4}, {0.01, 0.012, 0.008, 0.01}), nullptr};
    if (operand != nullptr) inputs.push_back(operand);
    Value* y = make("hussar.QuantizedConv", inputs, with({{"x_scale", static_cast<float>(scale)}}));
    y->producer->attributes.set("x_zero_point", static_cast<int64_t>(zero_point));
    y->dims = bytes->dims;
    (*y->dims)[1] = Dim(4);
    if (operand == nullptr) return y;
    Program program{};
    program.operand_count = 1;
    program.step_count = 2;
    program.steps[0].op = ProgramOp::kSilu;
    program.steps[1].op = ProgramOp::kAdd;
    program.steps[1].source = ProgramSource::kOperand;
    y->producer->program = program;
    y->producer->program_inputs = 4;
    return y;
  }
  // Runs shape inference, which values need before they are read by conv().
  Value* known(Value* value, const Dims& dims, DType dtype = DType::kFloat32) {
    value->dims = dims;
    value->dtype = dtype;
    return value;
  }
  Value* bytes_of(Value* value, double scale, double zero_point = 100) {
    return known(quantize(value, scale, zero_point), *value->dims, DType::kUInt8);
  }
  Value* both(Value* value, double scale, double zero_point = 100) {
    Value* bytes = bytes_of(value, scale, zero_point);
    bytes->layout = value->layout;
    return known(make("DequantizeLinear", {bytes, number(scale), number(zero_point, DType::kUInt8)}), *value->dims);
  }
  int made_ = 0;
};

const Dims kImage = {2, 4, 6, 6};

TEST(PassMoveBytes, LargestBytesAreThoseOfTheLargestNumbers) {
  BytesCase test;
  Value* x = test.known(test.input(kImage), kImage);
  Value* y = test.conv(test.bytes_of(x, 0.03), 0.03);
  Value* pooled = test.make("MaxPool", {y}, with({{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}}));
  test.known(pooled, {2, 4, 2, 2});
  test.output(test.conv(test.bytes_of(pooled, 0.05), 0.05));
  EXPECT_EQ(test.run("move_bytes", 0), 1);
  EXPECT_EQ(pooled->dtype, DType::kUInt8);
  EXPECT_EQ(test.run("store_bytes", 0), 1);
  EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
}

TEST(PassMoveBytes, PaddingIsTheZeroPoint) {
  for (const char* mode : {"constant", "edge", "reflect"}) {
    for (bool has_value : {false, true}) {
      BytesCase test;
      Value* x = test.known(test.input(kImage), kImage);
      Value* y = test.conv(test.bytes_of(x, 0.03), 0.03);
      std::vector<Value*> inputs = {y, test.integers({0, 0, 1, 2, 0, 0, 0, 1})};
      if (has_value) inputs.push_back(test.number(0));
      Value* padded = test.make("Pad", inputs, with({{"mode", std::string(mode)}}));
      test.known(padded, {2, 4, 7, 9});
      test.output(test.conv(test.bytes_of(padded, 0.05), 0.05));
      EXPECT_EQ(test.run("move_bytes", 0), 1);
      EXPECT_EQ(padded->dtype, DType::kUInt8);
      EXPECT_EQ(test.run("store_bytes", 0), 1);
      EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
    }
  }
}

TEST(PassMoveBytes, OtherPaddingStaysReal) {
  BytesCase test;
  Value* y = test.conv(test.bytes_of(test.known(test.input(kImage), kImage), 0.03), 0.03);
  Value* padded = test.make("Pad", {y, test.integers({0, 0, 1, 2, 0, 0, 0, 1}), test.number(0.3)});
  test.known(padded, {2, 4, 7, 9});
  test.output(test.conv(test.bytes_of(padded, 0.05), 0.05));
  EXPECT_EQ(test.run("move_bytes", 0), 0);
}

// Averages read bytes and write them: the bytes are those of the mean of the real numbers. No mean lies between two.
TEST(PassStoreBytes, AveragesOfWindows) {
  for (int64_t include_pad : {0, 1}) {
    for (int64_t ceil_mode : {0, 1}) {
      BytesCase test;
      Value* y = test.conv(test.bytes_of(test.known(test.input(kImage), kImage), 0.03), 0.03);
      y->layout = Layout::kChannelsLast;
      Value* real = test.both(y, 0.05);
      real->layout = Layout::kChannelsLast;
      Value* pooled = test.make("AveragePool", {real},
                                with({{"kernel_shape", Ints{3, 3}},
                                      {"strides", Ints{2, 2}},
                                      {"pads", Ints{1, 0, 1, 0}},
                                      {"ceil_mode", ceil_mode},
                                      {"count_include_pad", include_pad}}));
      test.known(pooled, {2, 4, 3, ceil_mode == 1 ? 3 : 2})->layout = Layout::kChannelsLast;
      test.output(test.make("DequantizeLinear",
                            {test.bytes_of(pooled, 0.0371), test.number(0.0371), test.number(100, DType::kUInt8)}));
      test.run("move_bytes", 1e-6);
      test.run("store_bytes", 1e-6);
      EXPECT_EQ(test.count("hussar.AverageBytes"), 1) << test.graph.to_string();
      EXPECT_EQ(test.count("AveragePool"), 0);
      EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
      EXPECT_EQ(pooled->producer, nullptr) << test.graph.to_string();
    }
  }
}

TEST(PassMoveBytes, JoinedPartsShareTheScaleOfTheWhole) {
  BytesCase test;
  Value* x = test.bytes_of(test.known(test.input(kImage), kImage), 0.03);
  Value* a = test.conv(x, 0.03);
  Value* b =
      test.known(test.make("Slice", {test.conv(x, 0.03), test.integers({0}), test.integers({3}), test.integers({1})}),
                 {2, 3, 6, 6});
  Value* other = test.known(test.make("Softmax", {test.input(kImage)}), kImage);
  Value* whole = test.known(test.make("Concat", {a, b, other}, with({{"axis", int64_t{1}}})), {2, 11, 6, 6});
  test.output(test.conv(test.bytes_of(whole, 0.05), 0.05));
  // Nobody else reads the parts, so that nothing changes but the place of the rounding.
  EXPECT_EQ(test.run("move_bytes", 0), 2);
  test.run("store_bytes", 0);
  // Of the input, and of what is no product's.
  EXPECT_EQ(test.count("QuantizeLinear"), 2) << test.graph.to_string();
  EXPECT_EQ(whole->dtype, DType::kUInt8);
}

// conv -> Split -> conv, conv{silu, add} -> Concat, as YOLO has it.
Value* cross_stage(BytesCase& test, double part_scale, double whole_scale) {
  Value* x = test.bytes_of(test.known(test.input(kImage), kImage), 0.03);
  Value* y = test.conv(x, 0.03);
  std::vector<Value*> parts = test.make_many("Split", {y, test.integers({2, 2})}, 2, with({{"axis", int64_t{1}}}));
  for (Value* part : parts) test.known(part, {2, 2, 6, 6});
  Value* wide = test.known(test.make("Concat", {parts[1], parts[1]}, with({{"axis", int64_t{1}}})), kImage);
  Value* part_bytes = test.bytes_of(wide, part_scale);
  Value* sum = test.conv(part_bytes, part_scale, wide);
  Value* whole = test.known(test.make("Concat", {parts[0], wide, sum}, with({{"axis", int64_t{1}}})), {2, 10, 6, 6});
  test.output(test.conv(test.bytes_of(whole, whole_scale), whole_scale));
  return whole;
}

TEST(PassMoveBytes, ReadersTakeTheCommonScale) {
  BytesCase test;
  Value* whole = cross_stage(test, 0.04, 0.06);
  // The finer one is widened: by half a step of the coarser one at most.
  EXPECT_EQ(test.run("move_bytes", 0.05), 3);
  EXPECT_EQ(whole->dtype, DType::kUInt8);
  test.run("store_bytes", 1e-5);
  EXPECT_EQ(test.count("QuantizeLinear"), 1) << test.graph.to_string();
  int products = 0;
  for (const auto& node : test.graph.nodes()) {
    if (node->op != "hussar.QuantizedConv" || node->attributes.get_float("x_scale", 0) == 0.03F) continue;
    ++products;
    EXPECT_EQ(node->attributes.get_float("x_scale", 0), 0.06F);
    if (node->program) {
      EXPECT_EQ(node->attributes.get_float("operand_scale", 0), 0.06F);
    }
  }
  EXPECT_EQ(products, 2);
}

TEST(PassMoveBytes, VeryDifferentScalesAreKeptApart) {
  BytesCase test;
  Value* whole = cross_stage(test, 0.01, 0.06);
  test.run("move_bytes", 0);
  EXPECT_EQ(whole->dtype, DType::kFloat32);
  bool keeps = false;
  for (const auto& node : test.graph.nodes()) keeps = keeps || node->attributes.get_float("x_scale", 0) == 0.01F;
  EXPECT_TRUE(keeps);
}

TEST(PassMoveBytes, WhatTheModelQuantizesKeepsItsScale) {
  BytesCase test;
  Value* whole = cross_stage(test, 0.04, 0.06);
  for (const auto& node : test.graph.nodes()) node->note = "INT8: quantized in the model";
  test.run("move_bytes", 0);
  EXPECT_EQ(whole->dtype, DType::kFloat32);
}

TEST(PassMoveBytes, OthersReadRealNumbers) {
  BytesCase test;
  Value* x = test.known(test.input(kImage), kImage);
  Value* y = test.conv(test.bytes_of(x, 0.03), 0.03);
  Value* pooled = test.make("MaxPool", {y}, with({{"kernel_shape", Ints{2, 2}}}));
  test.known(pooled, {2, 4, 5, 5});
  test.output(test.conv(test.bytes_of(pooled, 0.05), 0.05));
  test.output(test.make("Softmax", {y}));
  EXPECT_EQ(test.run("move_bytes", 0), 0);
  EXPECT_EQ(pooled->dtype, DType::kFloat32);
}

}  // namespace
}  // namespace hussar
