// Products with 2:4 weights on Hopper's tensor cores, and the dense ones of the same text, against the reference: small
// ones on any machine, where tests/support/emulated_hopper.h is what multiplies and copies, larger ones on a GPU.
#include <array>
#include <cmath>

#include "plan/kernel.h"
#include "tensor/convert.h"
#include "tensor/float8_mask.h"
#include "tests/kernels/kernel_case.h"
#include "tests/kernels/sparse_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kFloat = DType::kFloat32,
                kFp8 = DType::kFloat8E4M3FN;
constexpr DType kBytes = DType::kUInt8;  // by weights of int8
constexpr const char* kSparse = "cuda_product_sparse";
constexpr int kHopper = 90;

using Sizes = std::array<int64_t, 3>;

// Whole numbers, whose sums lose nothing on tensor cores (cuda_fp8_test.cpp), of either type of zero.
Tensor whole_numbers(const Shape& shape) { return converted(random_tensor(DType::kInt8, shape, -4, 4), kFp8); }

// Scales that make sums of `depth` products of two numbers, of which `product` is usual, about one; perhaps a bias.
void add_scales(KernelCase& test, int64_t columns, int64_t depth, double product) {
  const double unit = 1 / (product * std::sqrt(static_cast<double>(depth)));
  test.inputs.push_back({random_tensor(kFloat, {columns}, 100 * unit, 200 * unit), true});
  if (pick(0, 1) == 1) test.inputs.push_back({random_tensor(kFloat, {columns}, -1, 1), true});
  test.attributes.set("x_scale", 0.01F);
  test.tolerance = 1e-5;
}

// Of results that are rounded to the type: a few units of its last place.
double tolerance_of(DType half) { return half == kBrain ? 1.6e-2 : 2e-3; }

// Rows of `x` by weights of [k, n] of the type that goes with its own.
KernelCase product_of(DType dtype, const Shape& x, int64_t n, const char* kernel = kSparse) {
  const int64_t k = x[x.rank() - 1];
  KernelCase test{kernel, "hussar.QuantizedMatMul", {}};
  test.emulated_sm = kHopper;
  if (is_half(dtype)) {
    test.op = "MatMul";
    test.inputs = {{random_tensor(dtype, x, -1, 1)}, {random_tensor(dtype, {k, n}, -1, 1), true}};
    test.tolerance = tolerance_of(dtype);
  } else if (dtype == kFp8) {
    test.inputs = {{whole_numbers(x)}, {whole_numbers({k, n}), true}};
    add_scales(test, n, k, 20.0 / 3);
  } else {
    test.inputs = {{random_tensor(kBytes, x, 0, 255)}, {random_tensor(DType::kInt8, {k, n}, -128, 127), true}};
    add_scales(test, n, k, 70.0 * 70.0);
    test.attributes.set("x_zero_point", pick(0, 255));
  }
  return test;
}

// Two of four weights are zero, some groups have fewer that are not; `width` columns share a mask.
KernelCase thinned(KernelCase test, int64_t width) {
  const WeightForm form = test.op.ends_with("Conv")                   ? WeightForm::kFilter
                          : test.attributes.get_int("transB", 0) != 0 ? WeightForm::kTransposed
                                                                      : WeightForm::kMatrix;
  Tensor& weights = test.inputs[1].tensor;
  switch (weights.dtype()) {
    case kHalf:
    case kBrain: make_sparse(view_weights(weights.data<Half>(), weights.shape(), form), width); break;
    case kFp8: make_sparse(view_weights(weights.data<Float8>(), weights.shape(), form), width); break;
    default: make_sparse(view_weights(weights.data<int8_t>(), weights.shape(), form), width);
  }
  return test;
}

// Adds a residual and takes the positive part. Results are of the type that is given, or floats.
KernelCase finished(KernelCase test, const Shape& output, DType residual, DType result) {
  Program program{};
  program.operand_count = 1;
  program.step_count = 2;
  program.steps[0].op = ProgramOp::kAdd;
  program.steps[0].source = ProgramSource::kOperand;
  program.steps[1].op = ProgramOp::kRelu;
  test.program = program;
  while (test.op.starts_with("hussar") && test.inputs.size() < 4) test.inputs.emplace_back();
  test.program_inputs = static_cast<int32_t>(test.inputs.size());
  const double largest = residual == kFp8 ? 448 : residual == kBytes ? 255 : 1;
  test.inputs.push_back(
      {random_tensor(residual, output, residual == kBytes ? 0 : -largest, largest), false, test.output_layout});
  if (residual == kFp8 || residual == kBytes) test.attributes.set("operand_scale", 0.005F);
  if (result == kFp8 || result == kBytes) test.attributes.set("y_scale", 0.01F);
  if (result != kFloat && test.op.starts_with("hussar")) test.attributes.set("y_type", static_cast<int64_t>(result));
  if (is_half(result)) test.tolerance = tolerance_of(result);
  return test;
}

