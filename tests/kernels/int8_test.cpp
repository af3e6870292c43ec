// The INT8 kernels give the bits of the reference evaluators, on every level.
#include <gtest/gtest.h>

#include <cmath>

#include "tensor/fake_quantize.h"
#include "tests/kernels/int8_case.h"

namespace hussar {
namespace {

TEST(Int8, DepthwiseConvolutions) {
  for (int i = 0; i < 100; ++i) {
    const int64_t channels = pick(1, 150), kernel_y = pick(1, 7), kernel_x = pick(1, 7), stride = pick(1, 2);
    const int64_t dilation = pick(1, 2);
    const int64_t height = pick((kernel_y - 1) * dilation + 1, 16), width = pick((kernel_x - 1) * dilation + 1, 24);
    expect_int8_conv("conv_depthwise_int8", {pick(1, 2), channels, height, width}, {channels, 1, kernel_y, kernel_x},
                     attributes({{"group", channels},
                                 {"strides", Ints{stride, pick(1, 2)}},
                                 {"dilations", Ints{dilation, dilation}},
                                 {"pads", Ints{pick(0, 3), pick(0, 3), pick(0, 3), pick(0, 3)}}}),
                     pick(0, 1) * 3);
    if (testing::Test::HasFatalFailure()) return;
  }
  for (int i = 0; i < 40; ++i) {
    const int64_t channels = pick(1, 80), taps = pick(0, 1) == 0 ? 3 : 5, pad = pick(0, 2);
    expect_int8_conv(
        "conv_depthwise_int8", {1, channels, pick(taps, 9), pick(taps, 150)}, {channels, 1, taps, taps},
        attributes(
            {{"group", channels}, {"strides", Ints{pick(1, 2), pick(1, 2)}}, {"pads", Ints{pad, pad, pad, pad}}}),
        pick(0, 1) * 3);
    if (testing::Test::HasFatalFailure()) return;
  }
  expect_int8_conv("conv_depthwise_int8", {2, 40, 31}, {40, 1, 5}, attributes({{"group", int64_t{40}}}), 0);
}

TEST(Int8, RandomConvolutions) {
  for (int i = 0; i < 150; ++i) {
    const int64_t groups = pick(0, 3) == 0 ? pick(2, 3) : 1, channels = pick(1, 70), filters = pick(1, 100);
    const int64_t kernel_y = pick(1, 4), kernel_x = pick(1, 4), stride = pick(1, 3), dilation = pick(1, 2);
    const int64_t height = pick((kernel_y - 1) * dilation + 1, 14), width = pick((kernel_x - 1) * dilation + 1, 14);
    expect_int8_conv("conv_int8", {pick(1, 2), groups * channels, height, width},
                     {groups * filters, channels, kernel_y, kernel_x},
                     attributes({{"group", groups},
                                 {"strides", Ints{stride, pick(1, 3) == 1 ? 1 : stride}},
                                 {"dilations", Ints{dilation, dilation}},
                                 {"pads", Ints{pick(0, 2), pick(0, 2), pick(0, 2), pick(2, 4)}}}),
                     pick(0, 1) * 3);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// Wide windows that overlap, and pixels of whole chunks: the matrix unit reads them where they lie.
TEST(Int8, RowsThatAreNotGathered) {
  for (int i = 0; i < 80; ++i) {
    const int64_t kernel_x = pick(1, 5), kernel_y = pick(1, 4), groups = pick(0, 3) == 0 ? 2 : 1;
    const int64_t channels = pick(0, 1) == 0 ? 16 * pick(1, 12) : pick(7, 150);
    const int64_t filters = pick(1, 80), height = pick(kernel_y, 20), width = pick(kernel_x, 50);
    expect_int8_conv("conv_int8", {pick(1, 3), groups * channels, height, width},
                     {groups * filters, channels, kernel_y, kernel_x},
                     attributes({{"group", groups},
                                 {"strides", Ints{pick(1, 2), pick(1, 2)}},
                                 {"pads", Ints{pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 4)}}}),
                     pick(0, 1) * 3);
    if (testing::Test::HasFatalFailure()) return;
  }
  // More lines than fit at a time.
  expect_int8_conv("conv_int8", {1, 64, 70, 60}, {20, 64, 3, 3}, attributes({{"pads", Ints{1, 1, 1, 1}}}), 0);
  expect_int8_conv("conv_int8", {2, 40, 90, 80}, {20, 40, 3, 3}, attributes({{"strides", Ints{2, 2}}}), 0);
}

// Channels in whole chunks and not, lines that are gathered at once and one at a time.
TEST(Int8, FormsOfRows) {
  for (int64_t channels : {1, 3, 4, 63, 64, 65, 128, 192, 320}) {
    expect_int8_conv("conv_int8", {1, channels, 7, 9}, {40, channels, 3, 3}, attributes({{"pads", Ints{1, 1, 1, 1}}}),
                     channels % 2 * 5);
    expect_int8_conv("conv_int8", {2, channels, 5, 7}, {33, channels, 1, 1}, {}, 0);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Int8, OneAndThreeDimensions) {
  expect_int8_conv("conv_int8", {2, 33, 57}, {40, 33, 5}, attributes({{"pads", Ints{2, 2}}}), 0);
  expect_int8_conv("conv_int8", {1, 10, 5, 6, 7}, {35, 10, 3, 2, 3},
                   attributes({{"pads", Ints{1, 0, 1, 1, 1, 2}}, {"strides", Ints{1, 2, 1}}}), 2);
}

// Of one pixel, a factor per channel has as many elements as the output, in another layout.
TEST(Int8, FactorsOfASinglePixel) {
  for (bool to_bytes : {false, true}) {
    KernelCase test = product_case("conv_int8", "hussar.QuantizedConv",
                                   random_bytes({1, 24, 1, 1}, Layout::kChannelsLast, 0), {40, 24, 1, 1}, 24, 40);
    test.attributes.set("kernel_shape", Ints{1, 1});
    if (to_bytes) test.attributes.set("y_scale", 0.05F);
    test.output_layout = Layout::kChannelsLast;
    add_step(test, step(ProgramOp::kRelu));
    add_column_operand(test, ProgramOp::kMul, Shape({1, 40, 1, 1}), Layout::kChannelsLast);
    expect_kernel_agrees(test);
  }
}

// Every number of rows of a tile, with every number of panels.
TEST(Int8, EveryTile) {
  for (int64_t rows = 1; rows <= 36; ++rows) {
    for (int64_t n : {20, 64, 130}) {
      expect_int8_matmul("matmul_int8", rows, 67, n);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(Int8, RandomProducts) {
  for (int i = 0; i < 80; ++i) {
    const int64_t k = pick(0, 2) == 0 ? 64 * pick(1, 5) + pick(-2, 2) : pick(1, 300);
    expect_int8_matmul("matmul_int8", pick(1, 70), k, pick(1, 200));
    if (testing::Test::HasFatalFailure()) return;
  }
}

// The largest sums that are allowed, of both signs.
TEST(Int8, ExtremeSums) {
  for (int weight : {-128, 127}) {
    KernelCase test = product_case("matmul_int8", "hussar.QuantizedMatMul", random_bytes({3, 65536}, Layout::kPlain, 0),
                                   {65536, 5}, 65536, 5);
    std::fill_n(test.inputs[0].tensor.data<uint8_t>(), 3 * 65536, uint8_t{255});
    std::fill_n(test.inputs[1].tensor.data<int8_t>(), 5 * 65536, static_cast<int8_t>(weight));
    test.attributes.set("x_zero_point", int64_t{weight < 0 ? 0 : 255});
    expect_kernel_agrees(test);
  }
}

// Sums halfway between two bytes: the quotient decides, not a product with the reciprocal.
TEST(Int8, TiesAreDivided) {
  for (int i = 0; i < 60; ++i) {
    const float y_scale = static_cast<float>(pick(1, 1 << 24)) * std::ldexp(1.0F, static_cast<int>(pick(-40, 0)));
    KernelCase test =
        product_case("matmul_int8", "hussar.QuantizedMatMul", random_bytes({40, 3}, Layout::kPlain, 0), {3, 17}, 3, 17);
    for (int c = 0; c < 17; ++c) test.inputs[2].tensor.data<float>()[c] = y_scale / 2;
    for (int w = 0; w < 3 * 17; ++w) test.inputs[1].tensor.data<int8_t>()[w] = static_cast<int8_t>(pick(-1, 1));
    test.inputs[3] = Argument{};
    test.attributes.set("x_scale", 1.0F);
    test.attributes.set("x_zero_point", int64_t{128});
    test.attributes.set("y_scale", y_scale);
    test.attributes.set("y_zero_point", pick(0, 255));
    expect_kernel_agrees(test);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// Fake-quantized before a bias, a residual or more.
// As models with Q/DQ everywhere have them: a product, its bias and its residual, each rounded, and what comes then.
TEST(Int8, LinksOfRounding) {
  for (int i = 0; i < 80; ++i) {
    const int64_t rows = pick(1, 20), n = pick(1, 70);
    KernelCase test = product_case("matmul_int8", "hussar.QuantizedMatMul", random_bytes({rows, 33}, Layout::kPlain, 0),
                                   {33, n}, 33, n);
    auto round = [&] {
      const QuantParams params{0.02F + 0.01F * static_cast<float>(pick(0, 5)), static_cast<int32_t>(pick(0, 255))};
      for (int s = 0; s < kFakeQuantizeSteps; ++s) add_step(test, fake_quantize_step(params, s));
    };
    round();
    if (pick(0, 2) > 0) add_full_operand(test, DType::kFloat32, {n}, Layout::kPlain, 0);
    if (pick(0, 2) > 0) round();
    if (pick(0, 2) > 0) {
      add_full_operand(test, DType::kFloat32, {rows, n}, Layout::kPlain, 0);
      if (pick(0, 2) > 0) round();
    }
    if (pick(0, 3) == 0) add_step(test, step(ProgramOp::kAbs));
    if (pick(0, 3) == 0) add_row_term(test, {rows, n}, Layout::kPlain);
    if (pick(0, 1) == 1) test.attributes.set("y_scale", 0.05F);
    expect_kernel_agrees(test);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Int8, FakeQuantizedSums) {
  for (int i = 0; i < 60; ++i) {
    const int64_t rows = pick(1, 20), n = pick(1, 70);
    KernelCase test = product_case("matmul_int8", "hussar.QuantizedMatMul", random_bytes({rows, 33}, Layout::kPlain, 0),
                                   {33, n}, 33, n);
    QuantParams params;
    params.scale = 0.03F;
    params.zero_point = static_cast<int32_t>(pick(0, 255));
    auto round = [&] {
      for (int s = 0; s < kFakeQuantizeSteps; ++s) add_step(test, fake_quantize_step(params, s));
    };
    round();
    test.attributes.set("operand_scale", 0.02F);
    test.attributes.set("operand_zero_point", pick(0, 255));
    const int64_t form = pick(0, 5);
    if (form >= 4) {
      add_full_operand(test, DType::kFloat32, {n}, Layout::kPlain, 0);
      params.scale = 0.07F;
      round();
    }
    if (form == 1) add_full_operand(test, DType::kUInt8, {rows, n}, Layout::kPlain, 0);
    const bool adds_reals = form == 2 || form == 3 || form == 5;
    if (adds_reals) add_full_operand(test, DType::kFloat32, {rows, n}, Layout::kPlain, 0);
    if (form == 5) round();
    if (form != 0) add_step(test, step(form == 3 ? ProgramOp::kAbs : ProgramOp::kRelu));
    if (pick(0, 1) == 1) add_row_term(test, {rows, n}, Layout::kPlain);
    if (pick(0, 1) == 1) test.attributes.set("y_scale", 0.05F);
    expect_kernel_agrees(test);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Int8, HardSwishWithNumbersPerColumn) {
  for (int i = 0; i < 30; ++i) {
    const Shape output = {pick(2, 20), pick(2, 70)};
    KernelCase test = product_case("matmul_int8", "hussar.QuantizedMatMul",
                                   random_bytes({output[0], 33}, Layout::kPlain, 0), {33, output[1]}, 33, output[1]);
    add_step(test, step(ProgramOp::kHardSwish));
    add_column_operand(test, ProgramOp::kMul, output, Layout::kPlain);
    if (pick(0, 1) == 1) add_column_operand(test, ProgramOp::kAdd, output, Layout::kPlain);
    if (pick(0, 3) == 0) add_step(test, step(ProgramOp::kRelu));
    test.tolerance = 1e-5;  // levels without a multiply-add round twice
    expect_kernel_agrees(test);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// Scale and zero point of x are inputs.
TEST(Int8, DynamicScales) {
  for (int i = 0; i < 30; ++i) {
    const int64_t rows = pick(1, 20), n = pick(1, 70);
    KernelCase test = product_case("matmul_int8", "hussar.QuantizedMatMul", random_bytes({rows, 33}, Layout::kPlain, 0),
                                   {33, n}, 33, n);
    test.attributes = {};
    test.inputs.push_back({random_tensor(DType::kFloat32, Shape{}, 0.5, 2)});
    test.inputs.push_back({random_tensor(DType::kUInt8, Shape{}, 0, 255)});
    if (pick(0, 1) == 1) {
      add_full_operand(test, DType::kFloat32, {rows, n}, Layout::kPlain, 0);
      test.program_inputs = 6;
    }
    expect_kernel_agrees(test);
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Int8, DynamicConversions) {
  for (int64_t count : {1, 7, 17, 1000, 40000}) {
    for (double lowest : {-3.0, 0.5}) {
      KernelCase test{.kernel = "dynamic_quantize", .op = "hussar.DynamicFakeQuantize", .inputs = {}};
      test.inputs.push_back({random_tensor(DType::kFloat32, {1, 3, count}, lowest, 9)});
      expect_kernel_agrees(test);
    }
  }
}

TEST(Int8, Refusals) {
  KernelCase test = product_case("matmul_int8", "hussar.QuantizedMatMul", random_bytes({3, 65537}, Layout::kPlain, 0),
                                 {65537, 5}, 65537, 5);
  EXPECT_EQ(refusal_of(test), "sums may overflow");
  test = product_case("matmul_int8", "hussar.QuantizedMatMul", random_bytes({3, 8}, Layout::kPlain, 0), {8, 5}, 8, 5);
  add_full_operand(test, DType::kUInt8, {3, 5}, Layout::kPlain, 0);
  EXPECT_EQ(refusal_of(test), std::nullopt);
  add_full_operand(test, DType::kInt8, {3, 5}, Layout::kPlain, 0);
  EXPECT_EQ(refusal_of(test), "fused operand");
}

TEST(Int8, Conversions) {
  for (int64_t count : {1, 7, 8, 17, 1000, 40000}) {
    for (int way = 0; way < 4; ++way) {
      const bool to_bytes = way % 2 == 0;
      const DType bytes = way < 2 ? DType::kUInt8 : DType::kInt8, from = to_bytes ? DType::kFloat32 : bytes;
      const double lowest = way < 2 ? 0 : -128;
      KernelCase test{.kernel = "quantize", .op = to_bytes ? "QuantizeLinear" : "DequantizeLinear", .inputs = {}};
      test.inputs.push_back({random_tensor(from, {1, 3, count}, to_bytes ? -9 : lowest, to_bytes ? 9 : lowest + 255),
                             false, Layout::kChannelsLast, pick(0, 2)});
      if (to_bytes) test.inputs[0].tensor.data<float>()[0] = NAN;
      test.inputs.push_back({random_tensor(DType::kFloat32, Shape{}, 0.01, 0.07), true});
      test.inputs.push_back({random_tensor(bytes, Shape{}, lowest, lowest + 255), true});
      test.output_layout = Layout::kChannelsLast;
      test.output_gap = pick(0, 2);
      expect_kernel_agrees(test);
    }
  }
}

// Scales per index of any axis, or one, of constants or of the run; integers of 8 and of 16 bits.
TEST(Int8, ConversionsPerAxis) {
  struct Type {
    DType dtype;
    double lowest, highest;
  };
  constexpr Type kTypes[] = {
      {DType::kUInt8, 0, 255}, {DType::kInt8, -128, 127}, {DType::kUInt16, 0, 65535}, {DType::kInt16, -32768, 32767}};
  for (const Type& type : kTypes) {
    for (int i = 0; i < 24; ++i) {
      const bool to_integers = i % 2 == 0, is_one = pick(0, 3) == 0, is_constant = pick(0, 1) == 0;
      const Shape shape = {pick(1, 4), pick(1, 40), pick(1, 70)};
      const int64_t axis = pick(-3, 2);
      const Shape scales = is_one ? (pick(0, 1) == 0 ? Shape{} : Shape{1}) : Shape{shape[axis < 0 ? axis + 3 : axis]};
      KernelCase test{
          .kernel = "quantize_axis", .op = to_integers ? "QuantizeLinear" : "DequantizeLinear", .inputs = {}};
      test.attributes = attributes({{"axis", axis}});
      test.inputs.push_back({to_integers ? random_tensor(DType::kFloat32, shape, -9, 9)
                                         : random_tensor(type.dtype, shape, type.lowest, type.highest)});
      if (to_integers && pick(0, 1) == 0) test.inputs[0].tensor.data<float>()[0] = NAN;
      const double scale = 9 / (type.highest - type.lowest);
      test.inputs.push_back({random_tensor(DType::kFloat32, scales, -scale, 3 * scale), is_constant});
      for (int64_t s = 0; is_constant && s < scales.elements(); ++s)
        if (test.inputs[1].tensor.data<float>()[s] == 0) test.inputs[1].tensor.data<float>()[s] = 1;
      if (pick(0, 3) > 0) {
        test.inputs.push_back({random_tensor(type.dtype, scales, type.lowest, type.highest), is_constant});
      } else if (to_integers && type.dtype != DType::kUInt8) {
        test.attributes.set("output_dtype", static_cast<int64_t>(type.dtype));
      }
      expect_kernel_agrees(test);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// Scales beyond all reason give the bytes of a division, too.
TEST(Int8, ScalesWithoutReciprocal) {
  for (float scale : {1e-39f, 1e-37f, 2e-37f, 0.05f, -0.05f, 9e35f, 2e36f, 3e38f}) {
    KernelCase test{.kernel = "quantize", .op = "QuantizeLinear", .inputs = {}};
    test.inputs.push_back({random_tensor(DType::kFloat32, {1, 3, 40}, -300, 300), false});
    float* x = test.inputs[0].tensor.data<float>();
    for (int i = 8; i < 120; ++i) x[i] *= scale;
    const float special[] = {NAN, INFINITY, -INFINITY, 0.0f, -0.0f, 3e38f, -3e38f};
    std::copy(std::begin(special), std::end(special), x);
    test.inputs.push_back({random_tensor(DType::kFloat32, Shape{}, scale, scale), true});
    test.inputs.push_back({random_tensor(DType::kUInt8, Shape{}, 0, 255), true});
    expect_kernel_agrees(test);
  }
}

}  // namespace
}  // namespace hussar
