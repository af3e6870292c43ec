// pool against the reference: kernels, strides, dilations, asymmetric padding, ceil_mode, both layouts, bytes.
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

Ints random_ints(int count, int64_t low, int64_t high) {
  Ints values(static_cast<size_t>(count));
  for (int64_t& value : values) value = pick(low, high);
  return values;
}

KernelCase random_case(int spatial, Layout layout) {
  bool is_max = pick(0, 1) == 0;
  Shape shape{pick(1, 2), pick(1, 70)};
  for (int axis = 0; axis < spatial; ++axis) shape.push_back(pick(7, 14));
  Ints kernel = random_ints(spatial, 1, 3);
  Attributes list = attributes({{"kernel_shape", kernel}, {"strides", random_ints(spatial, 1, 3)}});
  if (pick(0, 1) == 0) list.set("dilations", random_ints(spatial, 1, 2));
  int64_t padding = pick(0, 3);
  // ONNX wants pads smaller than the kernel.
  if (padding == 0) {
    Ints pads = kernel;
    pads.insert(pads.end(), kernel.begin(), kernel.end());
    for (int64_t& pad : pads) pad = pick(0, pad - 1);
    list.set("pads", pads);
  }
  if (padding == 1) list.set("auto_pad", std::string(pick(0, 1) == 0 ? "SAME_UPPER" : "SAME_LOWER"));
  if (pick(0, 1) == 0) list.set("ceil_mode", pick(0, 1));
  if (!is_max) list.set("count_include_pad", pick(0, 1));
  const bool is_bytes = is_max && pick(0, 1) == 0;
  // Now and then more channels than any vector of bytes has.
  if (is_bytes && pick(0, 2) == 0) shape[1] = pick(60, 330);
  Tensor x = is_bytes ? random_tensor(DType::kUInt8, shape, 0, 255) : random_tensor(DType::kFloat32, shape);
  KernelCase test{"pool", is_max ? "MaxPool" : "AveragePool", {{x}}, list};
  test.tolerance = is_max ? 0 : 1e-6;
  test.inputs[0].layout = test.output_layout = layout;
  if (layout == Layout::kChannelsLast) {
    test.inputs[0].gap = pick(0, 5);
    test.output_gap = pick(0, 5);
  }
  return test;
}

TEST(PoolKernel, RandomWindows) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (int spatial = 1; spatial <= 3; ++spatial) {
      for (int repeat = 0; repeat < 40; ++repeat) {
        expect_kernel_agrees(random_case(spatial, layout));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(PoolKernel, LargeEnoughForThreads) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    for (DType dtype : {DType::kFloat32, DType::kUInt8}) {
      KernelCase test{"pool",
                      "MaxPool",
                      {{random_tensor(dtype, {1, 64, 112, 113}, 0, 200)}},
                      attributes({{"kernel_shape", Ints{3, 3}}, {"strides", Ints{2, 2}}, {"pads", Ints{1, 1, 0, 1}}})};
      test.inputs[0].layout = test.output_layout = layout;
      expect_kernel_agrees(test);
    }
  }
}

TEST(PoolKernel, NanWins) {
  for (Layout layout : {Layout::kPlain, Layout::kChannelsLast}) {
    Tensor x = random_tensor(DType::kFloat32, {1, 17, 9, 9});
    for (int i = 0; i < 30; ++i) x.data<float>()[pick(0, x.elements() - 1)] = NAN;
    KernelCase test{"pool", "MaxPool", {{x}}, attributes({{"kernel_shape", Ints{2, 3}}})};
    test.inputs[0].layout = test.output_layout = layout;
    expect_kernel_agrees(test);
  }
}

// As SPPF stacks them: large windows, every number of bytes beside whole vectors.
TEST(PoolKernel, BytesOfEveryWidth) {
  for (int64_t channels = 1; channels <= 200; channels += channels < 70 ? 1 : 13) {
    for (int64_t dilation = 1; dilation <= 2; ++dilation) {
      KernelCase test{"pool",
                      "MaxPool",
                      {{random_tensor(DType::kUInt8, {2, channels, 9, 10}, 0, 255)}},
                      attributes({{"kernel_shape", Ints{5, 3}},
                                  {"pads", Ints{2, 1, 2, 1}},
                                  {"dilations", Ints{1, dilation}},
                                  {"strides", Ints{1, pick(1, 2)}}})};
      test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
      test.inputs[0].gap = pick(0, 40);
      test.output_gap = pick(0, 40);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(PoolKernel, AveragesOfBytesAreRefused) {
  KernelCase test{"pool",
                  "AveragePool",
                  {{random_tensor(DType::kUInt8, {1, 3, 9, 9})}},
                  attributes({{"kernel_shape", Ints{2, 2}}})};
  EXPECT_EQ(refusal_of(test), "dtype");
}

TEST(PoolKernel, RefusesIndices) {
  KernelCase test{"pool",
                  "MaxPool",
                  {{random_tensor(DType::kFloat32, {1, 3, 9, 9})}},
                  attributes({{"kernel_shape", Ints{2, 2}}}),
                  2};
  EXPECT_EQ(refusal_of(test), "indices");
}

}  // namespace
}  // namespace hussar
