// Convolution in groups of few channels against the reference evaluator: group sizes that fill lanes, straddle them and
// have panels of their own, edges, strides, dilation, pitches, epilogues.
#include "backends/cpu/kernels/grouped/grouped.h"

#include <cstring>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

struct Sizes {
  int64_t batch, group, channels, filters, height, width, kernel_h, kernel_w;
  int64_t stride = 1, dilation = 1, pad = 0, pad_end = 0;
};

KernelCase case_of(const Sizes& s, bool bias, int64_t gap) {
  KernelCase test;
  test.kernel = "conv_grouped";
  test.op = "Conv";
  test.inputs.push_back({random_tensor(DType::kFloat32, {s.batch, s.group * s.channels, s.height, s.width}, -1, 1),
                         false, Layout::kChannelsLast, gap});
  test.inputs.push_back(
      {random_tensor(DType::kFloat32, {s.group * s.filters, s.channels, s.kernel_h, s.kernel_w}, -1, 1), true});
  if (bias) test.inputs.push_back({random_tensor(DType::kFloat32, {s.group * s.filters}), true});
  test.attributes = attributes({{"group", s.group},
                                {"strides", Ints{s.stride, s.stride}},
                                {"dilations", Ints{s.dilation, s.dilation}},
                                {"pads", Ints{s.pad, s.pad, s.pad_end, s.pad_end}}});
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = gap;
  test.tolerance = 2e-6 + 3e-7 * static_cast<double>(s.channels * s.kernel_h * s.kernel_w);
  return test;
}

