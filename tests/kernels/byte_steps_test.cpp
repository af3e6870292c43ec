// What works on bytes without multiplying them by weights gives the bits of the reference evaluators, on every level.
#include <cmath>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

ProgramStep step(ProgramOp op, ProgramSource source = ProgramSource::kConstant, uint8_t b = 0, float p0 = 0) {
  return {op, 0, 0, source, b, {}, p0, 3};
}

Tensor reals_or_bytes(bool is_bytes, const Shape& shape) {
  return is_bytes ? random_tensor(DType::kUInt8, shape, 0, 255) : random_tensor(DType::kFloat32, shape);
}

// What of an operand of this shape varies: everything, the channels, the pixels, the images, or nothing.
Shape operand_shape(Shape shape) {
  const int64_t kept = pick(0, 4);
  for (int axis = 0; axis < shape.rank(); ++axis) {
    const bool is_channel = axis == 1;
    if (kept == 4 || (kept == 1 && !is_channel) || (kept == 2 && is_channel) || (kept == 3 && axis > 0))
      shape[axis] = 1;
  }
  return shape;
}

KernelCase random_program(Layout layout) {
  const int rank = static_cast<int>(pick(layout == Layout::kPlain ? 1 : 3, 4));
  Shape shape;
  for (int axis = 0; axis < rank; ++axis) shape.push_back(axis == 1 ? pick(2, 70) : pick(1, 12));
  KernelCase test{.kernel = "pointwise", .op = "hussar.Pointwise", .inputs = {}};
  const int64_t gap = layout == Layout::kChannelsLast ? pick(0, 1) * 3 : 0;
  const bool bytes_in = pick(0, 1) == 1, bytes_beside = pick(0, 1) == 1;
  test.inputs.push_back({reals_or_bytes(bytes_in, shape), false, layout, gap});
  test.attributes = attributes({{"x_scale", 0.03F}, {"x_zero_point", pick(0, 255)}, {"operand_scale", 0.02F}});
  test.attributes.set("operand_zero_point", pick(0, 255));
  if (pick(0, 1) == 1 || (!bytes_in && !bytes_beside)) {
    test.attributes.set("y_scale", 0.05F);
    test.attributes.set("y_zero_point", pick(0, 255));
  }
  Program program{};
  auto append = [&](ProgramStep next) { program.steps[program.step_count++] = next; };
  // Nothing that a level may compute in another way.
  if (pick(0, 1) == 1) append(step(ProgramOp::kAbs));
  const int64_t operands = bytes_beside ? pick(1, 2) : pick(0, 2);
  for (int64_t i = 0; i < operands; ++i) {
    const Shape beside = operand_shape(shape);
    test.inputs.push_back({reals_or_bytes(bytes_beside && i == 0, beside), false, layout, beside == shape ? gap : 0});
    append(step(i == 0 ? ProgramOp::kMul : ProgramOp::kAdd, ProgramSource::kOperand, program.operand_count++));
  }
  append(step(ProgramOp::kClip, ProgramSource::kConstant, 0, -2));
  test.program = program;
  test.program_inputs = 1;
  test.output_layout = layout;
  test.output_gap = layout == Layout::kChannelsLast ? pick(0, 1) * 5 : 0;
  return test;
}

TEST(ByteSteps, ElementwiseWork) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (int i = 0; i < 150; ++i) {
      expect_kernel_agrees(random_program(layout));
      if (testing::Test::HasFailure()) return;
    }
  }
}

TEST(ByteSteps, LongRowsOnManyThreads) {
  Program program{};
  program.step_count = 2;
  program.operand_count = 1;
  program.steps[0] = step(ProgramOp::kAdd, ProgramSource::kOperand);
  program.steps[1] = step(ProgramOp::kRelu);
  const Shape shape = {3, 70, 40, 41};
  KernelCase test{.kernel = "pointwise",
                  .op = "hussar.Pointwise",
                  .inputs = {{reals_or_bytes(true, shape)}, {reals_or_bytes(true, shape)}},
                  .attributes = attributes({{"x_scale", 0.1F}, {"operand_scale", 0.07F}, {"y_scale", 0.2F}})};
  test.program = program;
  test.program_inputs = 1;
  expect_kernel_agrees(test);
}

