// Depthwise convolution against a naive sum in double precision, on every level and share count.
#include "backends/cpu/kernels/depthwise/depthwise.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/kernels/levels.h"

namespace hussar::cpu {
namespace {

constexpr float kUntouched = 12345.0f;

double naive(const DepthwiseArgs& c, const std::vector<float>& weights, int64_t pixel, int64_t channel) {
  const int64_t x = pixel % c.out[1], y = pixel / c.out[1] % c.out[0], n = pixel / (c.out[1] * c.out[0]);
  double sum = 0;
  for (int64_t ky = 0; ky < c.kernel[0]; ++ky) {
    for (int64_t kx = 0; kx < c.kernel[1]; ++kx) {
      const int64_t in_y = y * c.stride[0] - c.pad[0] + ky * c.dilation[0];
      const int64_t in_x = x * c.stride[1] - c.pad[1] + kx * c.dilation[1];
      if (in_y < 0 || in_y >= c.in[0] || in_x < 0 || in_x >= c.in[1]) continue;
      sum += double(c.input[((n * c.in[0] + in_y) * c.in[1] + in_x) * c.input_pitch + channel]) *
             weights[(ky * c.kernel[1] + kx) * c.channels + channel];
    }
  }
  return sum;
}

enum class Kind { kPlain, kFused, kProgram, kHardSwish };
constexpr int kKinds = 4;

// Fused: min(max(sum + bias + residual, -0.5), 1.5). HardSwish: hard_swish(sum + bias) * 1.5 - 0.25. Program:
// (sum + bias) * scale[channel] + residual.
void check(DepthwiseArgs args, Kind kind, int64_t extra_pitch) {
  const int64_t in_pixels = args.batch * args.in[0] * args.in[1], out_pixels = args.batch * args.out[0] * args.out[1];
  args.input_pitch = args.channels + extra_pitch;
  args.output_pitch = args.channels + extra_pitch;
  const std::vector<float> input = random_floats(in_pixels * args.input_pitch - extra_pitch);
  const std::vector<float> weights = random_floats(args.kernel[0] * args.kernel[1] * args.channels);
  const std::vector<float> bias = random_floats(args.channels), scale = random_floats(args.channels);
  const std::vector<float> residual = random_floats(out_pixels * args.channels);
  Program program{};
  program.step_count = 2;
  program.operand_count = 2;
  program.steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
  program.steps[1] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 1, {}, 0, 0};
  const ProgramOperand operands[] = {{scale.data(), 0, 1}, {residual.data(), args.channels, 1}};
  args.input = input.data();
  std::vector<float> panels(panel_floats(args.kernel[0] * args.kernel[1], args.channels));
  pack_panels(weights.data(), args.kernel[0] * args.kernel[1], args.channels, args.channels, 1, panels.data());
  args.weights = panels.data();
  if (kind != Kind::kPlain) args.epilogue.bias = bias.data();
  if (kind == Kind::kFused) {
    args.epilogue.residual = residual.data(), args.epilogue.residual_pitch = args.channels;
    args.epilogue.low = -0.5f, args.epilogue.high = 1.5f;
  }
  if (kind == Kind::kHardSwish)
    args.epilogue.hard_swish = true, args.epilogue.scale = 1.5f, args.epilogue.shift = -0.25f;
  if (kind == Kind::kProgram) args.epilogue.program = &program, args.epilogue.operands = operands;
  for (Isa isa : available_levels()) {
    std::vector<float> first;
    for (int shares = 1; shares <= 5; ++shares) {
      std::vector<float> output(out_pixels * args.output_pitch, kUntouched);
      args.output = output.data();
      for (int index = shares - 1; index >= 0; --index) select_depthwise_table(isa).conv(args, {index, shares});
      if (shares > 1) {
        ASSERT_EQ(output, first) << isa_name(isa) << " shares " << shares;
        continue;
      }
      first = output;
      for (int64_t pixel = 0; pixel < out_pixels; ++pixel) {
        for (int64_t channel = 0; channel < args.output_pitch; ++channel) {
          const float actual = output[pixel * args.output_pitch + channel];
          if (channel >= args.channels) {
            ASSERT_EQ(actual, kUntouched) << "wrote beyond the pixel";
            continue;
          }
          double expected = naive(args, weights, pixel, channel);
          const float other = residual[pixel * args.channels + channel];
          if (kind != Kind::kPlain) expected += bias[channel];
          if (kind == Kind::kFused) expected = std::fmin(std::fmax(expected + other, -0.5), 1.5);
          if (kind == Kind::kHardSwish) {
            expected = 1.5 * expected * std::fmin(std::fmax(expected / 6 + 0.5, 0.0), 1.0) - 0.25;
          }
          if (kind == Kind::kProgram) expected = expected * scale[channel] + other;
          ASSERT_NEAR(actual, expected, 1e-5)
              << isa_name(isa) << " channels " << args.channels << " in " << args.in[0] << 'x' << args.in[1]
              << " kernel " << args.kernel[0] << 'x' << args.kernel[1] << " at " << pixel << ',' << channel;
        }
      }
    }
  }
}

TEST(Depthwise, GridOfShapes) {
  int turn = 0;
  for (int64_t channels : {1, 7, 16, 24, 33, 64, 144}) {
    for (int64_t kernel : {1, 3, 5}) {
      for (int64_t stride : {1, 2}) {
        for (int64_t width : {1, 5, 7, 14, 29}) {
          DepthwiseArgs args;
          args.channels = channels;
          args.in[0] = 6, args.in[1] = width;
          for (int axis : {0, 1}) {
            args.kernel[axis] = kernel, args.stride[axis] = stride, args.pad[axis] = kernel / 2;
            args.out[axis] = (args.in[axis] + 2 * args.pad[axis] - kernel) / stride + 1;
          }
          check(args, static_cast<Kind>(turn % kKinds), turn % 2 * 5);
          if (HasFatalFailure()) return;
          ++turn;
        }
      }
    }
  }
}

// All windows inside, with every number of pixels left over in a row, and images of several blocks of rows.
TEST(Depthwise, WindowsInside) {
  int turn = 0;
  for (int64_t kernel : {3, 5}) {
    for (int64_t stride : {1, 2}) {
      for (int64_t width : {1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 14, 15, 16, 28}) {
        DepthwiseArgs args;
        args.channels = 5 + turn % 4 * 14;
        for (int axis : {0, 1}) {
          args.out[axis] = axis == 0 ? 3 : width;
          args.kernel[axis] = kernel;
          args.stride[axis] = stride;
          args.in[axis] = (args.out[axis] - 1) * stride + kernel;
        }
        check(args, static_cast<Kind>(turn % kKinds), turn % 2 * 5);
        if (HasFatalFailure()) return;
        ++turn;
      }
      DepthwiseArgs large;
      large.channels = 130;
      for (int axis : {0, 1}) {
        large.in[axis] = 50;
        large.kernel[axis] = kernel;
        large.stride[axis] = stride;
        large.pad[axis] = kernel / 2;
        large.out[axis] = (50 + 2 * large.pad[axis] - kernel) / stride + 1;
      }
      for (int kind = 0; kind < kKinds; ++kind) check(large, static_cast<Kind>(kind), 3);
      if (HasFatalFailure()) return;
    }
  }
}

TEST(Depthwise, RandomShapes) {
  auto pick = [](int64_t low, int64_t high) { return low + int64_t(random_engine()() % (high - low + 1)); };
  for (int turn = 0; turn < 100; ++turn) {
    DepthwiseArgs args;
    args.batch = pick(1, 3), args.channels = pick(1, 150);
    for (int axis : {0, 1}) {
      args.kernel[axis] = pick(1, 7), args.stride[axis] = pick(1, 3), args.dilation[axis] = pick(1, 3);
      args.pad[axis] = pick(0, 9);
      const int64_t reach = (args.kernel[axis] - 1) * args.dilation[axis] + 1;
      args.in[axis] = std::max<int64_t>(1, reach - args.pad[axis]) + pick(0, 12);
      args.out[axis] = (args.in[axis] + args.pad[axis] + pick(0, 3) - reach) / args.stride[axis] + 1;
    }
    check(args, static_cast<Kind>(turn % kKinds), turn % 2 * 3);
    if (HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace hussar::cpu