TEST(Grouped, EveryGroupSize) {
  int64_t turn = 0;
  for (int64_t channels : {1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 15, 16, 20, 33}) {
    for (int64_t filters : {1, 2, 3, 4, 5, 6, 8, 9, 12, 15, 16, 20, 24}) {
      if (channels == 1 && filters == 1) continue;
      ++turn;
      Sizes sizes = {1, 2 + turn % 6, channels, filters, 4, 5 + turn % 9, 3, 3, 1 + turn % 2, 1, 1, 1};
      if (turn % 5 == 0) sizes.kernel_h = sizes.kernel_w = 1;
      expect_kernel_agrees(case_of(sizes, turn % 3 != 0, turn % 4 == 0 ? 3 : 0));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

// Every number of pixels in a tile, several blocks of columns, and bands of rows.
TEST(Grouped, EveryWidth) {
  for (int64_t width : {1, 2, 3, 6, 7, 8, 9, 10, 11, 13, 14, 15, 20, 21, 28, 56, 150, 400}) {
    for (int64_t channels : {2, 4, 8}) {
      for (int64_t stride : {1, 2}) {
        const int64_t height = width > 100 ? 3 : width == 28 ? 40 : 5;
        expect_kernel_agrees(
            case_of({1, 32 / channels, channels, channels, height, width, 3, 3, stride, 1, 1, 1}, true, 0));
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
}

TEST(Grouped, RandomShapes) {
  for (int turn = 0; turn < 150; ++turn) {
    Sizes s;
    s.batch = pick(1, 3), s.group = pick(2, 12), s.channels = pick(1, 18),
    s.filters = pick(s.channels == 1 ? 2 : 1, 20);
    s.kernel_h = pick(1, 5), s.kernel_w = pick(1, 5), s.stride = pick(1, 4), s.dilation = pick(1, 3);
    s.pad = pick(0, 6), s.pad_end = pick(0, 6);
    const int64_t most = std::max(s.kernel_h, s.kernel_w);
    s.height = std::max<int64_t>(1, (most - 1) * s.dilation + 1 - s.pad) + pick(0, 12);
    s.width = std::max<int64_t>(1, (most - 1) * s.dilation + 1 - s.pad) + pick(0, 40);
    expect_kernel_agrees(case_of(s, turn % 2 == 0, turn % 3 == 0 ? 5 : 0));
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Grouped, OneSpatialDimension) {
  KernelCase test;
  test.kernel = "conv_grouped";
  test.op = "Conv";
  test.inputs.push_back({random_tensor(DType::kFloat32, {2, 48, 70}, -1, 1), false, Layout::kChannelsLast});
  test.inputs.push_back({random_tensor(DType::kFloat32, {36, 4, 9}, -1, 1), true});
  test.attributes = attributes({{"group", int64_t{12}}, {"pads", Ints{4, 3}}, {"strides", Ints{2}}});
  test.output_layout = Layout::kChannelsLast;
  test.tolerance = 2e-5;
  expect_kernel_agrees(test);
}

TEST(Grouped, Refusals) {
  EXPECT_EQ(refusal_of(case_of({1, 1, 4, 4, 5, 5, 3, 3}, false, 0)), "one group");
  EXPECT_EQ(refusal_of(case_of({1, 4, 1, 1, 5, 5, 3, 3}, false, 0)), "depthwise");
  EXPECT_EQ(refusal_of(case_of({1, 2, 65, 4, 5, 5, 3, 3}, false, 0)), "many channels in a group");
  EXPECT_EQ(refusal_of(case_of({1, 2, 4, 4, 70, 70, 1, 1, 1, 1}, false, 0)), std::nullopt);
  EXPECT_EQ(refusal_of(case_of({1, 2, 4, 4, 70, 70, 3, 3, 1, 34}, false, 0)), "the dilated kernel is too large");
}

}  // namespace

namespace cpu {
namespace {

// Bias, residual, bounds, hard-swish and programs give what they give behind the tile kernel, on every level and for
// any number of shares.
TEST(Grouped, Epilogues) {
  Program program{};
  program.step_count = 2;
  program.operand_count = 2;
  program.steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
  program.steps[1] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 1, {}, 0, 0};
  for (int64_t filters : {2, 4, 6, 8, 13, 16}) {
    for (int kind = 0; kind < 4; ++kind) {
      ConvArgs args;
      args.batch = 2, args.groups = 6, args.channels = 5, args.filters = filters;
      for (int axis : {1, 2}) args.in[axis] = args.out[axis] = 9, args.kernel[axis] = 3, args.pad[axis] = 1;
      const int64_t columns = args.groups * filters, pixels = args.batch * 81, k = 9 * args.channels;
      args.input_pitch = args.groups * args.channels, args.output_pitch = columns + 3;
      const std::vector<float> input = random_floats(pixels * args.input_pitch), weights = random_floats(columns * k);
      const std::vector<float> bias = random_floats(columns), scale = random_floats(columns);
      const std::vector<float> residual = random_floats(pixels * columns);
      const ProgramOperand operands[] = {{scale.data(), 0, 1}, {residual.data(), columns, 1}};
      std::vector<float> by_group(args.groups * panel_floats(k, filters));
      pack_conv_filter(weights.data(), args.groups, filters, args.channels, 9, by_group.data());
      std::vector<float> packed(grouped_panels(args.groups, filters) * k * kPanelColumns);
      const int64_t matrices = grouped_by_group(filters) ? args.groups : 1;
      pack_conv_filter(weights.data(), matrices, columns / matrices, args.channels, 9, packed.data());
      args.input = input.data();
      Epilogue& e = args.epilogue;
      e.bias = bias.data();
      if (kind >= 1) e.low = -0.5f, e.high = 1.5f;
      if (kind == 2) e.residual = residual.data(), e.residual_pitch = columns;
      if (kind == 2) e.hard_swish = true, e.scale = 1.5f, e.shift = -0.25f;
      if (kind == 3) e.program = &program, e.operands = operands;
      for (Isa isa : available_levels()) {
        std::vector<float> expected(pixels * args.output_pitch, 7.0f), memory(tile_scratch_bytes(k) / 4 + 16);
        std::vector<float> scratch(grouped_scratch_floats(args) + 16, NAN);
        args.filter = by_group.data(), args.output = expected.data();
        select_tile_table(isa).conv(args, {0, 1}, memory.data());
        std::vector<float> first;
        for (int shares : {1, 2, 3, 5}) {
          std::vector<float> output(pixels * args.output_pitch, 7.0f);
          args.filter = packed.data(), args.output = output.data();
          for (int share = shares - 1; share >= 0; --share) {
            select_grouped_table(isa).conv(args, {share, shares}, scratch.data());
          }
          if (first.empty()) first = output;
          ASSERT_EQ(std::memcmp(output.data(), first.data(), output.size() * sizeof(float)), 0) << shares << " shares";
        }
        for (size_t i = 0; i < expected.size(); ++i) {
          ASSERT_NEAR(first[i], expected[i], 2e-5) << isa_name(isa) << " filters " << filters << " kind " << kind;
        }
      }
    }
  }
}

}  // namespace
}  // namespace cpu
}  // namespace hussar
