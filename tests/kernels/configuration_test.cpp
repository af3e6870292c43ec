// Kernels in their configurations: through the same door as in plans, on work that is large enough to be shared.
#include <gtest/gtest.h>

#include <algorithm>

#include "backends/cpu/work_cuts.h"
#include "plan/kernel.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

KernelCase conv_case(const std::string& kernel, const Shape& input, const Shape& filter, Attributes attributes) {
  KernelCase test{.kernel = kernel, .op = "Conv", .inputs = {}, .attributes = std::move(attributes)};
  test.inputs.push_back({random_tensor(DType::kFloat32, input, -1, 1), false, Layout::kChannelsLast, pick(0, 1) * 3});
  test.inputs.push_back({random_tensor(DType::kFloat32, filter, -1, 1), true});
  test.inputs.push_back({random_tensor(DType::kFloat32, {filter[0]}), true});
  test.output_layout = Layout::kChannelsLast;
  test.tolerance = 1e-6 + 4e-7 * static_cast<double>(filter.elements(1, filter.rank()));
  return test;
}

KernelCase matmul_case(const Shape& a, const Shape& b, bool constant) {
  KernelCase test{.kernel = "matmul_tile", .op = "MatMul", .inputs = {}};
  test.inputs.push_back({random_tensor(DType::kFloat32, a, -1, 1)});
  test.inputs.push_back({random_tensor(DType::kFloat32, b, -1, 1), constant});
  test.tolerance = 1e-6 + 4e-7 * static_cast<double>(a[a.rank() - 1]);
  return test;
}

TEST(Configurations, Convolutions) {
  const Attributes padded = attributes({{"pads", Ints{1, 1, 1, 1}}});
  for (int i = 0; i < 6; ++i) {
    const int64_t channels = pick(20, 70), filters = pick(20, 90);
    for (const char* kernel : {"conv_tile", "conv_winograd2", "conv_winograd4"}) {
      expect_kernel_agrees(
          conv_case(kernel, {pick(1, 2), channels, pick(9, 20), pick(9, 20)}, {filters, channels, 3, 3}, padded));
      if (HasFatalFailure()) return;
    }
    expect_kernel_agrees(conv_case("conv_tile", {1, channels * 2, 20, 31}, {filters * 2, channels, 1, 1},
                                   attributes({{"group", int64_t{2}}})));
    if (HasFatalFailure()) return;
  }
  // Read in lines, without packing.
  expect_kernel_agrees(conv_case("conv_tile", {1, 3, 40, 50}, {24, 3, 3, 3}, padded));
}

TEST(Configurations, Products) {
  for (int i = 0; i < 10; ++i) {
    const int64_t k = pick(30, 700), n = pick(30, 400);
    expect_kernel_agrees(matmul_case({pick(1, 90), k}, {k, n}, true));
    if (HasFatalFailure()) return;
    expect_kernel_agrees(matmul_case({2, 3, pick(1, 30), k}, {2, 3, k, n}, false));
    if (HasFatalFailure()) return;
  }
}

TEST(Configurations, WhatAKernelDoesNotKnowIsRefused) {
  const Attribute forged[] = {std::string("by_magic"), std::string(), int64_t{3}, Ints{1, 2}};
  for (const Attribute& attribute : forged) {
    const std::string name(kConfigurationAttribute);
    KernelCase product = matmul_case({20, 40}, {40, 50}, true);
    product.attributes.set(name, attribute);
    EXPECT_NE(run_error_of(product).find("has no configuration"), std::string::npos);
    for (const char* kernel : {"conv_tile", "conv_winograd4"}) {
      KernelCase conv = conv_case(kernel, {1, 16, 9, 9}, {16, 16, 3, 3}, {});
      conv.attributes.set(name, attribute);
      EXPECT_NE(run_error_of(conv).find("has no configuration"), std::string::npos) << kernel;
    }
  }
}

// Only what would do the work otherwise than usual is worth a measurement.
TEST(Configurations, AreOfferedWhereTheyDiffer) {
  auto names = [](const cpu::ProductSize& size, int shares) {
    std::vector<std::string_view> list;
    for (const Configuration& row : cpu::cut_configurations(size, shares, 100)) {
      EXPECT_GT(row.predicted, 0) << row.name;
      list.push_back(row.name);
    }
    return list;
  };
  auto has = [](const std::vector<std::string_view>& list, std::string_view name) {
    return std::find(list.begin(), list.end(), name) != list.end();
  };
  const cpu::ProductSize tall = {
      .rows = 3000, .panels = 4, .k = 256, .tile_rows = 14, .block_floats = cpu::kBlockFloats};
  EXPECT_TRUE(has(names(tall, 2), "by_panels"));
  EXPECT_FALSE(has(names(tall, 2), "by_rows")) << "the usual cut";
  EXPECT_FALSE(has(names(tall, 1), "by_panels")) << "one share";
  const cpu::ProductSize row = {.rows = 1, .panels = 64, .k = 512, .tile_rows = 14, .block_floats = cpu::kBlockFloats};
  EXPECT_FALSE(has(names(row, 2), "by_panels")) << "the usual cut";
  EXPECT_TRUE(has(names(tall, 2), "six_rows"));
  EXPECT_FALSE(has(names(row, 2), "six_rows")) << "there is one row";
  EXPECT_TRUE(names({.rows = 0, .panels = 0, .k = 0}, 1).empty());
}

}  // namespace
}  // namespace hussar