bool can_run(const KernelCase& test) {
  const auto refusal = refusal_of(test);
  return !refusal || !refusal->starts_with("needs ");
}

bool has_gpu() { return !tests::is_emulated(tests::use_test_device()); }

// In every tile: weights of masks of their own, and of shared ones.
void expect_sparse_products_agree(DType dtype, std::initializer_list<Sizes> small, std::initializer_list<Sizes> large) {
  if (!can_run(thinned(product_of(dtype, {8, 16}, 8), 1))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  int64_t width = 1;
  for (const auto& sizes : {small, has_gpu() ? large : std::initializer_list<Sizes>{}}) {
    for (const auto& [m, n, k] : sizes) {
      KernelCase test = thinned(product_of(dtype, {m, k}, n), width);
      width = 65 - width;
      const DType of_bytes = width == 1 ? kFloat : dtype;
      expect_kernel_agrees(pick(0, 1) == 1 ? test : finished(test, {m, n}, is_half(dtype) ? dtype : of_bytes, dtype));
      if (testing::Test::HasFailure()) return;
    }
  }
}

// The least of everything; edges of tiles and of blocks of k; several tiles of a block that walks them.
TEST(CudaHopper, SparseOfBytes) {
  expect_sparse_products_agree(kBytes, {{1, 8, 16}, {70, 72, 272}, {300, 264, 400}},
                               {{128, 256, 256}, {515, 1000, 1040}, {4096, 1024, 528}, {128, 1024, 4096}});
}
TEST(CudaHopper, SparseOfHalves) {
  expect_sparse_products_agree(kHalf, {{1, 8, 8}, {70, 72, 136}, {300, 264, 200}},
                               {{128, 256, 256}, {515, 1000, 1032}, {4096, 1024, 520}, {128, 1024, 4096}});
}
TEST(CudaHopper, SparseOfBf16) {
  expect_sparse_products_agree(kBrain, {{1, 8, 8}, {70, 72, 136}, {300, 264, 200}},
                               {{128, 256, 256}, {515, 1000, 1032}, {4096, 1024, 520}, {128, 1024, 4096}});
}
TEST(CudaHopper, SparseOfFp8) {
  expect_sparse_products_agree(kFp8, {{1, 8, 16}, {70, 72, 272}, {300, 264, 400}},
                               {{128, 256, 256}, {515, 1000, 1040}, {4096, 1024, 528}, {128, 1024, 4096}});
}

// In the tile that is predicted to be the fastest: batches, rows that nobody needs, results of all types.
TEST(CudaHopper, SparseForms) {
  if (!can_run(thinned(product_of(kHalf, {8, 16}, 8), 1))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (DType dtype : {kHalf, kBytes, kFp8}) {
    KernelCase batch = thinned(product_of(dtype, {3, 40, 144}, 40), 1);
    batch.only_usual = true;
    expect_kernel_agrees(batch);
    KernelCase some = thinned(product_of(dtype, {200, 80}, 72), 64);
    some.only_usual = true;
    some.needed_rows = 70, some.all_rows = 200;
    expect_kernel_agrees(some);
    for (DType result : {kFloat, kHalf, dtype}) {
      if (dtype == kHalf && result == kFloat) continue;
      KernelCase test = finished(thinned(product_of(dtype, {50, 96}, 48), 1), {50, 48}, result, result);
      test.only_usual = true;
      expect_kernel_agrees(test);
    }
    if (HasFailure()) return;
  }
}

// Weights as [n][k], and convolutions that are products.
TEST(CudaHopper, SparseWeightsInOtherForms) {
  KernelCase turned = product_of(kHalf, {70, 96}, 40);
  turned.only_usual = true;
  turned.op = "com.microsoft.FusedMatMul";
  turned.inputs[1].tensor = random_tensor(kHalf, {40, 96}, -1, 1);
  turned.attributes.set("transB", int64_t{1});
  if (!can_run(thinned(turned, 1))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  expect_kernel_agrees(thinned(turned, 1));
  for (DType dtype : {kHalf, kBytes, kFp8}) {
    KernelCase conv = product_of(dtype, {1, 96}, 40);
    conv.only_usual = true;
    conv.op = dtype == kHalf ? "Conv" : "hussar.QuantizedConv";
    conv.inputs[0].tensor = dtype == kFp8    ? whole_numbers({2, 96, 5, 7})
                            : dtype == kHalf ? random_tensor(kHalf, {2, 96, 5, 7}, -1, 1)
                                             : random_tensor(kBytes, {2, 96, 5, 7}, 0, 255);
    conv.inputs[1].tensor = conv.inputs[1].tensor.reshaped({40, 96, 1, 1});
    conv.inputs[0].layout = conv.output_layout = Layout::kChannelsLast;
    conv.inputs[0].gap = 16;
    expect_kernel_agrees(thinned(conv, 1));
    if (HasFailure()) return;
  }
}

struct Window {
  int64_t batch, channels, height, width, filters, kernel, stride, pad, dilation = 1;
};

// A convolution of the type, perhaps with a residual. Padding of bytes stands for 0.
KernelCase windows_of(DType dtype, const Window& w, const char* kernel) {
  const Shape picture{w.batch, w.channels, w.height, w.width}, filter{w.filters, w.channels, w.kernel, w.kernel};
  KernelCase test = product_of(dtype, {1, w.channels * w.kernel * w.kernel}, w.filters, kernel);
  test.op = dtype == kHalf ? "Conv" : "hussar.QuantizedConv";
  test.inputs[1].tensor = test.inputs[1].tensor.reshaped(filter);
  test.inputs[0].tensor = dtype == kFp8    ? whole_numbers(picture)
                          : dtype == kHalf ? random_tensor(kHalf, picture, -1, 1)
                                           : random_tensor(kBytes, picture, 0, 255);
  test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
  test.inputs[0].gap = 16 * pick(0, 1);
  if (w.pad > 0 && dtype == kBytes) test.attributes.set("x_zero_point", int64_t{0});
  test.attributes.set("strides", Ints{w.stride, w.stride});
  test.attributes.set("pads", Ints{w.pad, w.pad, w.pad, w.pad});
  test.attributes.set("dilations", Ints{w.dilation, w.dilation});
  auto places = [&](int64_t size) { return (size + 2 * w.pad - (w.kernel - 1) * w.dilation - 1) / w.stride + 1; };
  const Shape output{w.batch, w.filters, places(w.height), places(w.width)};
  return pick(0, 1) == 1 ? test : finished(test, output, dtype, dtype);
}

TEST(CudaHopper, SparseWindows) {
  constexpr Window kAny{2, 128, 9, 7, 40, 3, 2, 1}, kDilated{1, 128, 12, 10, 264, 3, 1, 2, 2};
  constexpr Window kStrided{3, 256, 7, 5, 8, 1, 2, 0}, kHalves{2, 64, 11, 9, 72, 3, 1, 1};
  constexpr Window kLarge[] = {
      {8, 128, 28, 28, 256, 3, 1, 1}, {3, 512, 7, 7, 512, 3, 1, 1}, {5, 128, 10, 10, 96, 7, 3, 3}};
  const char* kernel = "cuda_conv_sparse";
  if (!can_run(thinned(windows_of(kHalf, kHalves, kernel), 1))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (DType dtype : {kHalf, kBytes, kFp8}) {
    expect_kernel_agrees(thinned(windows_of(dtype, kAny, kernel), 1));
    for (const Window& window : {kDilated, kStrided}) {
      KernelCase test = thinned(windows_of(dtype, window, kernel), 64);
      test.only_usual = true;
      expect_kernel_agrees(test);
    }
    for (const Window& window : kLarge) {
      if (has_gpu()) expect_kernel_agrees(thinned(windows_of(dtype, window, kernel), 1));
    }
    if (HasFailure()) return;
  }
  expect_kernel_agrees(thinned(windows_of(kHalf, kHalves, kernel), 1));
  // Taps that are no whole blocks of k.
  for (DType dtype : {kBytes, kFp8})
    EXPECT_EQ(refusal_of(thinned(windows_of(dtype, kHalves, kernel), 1)),
              "channels of a tap are no whole blocks of 128 bytes");
}

TEST(CudaHopper, DenseWindows) {
  constexpr Window kAny{2, 80, 9, 7, 40, 3, 2, 1}, kNarrow{1, 32, 12, 10, 136, 3, 1, 2, 2};
  const char* kernel = "cuda_conv_hopper";
  if (!can_run(windows_of(kHalf, kAny, kernel))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (DType dtype : {kHalf, kBytes, kFp8}) {
    for (const Window& window : {kAny, kNarrow}) {
      KernelCase test = windows_of(dtype, window, kernel);
      test.only_usual = true;
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

// First convolutions: pictures in either layout, of the filter's type or of floats, and results of either kind.
TEST(CudaHopper, FirstConvolutions) {
  constexpr Window kShapes[] = {
      {2, 3, 21, 19, 64, 7, 2, 3}, {1, 3, 14, 17, 16, 3, 2, 1}, {2, 1, 9, 8, 24, 3, 1, 1}, {1, 4, 13, 11, 72, 5, 3, 0}};
  const char* kernel = "cuda_conv_lines";
  auto case_of = [&](const Window& window) {
    KernelCase test = windows_of(kHalf, window, kernel);
    // What is added is of halves: a gap of the picture has no part in it.
    if (pick(0, 1) == 1) test.inputs[0].layout = Layout::kPlain, test.inputs[0].gap = 0;
    if (pick(0, 2) > 0) test.inputs[0].tensor = converted(test.inputs[0].tensor, kFloat);
    test.only_usual = true;
    return test;
  };
  if (!can_run(case_of(kShapes[0]))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const Window& window : kShapes) {
    for (DType result : {kHalf, kBytes, kFp8}) {
      KernelCase test = case_of(window);
      if (result != kHalf) {
        test.op = "hussar.ConvToBytes";
        test.attributes.set("y_scale", result == kFp8 ? 0.02F : 0.05F);
        if (result == kFp8) test.attributes.set("y_type", static_cast<int64_t>(kFp8));
        if (result == kBytes) test.attributes.set("y_zero_point", pick(0, 255));
      }
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

// Of the whole range of FP8, with the bound of cuda_fp8_test.cpp: an instruction adds 64 products, of which half are of
// zeros.
TEST(CudaHopper, SparseOfLargeFp8) {
  constexpr int64_t kM = 77, kN = 200, kK = 1040;
  KernelCase test = product_of(kFp8, {kM, kK}, kN);
  test.inputs.resize(2);
  test.inputs[0].tensor = random_tensor(kFp8, {kM, kK}, -448, 448);
  test.inputs[1].tensor = random_tensor(kFp8, {kK, kN}, -448, 448);
  add_scales(test, kN, kK, 448.0 * 448.0 / 3);
  test.only_usual = true;
  const double instructions = std::ceil(kK / 64.0), unit = 4 * std::exp2(-13);
  test.tolerance = unit * (6 * std::sqrt(33.0 / 3 * instructions) + instructions);
  test = thinned(test, 1);
  if (!can_run(test)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  expect_kernel_agrees(test);
}

// The text's other forms: every tile of dense products, tiles that are split, and those that bring the residual.
TEST(CudaHopper, DenseProducts) {
  const char* kernel = "cuda_product_hopper";
  if (!can_run(product_of(kHalf, {8, 16}, 8, kernel))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  // With columns in whole groups of 32 a block's rows of W come in one copy.
  for (int64_t columns : {136, 160}) {
    expect_kernel_agrees(finished(product_of(kBytes, {150, 272}, columns, kernel), {150, columns}, kBytes, kBytes));
    if (HasFailure()) return;
  }
  KernelCase halves = finished(product_of(kHalf, {150, 200}, 136, kernel), {150, 136}, kHalf, kHalf);
  halves.only_usual = true;
  expect_kernel_agrees(halves);
  KernelCase fp8 = finished(product_of(kFp8, {150, 272}, 136, kernel), {150, 136}, kFp8, kFp8);
  fp8.only_usual = true;
  expect_kernel_agrees(fp8);
}

// Of rows that nobody needs products make nothing, none of them where none is needed, in blocks that share sums, too.
TEST(CudaHopper, FirstRowsOnly) {
  for (const char* tile : {"128x128", "128x64_by_2"}) {
    KernelCase test = product_of(kHalf, {260, 128}, 136, "cuda_product_hopper");
    if (!can_run(test)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
    test.attributes.set(kConfigurationAttribute, std::string(tile));
    test.only_usual = true;
    test.all_rows = 260;
    for (int64_t needed : {0, 1, 129, 260}) {
      test.needed_rows = needed;
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace hussar
