// inverted_residual and inverted_residual_bf16 against the reference evaluator of their operator: with and without
// expansion and projection, cut by rows and by channels. In BF16 weights and inputs are numbers that it holds, so that
// only what the projection rounds differs.
#include <gtest/gtest.h>

#include <cmath>

#include "backends/cpu/isa.h"
#include "tensor/convert.h"
#include "tensor/program.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

struct Block {
  int64_t batch = 1, inputs = 3, height = 8, width = 8;
  int64_t channels = 16, outputs = 8;
  int64_t expand_kernel = 1, expand_stride = 1;  // 0: no expansion
  int64_t kernel_y = 3, kernel_x = 3, stride = 1, dilation = 1;
  Ints pads = {1, 1, 1, 1};
  bool projects = true;
  ProgramOp activation = ProgramOp::kClip;
  int64_t gap = 0;
  bool bf16 = false;
};

bool has_bf16() { return cpu::active_isa() >= cpu::Isa::kAvx512 && cpu::has_avx512_bf16(); }

// So that sums stay about as large as what is summed.
Argument weights(const Shape& shape) {
  const double size = 2 / std::sqrt(static_cast<double>(shape.elements(1, shape.rank())));
  return {random_tensor(DType::kFloat32, shape, -size, size), true};
}

Argument maybe_bias(int64_t channels) { return pick(0, 3) == 0 ? Argument{} : weights({channels}); }

Argument held_by_bf16(Argument argument) {
  if (!argument.tensor.valid()) return argument;
  auto* x = argument.tensor.data<float>();
  for (int64_t i = 0; i < argument.tensor.elements(); ++i) x[i] = bfloat16_to_float(float_to_bfloat16(x[i]));
  return argument;
}

KernelCase case_of(const Block& block) {
  const bool expands = block.expand_kernel > 0;
  const int64_t inputs = expands ? block.inputs : block.channels, edge = block.expand_kernel / 2;
  KernelCase test;
  test.kernel = block.bf16 ? "inverted_residual_bf16" : "inverted_residual";
  test.op = "hussar.InvertedResidual";
  test.inputs.push_back({random_tensor(DType::kFloat32, {block.batch, inputs, block.height, block.width}, -1, 1), false,
                         Layout::kChannelsLast, block.gap});
  test.inputs.push_back(weights({block.channels, 1, block.kernel_y, block.kernel_x}));
  test.inputs.push_back(maybe_bias(block.channels));
  const int64_t kernel = block.expand_kernel;
  test.inputs.push_back(expands ? weights({block.channels, inputs, kernel, kernel}) : Argument{});
  test.inputs.push_back(expands ? maybe_bias(block.channels) : Argument{});
  if (block.projects) {
    test.inputs.push_back(weights({block.outputs, block.channels, 1, 1}));
    test.inputs.push_back(maybe_bias(block.outputs));
  }
  const Floats activation = {static_cast<float>(block.activation), -0.5F, 1.5F};
  test.attributes = attributes({{"depthwise_strides", Ints{block.stride, block.stride}},
                                {"depthwise_dilations", Ints{block.dilation, block.dilation}},
                                {"depthwise_pads", block.pads}});
  if (expands) {
    test.attributes.set("expand_strides", Ints{block.expand_stride, block.expand_stride});
    test.attributes.set("expand_pads", Ints{edge, edge, edge, edge});
    test.attributes.set("expand_activation", activation);
  }
  if (block.projects) test.attributes.set("depthwise_activation", activation);
  test.output_layout = Layout::kChannelsLast;
  test.output_gap = block.gap;
  test.tolerance = 2e-5;
  if (block.bf16) {
    for (Argument& argument : test.inputs) argument = held_by_bf16(std::move(argument));
    test.tolerance = 2e-2;
  }
  return test;
}

// As it is, and in BF16 where the machine has that.
void expect_block_agrees(Block block) {
  for (bool bf16 : {false, true}) {
    if (bf16 && !has_bf16()) continue;
    block.bf16 = bf16;
    expect_kernel_agrees(case_of(block));
    if (testing::Test::HasFatalFailure()) return;
  }
}