// Queries, keys and values by the largest magnitudes of the run: ends of ranges, nothing at all, and what is no number.
TEST(ByteSteps, HeadsOfAttention) {
  for (int i = 0; i < 60; ++i) {
    const int64_t kv_heads = pick(1, 3), heads = kv_heads * pick(1, 3), dim = pick(1, 40), v_dim = pick(1, 40);
    const int64_t batch = pick(1, 3), length = pick(1, 40), gap = pick(0, 1) * pick(1, 9);
    const int64_t widths[] = {heads * dim, kv_heads * dim, kv_heads * v_dim};
    KernelCase test{.kernel = "quantize_heads", .op = "hussar.QuantizeHeads", .inputs = {}, .outputs = 6};
    test.attributes = attributes({{"heads", heads}, {"kv_heads", kv_heads}, {"head_dim", dim}, {"v_head_dim", v_dim}});
    const char* const offsets[] = {"q_offset", "k_offset", "v_offset"};
    for (int operand = 0; operand < 3; ++operand) {
      const int64_t offset = pick(0, 1) * gap, rows = operand == 0 ? length : pick(1, 9);
      test.attributes.set(offsets[operand], offset);
      const double size = std::pow(10, static_cast<double>(pick(-22, 3)));
      Tensor x = random_tensor(DType::kFloat32, {batch, rows, widths[operand] + offset + gap}, -size, size);
      const float special[] = {0, -0.0F, NAN, INFINITY, 3e38F, 1e20F, 127, -63.5F, 1e-20F};
      for (int64_t n = pick(0, 4); n > 0; --n)
        x.data<float>()[pick(0, x.elements() - 1)] = special[pick(0, i % 2 == 0 ? 1 : 8)];
      test.inputs.push_back({x});
    }
    expect_kernel_agrees(test);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(ByteSteps, AveragesOfImages) {
  for (int i = 0; i < 60; ++i) {
    Shape shape = {pick(1, 3), pick(1, 300)};
    const int64_t spatial = pick(1, 3);
    for (int64_t axis = 0; axis < spatial; ++axis) shape.push_back(pick(1, 20));
    KernelCase test{.kernel = "average_bytes",
                    .op = "hussar.GlobalAverageBytes",
                    .inputs = {{reals_or_bytes(true, shape), false, Layout::kChannelsLast, pick(0, 1) * 7}},
                    .attributes = attributes({{"x_scale", 0.03F}, {"x_zero_point", pick(0, 255)}})};
    test.output_layout = Layout::kChannelsLast;
    test.output_gap = pick(0, 1) * 2;
    if (pick(0, 1) == 1) {
      test.attributes.set("y_scale", 0.01F);
      test.attributes.set("y_zero_point", pick(0, 255));
    }
    expect_kernel_agrees(test);
    if (testing::Test::HasFailure()) return;
  }
}

TEST(ByteSteps, AveragesOfWindows) {
  for (int i = 0; i < 200; ++i) {
    Shape shape = {pick(1, 3), pick(1, 300)};
    const int64_t spatial = pick(1, 3);
    Ints kernel, strides, pads, dilations;
    for (int64_t axis = 0; axis < spatial; ++axis) {
      kernel.push_back(pick(1, 4));
      strides.push_back(pick(1, 3));
      dilations.push_back(pick(1, 2));
      shape.push_back(pick(1, 12) + (kernel.back() - 1) * dilations.back());
    }
    for (int64_t side = 0; side < 2 * spatial; ++side)
      pads.push_back(pick(0, kernel[static_cast<size_t>(side % spatial)] - 1));
    KernelCase test{.kernel = "average_pool_bytes",
                    .op = "hussar.AverageBytes",
                    .inputs = {{reals_or_bytes(true, shape), false, Layout::kChannelsLast, pick(0, 1) * 7}},
                    .attributes = attributes({{"x_scale", 0.03F},
                                              {"x_zero_point", pick(0, 255)},
                                              {"kernel_shape", kernel},
                                              {"strides", strides},
                                              {"dilations", dilations},
                                              {"ceil_mode", pick(0, 1)},
                                              {"count_include_pad", pick(0, 1)}})};
    constexpr const char* kAutomatic[] = {"VALID", "SAME_UPPER", "SAME_LOWER"};
    const int64_t automatic = pick(0, 5);
    if (automatic < 3) {
      test.attributes.set("auto_pad", std::string(kAutomatic[automatic]));
    } else {
      test.attributes.set("pads", pads);
    }
    test.output_layout = Layout::kChannelsLast;
    test.output_gap = pick(0, 1) * 2;
    if (pick(0, 1) == 1) {
      test.attributes.set("y_scale", 0.01F);
      test.attributes.set("y_zero_point", pick(0, 255));
    }
    expect_kernel_agrees(test);
    if (testing::Test::HasFailure()) return;
  }
}

// All movers between products, as they are tested for other types, on bytes in images.
TEST(ByteSteps, NearestResizeAndJoins) {
  for (int i = 0; i < 20; ++i) {
    const int64_t channels = pick(1, 70), height = pick(1, 9), width = pick(1, 9);
    KernelCase resize{.kernel = "resize",
                      .op = "Resize",
                      .inputs = {{reals_or_bytes(true, {1, channels, height, width}), false, Layout::kChannelsLast, 3},
                                 {},
                                 {Tensor(DType::kFloat32, {4}), true}},
                      .attributes = attributes({{"mode", std::string("nearest")},
                                                {"coordinate_transformation_mode", std::string("asymmetric")},
                                                {"nearest_mode", std::string("floor")}})};
    auto* scales = resize.inputs[2].tensor.data<float>();
    scales[0] = scales[1] = 1;
    scales[2] = scales[3] = 2;
    resize.output_layout = Layout::kChannelsLast;
    resize.output_gap = pick(0, 5);
    expect_kernel_agrees(resize);
    KernelCase concat{.kernel = "concat",
                      .op = "Concat",
                      .inputs = {{reals_or_bytes(true, {1, channels, height, width}), false, Layout::kChannelsLast, 2},
                                 {reals_or_bytes(true, {1, 5, height, width}), false, Layout::kChannelsLast, 1}},
                      .attributes = attributes({{"axis", int64_t{1}}})};
    concat.output_layout = Layout::kChannelsLast;
    expect_kernel_agrees(concat);
    if (testing::Test::HasFailure()) return;
  }
}

}  // namespace
}  // namespace hussar
