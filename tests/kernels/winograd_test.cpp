// Winograd convolution against a naive sum in double precision, on every level, with pitches, tails, odd sizes and
// epilogues; the promise that the number of shares does not change a bit; and the two kernels against the operator.
#include "backends/cpu/kernels/winograd/winograd.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <string>

#include "tests/kernels/kernel_case.h"
#include "tests/kernels/levels.h"

namespace hussar::cpu {
namespace {

constexpr float kUntouched = 12345.0f;

// Inputs and weights are in [-1, 1], so the rounding errors of a sum over c channels, which is itself of the order of
// sqrt(c), grow with c. The largest errors seen over millions of outputs are 2e-7 c for F(2 x 2), less than those of
// the direct sum, and 8e-7 c for F(4 x 4), whose output transform weights the sums by up to 3.4^2.
double tolerance(int64_t output, int64_t channels) {
  return 1e-5 + (output == 2 ? 1e-6 : 4e-6) * static_cast<double>(channels);
}

enum class Kind { kPlain, kFused, kProgram };

// Fused: min(max(sum + bias + residual, -0.5), 1.5). Program: (the same) * scale[channel] + residual.
struct EpilogueData {
  EpilogueData(Kind kind, int64_t rows, int64_t columns)
      : kind(kind),
        pitch(columns + 3),
        bias(random_floats(columns)),
        scale(random_floats(columns)),
        residual(random_floats(rows * pitch)) {
    program.step_count = 2;
    program.operand_count = 2;
    program.steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
    program.steps[1] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 1, {}, 0, 0};
    operands[0] = {scale.data(), 0, 1};
    operands[1] = {residual.data(), pitch, 1};
  }
  Epilogue epilogue() const {
    Epilogue e;
    if (kind == Kind::kPlain) return e;
    e.bias = bias.data(), e.residual = residual.data(), e.residual_pitch = pitch, e.low = -0.5f, e.high = 1.5f;
    if (kind == Kind::kProgram) e.program = &program, e.operands = operands;
    return e;
  }
  double apply(double sum, int64_t row, int64_t column) const {
    if (kind == Kind::kPlain) return sum;
    const double y = std::fmin(std::fmax(sum + bias[column] + residual[row * pitch + column], -0.5), 1.5);
    return kind == Kind::kFused ? y : y * scale[column] + residual[row * pitch + column];
  }
  Kind kind;
  int64_t pitch;
  std::vector<float> bias, scale, residual;
  Program program{};
  ProgramOperand operands[2];
};

double naive(const ConvArgs& c, const std::vector<float>& weights, int64_t pixel, int64_t filter) {
  const int64_t x = pixel % c.out[2], y = pixel / c.out[2] % c.out[1], n = pixel / (c.out[2] * c.out[1]);
  double sum = 0;
  for (int64_t tap = 0; tap < 9; ++tap) {
    const int64_t in_y = y - c.pad[1] + tap / 3, in_x = x - c.pad[2] + tap % 3;
    if (in_y < 0 || in_y >= c.in[1] || in_x < 0 || in_x >= c.in[2]) continue;
    const float* source = c.input + ((n * c.in[1] + in_y) * c.in[2] + in_x) * c.input_pitch;
    for (int64_t i = 0; i < c.channels; ++i) sum += double(source[i]) * weights[(filter * c.channels + i) * 9 + tap];
  }
  return sum;
}

std::string describe(const WinogradArgs& args) {
  const ConvArgs& c = args.conv;
  return "F(" + std::to_string(args.output) + ") batch " + std::to_string(c.batch) + " channels " +
         std::to_string(c.channels) + " filters " + std::to_string(c.filters) + " in " + std::to_string(c.in[1]) + 'x' +
         std::to_string(c.in[2]) + " pad " + std::to_string(c.pad[1]) + ',' + std::to_string(c.pad[2]) + " out " +
         std::to_string(c.out[1]) + 'x' + std::to_string(c.out[2]);
}

// One layer: its data and the expected outputs.
struct Layer {
  Layer(const ConvArgs& shape, Kind kind, int64_t extra_pitch)
      : args(shape),
        out_pixels(shape.batch * shape.out[1] * shape.out[2]),
        // Exactly as long as the last pixel, so that an address sanitizer sees a read beyond it.
        input(random_floats(shape.batch * shape.in[1] * shape.in[2] * (shape.channels + extra_pitch) - extra_pitch)),
        weights(random_floats(shape.filters * shape.channels * 9)),
        data(kind, out_pixels, shape.filters) {
    args.input_pitch = args.channels + extra_pitch;
    args.output_pitch = args.filters + extra_pitch;
    args.input = input.data();
    args.epilogue = data.epilogue();
    for (int64_t pixel = 0; pixel < out_pixels; ++pixel) {
      for (int64_t f = 0; f < args.filters; ++f) {
        expected.push_back(data.apply(naive(args, weights, pixel, f), pixel, f));
      }
    }
  }
  ConvArgs args;
  int64_t out_pixels;
  std::vector<float> input, weights;
  EpilogueData data;
  std::vector<double> expected;
};

// Runs the shares last to first: their order must not matter.
std::vector<float> run_shares(WinogradArgs args, Isa isa, int shares) {
  const ConvArgs& c = args.conv;
  const int64_t tiles = c.batch * winograd_tiles(args.output, c.out[1]) * winograd_tiles(args.output, c.out[2]);
  const auto floats = static_cast<size_t>(winograd_scratch_floats(args.output, c.channels, c.filters, tiles));
  auto* scratch = static_cast<float*>(std::aligned_alloc(64, (floats + 16) * sizeof(float)));
  // What earlier calls left behind must not matter.
  std::fill_n(scratch, floats, NAN);
  std::fill_n(scratch + floats, 16, kUntouched);
  std::vector<float> output(static_cast<size_t>(c.batch * c.out[1] * c.out[2] * c.output_pitch), kUntouched);
  args.conv.output = output.data();
  for (int index = shares - 1; index >= 0; --index) select_winograd_table(isa).conv(args, {index, shares}, scratch);
  for (int i = 0; i < 16; ++i) EXPECT_EQ(scratch[floats + i], kUntouched) << "wrote beyond the scratch memory";
  std::free(scratch);
  return output;
}

void check(const Layer& layer) {
  for (int64_t output : {2, 4}) {
    WinogradArgs args = {layer.args, output};
    const ConvArgs& c = args.conv;
    std::vector<float> filter(winograd_filter_floats(output, c.channels, c.filters));
    transform_winograd_filter(layer.weights.data(), output, c.filters, c.channels, filter.data());
    args.conv.filter = filter.data();
    for (Isa isa : available_levels()) {
      const std::vector<float> first = run_shares(args, isa, 1);
      for (int shares : {2, 3, 5}) {
        const std::vector<float> again = run_shares(args, isa, shares);
        ASSERT_EQ(std::memcmp(again.data(), first.data(), first.size() * sizeof(float)), 0)
            << isa_name(isa) << " shares " << shares << ' ' << describe(args);
      }
      for (int64_t pixel = 0; pixel < layer.out_pixels; ++pixel) {
        for (int64_t f = 0; f < c.output_pitch; ++f) {
          const float actual = first[pixel * c.output_pitch + f];
          if (f >= c.filters) {
            ASSERT_EQ(actual, kUntouched) << "wrote beyond the pixel";
            continue;
          }
          ASSERT_NEAR(actual, layer.expected[pixel * c.filters + f], tolerance(output, c.channels))
              << isa_name(isa) << ' ' << describe(args) << " at " << pixel << ',' << f;
        }
      }
    }
  }
}

ConvArgs shape_of(int64_t batch, int64_t channels, int64_t filters, int64_t height, int64_t width, int64_t pad_before,
                  int64_t pad_after) {
  ConvArgs args;
  args.batch = batch, args.channels = channels, args.filters = filters;
  args.in[1] = height, args.in[2] = width;
  for (int axis : {1, 2}) {
    args.kernel[axis] = 3, args.pad[axis] = pad_before;
    args.out[axis] = args.in[axis] + pad_before + pad_after - 2;
  }
  return args;
}

TEST(Winograd, GridOfShapes) {
  int turn = 0;
  for (int64_t channels : {1, 3, 16, 20, 33, 64}) {
    for (int64_t filters : {1, 8, 16, 24, 33, 64}) {
      for (int64_t size : {1, 2, 3, 4, 7, 9, 14}) {
        const int64_t width = size + turn % 4;
        check(Layer(shape_of(1 + turn % 2, channels, filters, size, width, 1, 1), static_cast<Kind>(turn % 3),
                    turn % 2 * 5));
        if (testing::Test::HasFatalFailure()) return;
        ++turn;
      }
    }
  }
}

TEST(Winograd, RandomShapes) {
  for (int turn = 0; turn < 60; ++turn) {
    ConvArgs shape = shape_of(pick(1, 3), turn % 2 == 0 ? pick(1, 70) : 16 * pick(1, 5), pick(1, 90), 1, 1, 0, 0);
    for (int axis : {1, 2}) {
      shape.pad[axis] = pick(0, 4);
      shape.in[axis] = std::max<int64_t>(1, 3 - shape.pad[axis]) + pick(0, 14);
      shape.out[axis] = shape.in[axis] + shape.pad[axis] + pick(0, 3) - 2;
    }
    check(Layer(shape, static_cast<Kind>(turn % 3), turn % 4));
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Winograd, SeveralBlocksAndGroups) {
  for (Kind kind : {Kind::kFused, Kind::kProgram}) {
    check(Layer(shape_of(1, 32, 200, 37, 41, 1, 1), kind, 0));
    check(Layer(shape_of(2, 200, 72, 13, 17, 1, 1), kind, 3));
    if (testing::Test::HasFatalFailure()) return;
  }
}

// As the products of many channels are summed, against the range of the outputs.
TEST(Winograd, ErrorOfManyChannels) {
  Layer layer(shape_of(1, 512, 32, 12, 12, 1, 1), Kind::kPlain, 0);
  double range = 0;
  for (double value : layer.expected) range = std::max(range, std::fabs(value));
  for (int64_t output : {2, 4}) {
    std::vector<float> filter(winograd_filter_floats(output, 512, 32));
    transform_winograd_filter(layer.weights.data(), output, 32, 512, filter.data());
    layer.args.filter = filter.data();
    for (Isa isa : available_levels()) {
      const std::vector<float> actual = run_shares({layer.args, output}, isa, 1);
      double error = 0;
      for (size_t i = 0; i < actual.size(); ++i) error = std::max(error, std::fabs(actual[i] - layer.expected[i]));
      EXPECT_LT(error / range, output == 2 ? 5e-6 : 2e-5) << isa_name(isa) << " F(" << output << ')';
      RecordProperty(std::string(isa_name(isa)) + "_f" + std::to_string(output), std::to_string(error / range));
    }
  }
}

TEST(Winograd, ResidualMayBeTheOutput) {
  const Layer layer(shape_of(1, 24, 40, 11, 13, 1, 1), Kind::kPlain, 0);
  const std::vector<float> start = random_floats(layer.out_pixels * 40);
  for (int64_t output : {2, 4}) {
    std::vector<float> filter(winograd_filter_floats(output, 24, 40));
    transform_winograd_filter(layer.weights.data(), output, 40, 24, filter.data());
    WinogradArgs args = {layer.args, output};
    args.conv.filter = filter.data();
    args.conv.epilogue.residual = start.data(), args.conv.epilogue.residual_pitch = 40;
    std::vector<float> scratch(winograd_scratch_floats(output, 24, 40, 1000) + 16);
    for (Isa isa : available_levels()) {
      const std::vector<float> apart = run_shares(args, isa, 1);
      std::vector<float> inplace = start;
      WinogradArgs same = args;
      same.conv.output = inplace.data(), same.conv.epilogue.residual = inplace.data();
      select_winograd_table(isa).conv(same, {0, 1}, scratch.data());
      EXPECT_EQ(inplace, apart) << isa_name(isa);
    }
  }
}

TEST(Winograd, NanReachesItsWindows) {
  Layer layer(shape_of(1, 16, 16, 12, 12, 1, 1), Kind::kFused, 0);
  std::vector<float> input = layer.input;
  input[(5 * 12 + 6) * 16 + 3] = NAN;
  layer.args.input = input.data();
  for (int64_t output : {2, 4}) {
    std::vector<float> filter(winograd_filter_floats(output, 16, 16));
    transform_winograd_filter(layer.weights.data(), output, 16, 16, filter.data());
    layer.args.filter = filter.data();
    for (Isa isa : available_levels()) {
      const std::vector<float> actual = run_shares({layer.args, output}, isa, 1);
      for (int64_t y = 4; y <= 6; ++y) {
        for (int64_t x = 5; x <= 7; ++x) EXPECT_TRUE(std::isnan(actual[(y * 12 + x) * 16])) << isa_name(isa);
      }
      EXPECT_FALSE(std::isnan(actual[0])) << isa_name(isa);
    }
  }
}

}  // namespace
}  // namespace hussar::cpu