constexpr ProgramOp kActivations[] = {ProgramOp::kClip, ProgramOp::kRelu, ProgramOp::kHardSwish, ProgramOp::kSilu};

TEST(InvertedResidual, GridOfShapes) {
  int turn = 0;
  for (int64_t kernel : {1, 3, 5, 7}) {
    for (int64_t stride : {1, 2, 3}) {
      for (int64_t channels : {1, 16, 40, 100}) {
        Block block;
        block.kernel_y = block.kernel_x = kernel;
        block.stride = stride;
        block.pads = {kernel / 2, turn % 2, kernel / 2, kernel / 2};
        block.channels = channels;
        block.height = 9 + turn % 7;
        block.width = 7 + turn % 9;
        block.batch = 1 + turn % 2;
        block.inputs = turn % 2 == 0 ? 3 : 24;
        block.outputs = 5 + turn % 5 * 9;
        block.expand_kernel = turn % 5 == 0 ? 0 : turn % 5 == 1 ? 3 : 1;
        block.expand_stride = turn % 5 == 1 ? 2 : 1;
        block.projects = turn % 3 != 0 || block.expand_kernel == 0;
        block.activation = kActivations[turn % 4];
        block.gap = turn % 2 * 5;
        if (block.expand_stride == 2) block.height += 12, block.width += 12;
        expect_block_agrees(block);
        if (HasFatalFailure()) return;
        ++turn;
      }
    }
  }
}

// Enough rows for many bands and for a cut by rows, and small images with many weights, which are cut by channels.
TEST(InvertedResidual, ManyBandsAndManyChannels) {
  Block bands;
  bands.inputs = 16, bands.channels = 96, bands.outputs = 24, bands.height = 61, bands.width = 112;
  for (int64_t stride : {1, 2}) {
    bands.stride = stride;
    expect_block_agrees(bands);
    if (HasFatalFailure()) return;
  }
  Block small;
  small.inputs = 80, small.channels = 330, small.outputs = 112, small.height = small.width = 14;
  small.kernel_y = small.kernel_x = 5, small.pads = {2, 2, 2, 2};
  for (bool projects : {true, false}) {
    small.projects = projects;
    small.batch = projects ? 1 : 2;
    expect_block_agrees(small);
    if (HasFatalFailure()) return;
  }
}

TEST(InvertedResidual, RandomShapes) {
  for (int turn = 0; turn < 80; ++turn) {
    Block block;
    block.batch = pick(1, 2), block.channels = pick(1, 150), block.outputs = pick(1, 70), block.inputs = pick(1, 40);
    block.kernel_y = pick(1, 5), block.kernel_x = pick(1, 5), block.stride = pick(1, 3);
    block.dilation = pick(1, 2);
    block.pads = {pick(0, 4), pick(0, 4), pick(0, 4), pick(0, 4)};
    block.height = pick((block.kernel_y - 1) * block.dilation + 1, 30);
    block.width = pick((block.kernel_x - 1) * block.dilation + 1, 30);
    block.expand_kernel = pick(0, 2) == 0 ? 0 : 1;
    block.projects = block.expand_kernel == 0 || pick(0, 1) == 1;
    block.activation = kActivations[pick(0, 3)];
    block.gap = pick(0, 1) * 3;
    expect_block_agrees(block);
    if (HasFatalFailure()) return;
  }
}

TEST(InvertedResidual, RefusesWhatItCannotDo) {
  Block block;
  Block nothing;
  nothing.expand_kernel = 0, nothing.projects = false;
  EXPECT_EQ(refusal_of(case_of(nothing)), "nothing around it");
  KernelCase plain = case_of(block);
  plain.inputs[0].layout = Layout::kPlain;
  EXPECT_EQ(refusal_of(plain), "layout is not channels-last");
  KernelCase computed = case_of(block);
  computed.inputs[1].constant = false;
  EXPECT_EQ(refusal_of(computed), "needs constant weights");
}

}  // namespace
}  // namespace hussar