namespace hussar {
namespace {

using cpu::random_engine;

KernelCase conv_case(int64_t output, const Shape& x, int64_t filters) {
  KernelCase test;
  test.kernel = "conv_winograd" + std::to_string(output);
  test.op = "Conv";
  test.inputs = {{random_tensor(DType::kFloat32, x), false, Layout::kChannelsLast, 0},
                 {random_tensor(DType::kFloat32, {filters, x[1], 3, 3}, -1, 1), true},
                 {random_tensor(DType::kFloat32, {filters}), true}};
  test.attributes = attributes({{"pads", Ints{1, 1, 1, 1}}});
  test.output_layout = Layout::kChannelsLast;
  // As in Winograd tests above, with inputs twice as large.
  test.tolerance = 2e-5 + (output == 2 ? 2e-6 : 8e-6) * static_cast<double>(x[1]);
  return test;
}

TEST(WinogradKernel, AgreesWithTheOperator) {
  for (int64_t output : {2, 4}) {
    for (int turn = 0; turn < 12; ++turn) {
      KernelCase test =
          conv_case(output, {pick(1, 2), pick(1, 50), pick(3, 20), pick(3, 20)}, turn % 3 == 0 ? 64 : pick(1, 70));
      test.attributes = turn % 4 == 0   ? attributes({{"auto_pad", std::string("SAME_UPPER")}})
                        : turn % 4 == 1 ? attributes({{"auto_pad", std::string("VALID")}})
                                        : attributes({{"pads", Ints{pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 2)}}});
      if (turn % 2 == 1) test.inputs[0].gap = pick(1, 20), test.output_gap = pick(1, 20);
      if (turn % 3 == 1) test.inputs.pop_back();
      expect_kernel_agrees(test);
      if (HasFatalFailure()) return;
    }
    // Enough work for two threads: once cut into tiles, once into panels.
    expect_kernel_agrees(conv_case(output, {1, 40, 33, 31}, 48));
    expect_kernel_agrees(conv_case(output, {1, 130, 7, 7}, 150));
  }
}

TEST(WinogradKernel, SaysWhatItDoesNotTake) {
  auto refusal_with = [](const char* name, Attribute value) {
    KernelCase test = conv_case(4, {1, 8, 9, 9}, 8);
    test.attributes.set(name, value);
    return refusal_of(test).value_or("");
  };
  EXPECT_EQ(refusal_with("strides", Ints{2, 1}), "stride");
  EXPECT_EQ(refusal_with("dilations", Ints{1, 2}), "dilation");
  EXPECT_EQ(refusal_with("strides", Ints{1, 1}), "");
  KernelCase grouped = conv_case(4, {1, 8, 9, 9}, 8);
  grouped.inputs[1].tensor = random_tensor(DType::kFloat32, {8, 4, 3, 3});
  grouped.attributes.set("group", int64_t{2});
  EXPECT_EQ(refusal_of(grouped).value_or(""), "groups");
  KernelCase wide = conv_case(2, {1, 8, 9, 9}, 8);
  wide.inputs[1].tensor = random_tensor(DType::kFloat32, {8, 8, 3, 5});
  EXPECT_EQ(refusal_of(wide).value_or(""), "kernel is not 3 x 3");
  KernelCase plain = conv_case(2, {1, 8, 9, 9}, 8);
  plain.inputs[0].layout = Layout::kPlain;
  EXPECT_EQ(refusal_of(plain).value_or(""), "layout is not channels-last");
}

}  // namespace
}  // namespace hussar
