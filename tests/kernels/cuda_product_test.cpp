// CUDA kernels that multiply matrices and windows, against the reference: those without tensor cores on any device,
// the others on a GPU that has them.
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#include "backends/cuda/sparse_weights.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"
#include "tests/kernels/sparse_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBFloat = DType::kBFloat16, kFloat = DType::kFloat32;

Argument values(DType dtype, const Shape& shape) { return {random_tensor(dtype, shape, -1, 1)}; }
Argument weights(DType dtype, const Shape& shape) { return {random_tensor(dtype, shape, -1, 1), true}; }

// A bias that is an operand of the node comes before. Adds a residual of the output's shape, then takes the positive
// part.
void add_epilogue(KernelCase& test, const Shape& output, DType dtype) {
  Program program{};
  program.operand_count = 1;
  program.step_count = 2;
  program.steps[0].op = ProgramOp::kAdd;
  program.steps[0].source = ProgramSource::kOperand;
  program.steps[1].op = ProgramOp::kRelu;
  test.program = program;
  test.program_inputs = static_cast<int32_t>(test.inputs.size());
  Argument residual = values(dtype, output);
  residual.layout = test.output_layout;
  test.inputs.push_back(residual);
}

// Whether the device can run it; says so where it cannot.
bool can_run(const KernelCase& test) {
  const auto refusal = refusal_of(test);
  const bool lacks = refusal && refusal->starts_with("needs ");
  return !lacks;
}

// Floats are multiplied as TF32, which what they are here loses nothing by.
KernelCase in_tf32(KernelCase test) {
  constexpr float kSteps = 512;
  test.tf32 = true;
  test.tolerance = 5e-4;
  for (Argument& input : test.inputs) {
    if (input.tensor.dtype() != kFloat) continue;
    Tensor rounded(kFloat, input.tensor.shape());
    const auto* from = reinterpret_cast<const float*>(input.tensor.raw());
    auto* to = reinterpret_cast<float*>(rounded.raw());
    for (int64_t i = 0; i < rounded.shape().elements(); ++i) to[i] = std::nearbyint(from[i] * kSteps) / kSteps;
    input.tensor = rounded;
  }
  return test;
}

// The case itself, in whatever precisions the kernel has for it. One in `rarely` in TF32: every tile is compiled.
void expect_kernel_agrees_in_all(const KernelCase& test, int rarely = 1) {
  const bool is_float = test.inputs[1].tensor.dtype() == kFloat;  // the factors: a picture of floats may be rounded
  if (!is_float || !refusal_of(test)) expect_kernel_agrees(test);
  if (is_float && pick(1, rarely) == 1) expect_kernel_agrees(in_tf32(test));
}

// Two units in the last place of halves and BF16, whose sums are floats.
double tolerance_of(DType dtype, int64_t k) {
  return dtype == kHalf ? 2e-3 : dtype == kBFloat ? 1.6e-2 : 3e-7 * std::sqrt(static_cast<double>(k)) + 1e-6;
}

// Of long lists BF16 takes a third, as it differs from halves in instructions only.
bool leaves_out(DType dtype) { return dtype == kBFloat && pick(1, 3) > 1; }

KernelCase product_case(const char* kernel, DType dtype, int64_t m, int64_t n, int64_t k) {
  KernelCase test{kernel, "MatMul", {values(dtype, {m, k}), weights(dtype, {k, n})}};
  test.tolerance = tolerance_of(dtype, k);
  return test;
}

// Bytes of any zero point, and weights that use all of theirs. Results are floats, halves or bytes; those of `depth`
// elements are of the size of one.
KernelCase of_bytes(KernelCase test, int64_t columns, int64_t depth) {
  test.op = test.op == "Conv" ? "hussar.QuantizedConv" : "hussar.QuantizedMatMul";
  test.inputs.resize(2);
  test.program.reset();
  test.inputs[0].tensor = random_tensor(DType::kUInt8, test.inputs[0].tensor.shape(), 0, 255);
  test.inputs[0].gap *= 2;  // 16 bytes
  test.inputs[1] = {random_tensor(DType::kInt8, test.inputs[1].tensor.shape(), -128, 127), true};
  const double unit = 1 / (70.0 * 70.0 * std::sqrt(static_cast<double>(depth)));
  test.inputs.push_back({random_tensor(kFloat, {columns}, 100 * unit, 200 * unit), true});
  test.inputs.push_back(pick(0, 1) == 1 ? weights(kFloat, {columns}) : Argument{});
  test.attributes.set("x_scale", 0.01F);
  test.tolerance = 1e-5;
  return test;
}

// Adds a residual, of bytes perhaps, takes the positive part, and gives results of a type.
void finish_bytes(KernelCase& test, const Shape& output) {
  bool adds_halves = false;
  const DType half = pick(0, 1) == 1 ? kHalf : kBFloat;
  if (pick(0, 1) == 1) {
    const bool adds_bytes = pick(0, 1) == 1;
    adds_halves = !adds_bytes && pick(0, 1) == 1;
    add_epilogue(test, output, adds_halves ? half : kFloat);
    if (adds_bytes) {
      test.inputs.back().tensor = random_tensor(DType::kUInt8, output, 0, 255);
      test.attributes.set("operand_scale", 0.02F);
      test.attributes.set("operand_zero_point", pick(0, 255));
    }
  }
  // Who adds halves does not give floats.
  const int64_t type = pick(adds_halves ? 1 : 0, 2);
  if (type == 1) {
    test.attributes.set("y_type", static_cast<int64_t>(half));
    test.tolerance = tolerance_of(half, 0);
  } else if (type == 2) {
    test.attributes.set("y_scale", 0.03F);
    test.attributes.set("y_zero_point", pick(0, 1) * pick(0, 255));
  }
}

KernelCase byte_product_case(const char* kernel, int64_t m, int64_t n, int64_t k) {
  KernelCase test = of_bytes(product_case(kernel, kFloat, m, n, k), n, k);
  test.attributes.set("x_zero_point", pick(0, 255));
  finish_bytes(test, {m, n});
  return test;
}

// Bytes whose zero point is 0 end where a last relu would end them: it is left out, and nothing else changes.
TEST(CudaProduct, ReluOfBytesIsTheirEnd) {
  KernelCase test = of_bytes(product_case("cuda_matmul_simple", kFloat, 40, 72, 64), 72, 64);
  add_epilogue(test, {40, 72}, kFloat);
  test.attributes.set("y_scale", 0.03F);
  int relus[2] = {};
  for (const int64_t zero_point : {0, 2}) {
    test.attributes.set("y_zero_point", zero_point);
    const std::string source = source_of(test, 90), relu = ", 0.0f)";
    for (size_t at = source.find(relu); at != std::string::npos; at = source.find(relu, at + 1))
      ++relus[zero_point / 2];
    expect_kernel_agrees(test);
  }
  EXPECT_EQ(relus[0] + 1, relus[1]);
}

TEST(CudaProduct, SimpleOfBytes) {
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{3, 7, 5}, {70, 65, 130}, {1, 8, 33}, {129, 1, 16}}) {
    for (int turn = 0; turn < 4; ++turn) {
      expect_kernel_agrees(byte_product_case("cuda_matmul_simple", m, n, k));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaProduct, GridOfBytes) {
  for (const char* kernel : {"cuda_product", "cuda_product_hopper"}) {
    if (!can_run(byte_product_case(kernel, 8, 8, 16)))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " runs on";
    for (int64_t m : {1, 77, 515}) {
      for (int64_t n : {8, 72, 1000}) {
        for (int64_t k : {16, 208, 1040}) {
          expect_kernel_agrees(byte_product_case(kernel, m, n, k));
          if (HasFailure()) return;
        }
      }
    }
  }
}

// Two of four weights are zero, some groups have fewer that are not; columns share masks or do not.
KernelCase thinned(KernelCase test) {
  const WeightForm form = test.op.ends_with("Conv") ? WeightForm::kFilter : WeightForm::kMatrix;
  const int64_t width = pick(0, 1) == 1 ? 64 : 1;
  Tensor& weights = test.inputs[1].tensor;
  switch (weights.dtype()) {
    case kHalf:
    case kBFloat: make_sparse(view_weights(weights.data<Half>(), weights.shape(), form), width); break;
    case kFloat: make_sparse(view_weights(weights.data<float>(), weights.shape(), form), width); break;
    default: make_sparse(view_weights(weights.data<int8_t>(), weights.shape(), form), width);
  }
  return test;
}

KernelCase sparse_case(const char* kernel, int64_t m, int64_t n, int64_t k) {
  return thinned(byte_product_case(kernel, m, n, k));
}

KernelCase half_sparse_case(DType dtype, int64_t m, int64_t n, int64_t k) {
  KernelCase test = thinned(product_case("cuda_product_sparse_ampere", dtype, m, n, k));
  if (pick(0, 1) == 1) add_epilogue(test, {m, n}, dtype);
  return test;
}

TEST(CudaProduct, SparseWeightsAreUnpacked) {
  const auto expect_same = [](const Tensor& weights, WeightForm form, const cuda::SparseOrder& order) {
    const Tensor packed = cuda::pack_sparse(weights, form, order);
    const cuda::SparseSizes sizes = cuda::sparse_sizes(weights.shape(), form, order, weights.dtype());
    EXPECT_EQ(packed.bytes(), static_cast<size_t>(sizes.bytes()));
    const Tensor unpacked = cuda::unpack_sparse(packed, weights.shape(), form, order);
    EXPECT_EQ(std::memcmp(unpacked.raw(), weights.raw(), weights.bytes()), 0)
        << weights.shape().to_string() << " by " << order.group;
  };
  for (const auto& [n, k] : {std::pair<int64_t, int64_t>{8, 32}, {72, 96}, {256, 256}, {1000, 1056}}) {
    const Tensor weights = sparse_case("cuda_product_sparse", 1, n, k).inputs[1].tensor;
    for (int64_t group : {64, 128}) expect_same(weights, WeightForm::kMatrix, cuda::hopper_order(group, DType::kInt8));
    expect_same(weights, WeightForm::kMatrix, cuda::ampere_order(DType::kInt8));
    for (DType dtype : {kHalf, kBFloat}) {
      const Tensor halves = half_sparse_case(dtype, 1, n, k).inputs[1].tensor;
      expect_same(halves, WeightForm::kMatrix, cuda::ampere_order(dtype));
      expect_same(thinned(product_case("", dtype, 1, 3, n)).inputs[1].tensor, WeightForm::kMatrix,
                  cuda::ampere_order(dtype));
    }
  }
  for (DType dtype : {kHalf, kBFloat, DType::kInt8}) {
    KernelCase filter{"", "Conv", {{}, {random_tensor(dtype, {40, 16, 3, 3}, -50, 50), true}}};
    expect_same(thinned(filter).inputs[1].tensor, WeightForm::kFilter, cuda::ampere_order(dtype));
  }
}

// What a plan says of its sparse weights is checked before it is a size of anything.
TEST(CudaProduct, StrangeSparseWeights) {
  const cuda::SparseOrder order = cuda::ampere_order(DType::kInt8);
  auto shape_of = [&](const char* op, const Ints& shape, DType dtype, int64_t elements) {
    Operand packed;
    packed.dtype = dtype;
    packed.shape = Shape{elements};
    return cuda::sparse_shape(op, attributes({{"hussar_packed_1", shape}}), packed, order);
  };
  const char *product = "hussar.QuantizedMatMul", *conv = "hussar.QuantizedConv";
  const int64_t bytes = cuda::sparse_sizes(72, 96, order, DType::kInt8).bytes();
  EXPECT_EQ(shape_of(product, {96, 72}, DType::kInt8, bytes), (Shape{96, 72}));
  EXPECT_EQ(shape_of(conv, {72, 32, 3, 1}, DType::kInt8, bytes), (Shape{72, 32, 3, 1}));
  EXPECT_EQ(shape_of(product, {96, 72}, DType::kFloat8E4M3FN, bytes), (Shape{96, 72}));
  EXPECT_FALSE(shape_of(product, {96, 72}, DType::kUInt8, bytes));
  EXPECT_FALSE(shape_of("MatMul", {96, 72}, DType::kFloat8E4M3FN, bytes));
  EXPECT_FALSE(shape_of(product, {96, 72}, DType::kInt8, bytes - 1));
  EXPECT_FALSE(shape_of(product, {96, 72}, DType::kFloat16, bytes / 2));
  EXPECT_FALSE(shape_of("MatMul", {96, 72}, DType::kInt8, bytes));
  EXPECT_FALSE(shape_of(product, {95, 72}, DType::kInt8, bytes));
  constexpr int64_t kMost = std::numeric_limits<int64_t>::max();
  for (const Ints& strange :
       {Ints{}, {96}, {96, 72, 1}, {-96, -72}, {0, 72}, {kMost, kMost}, {int64_t{1} << 32, 1 << 30}})
    EXPECT_FALSE(shape_of(product, strange, DType::kInt8, bytes));
  for (const Ints& strange : {Ints{72, 96}, {kMost, 2, kMost, 2}, {72, 96, 0}, Ints(20, 4)})
    EXPECT_FALSE(shape_of(conv, strange, DType::kInt8, bytes));
}

// A zero of either sign is one.
TEST(CudaProduct, NegativeZerosOfHalves) {
  Tensor weights(kHalf, {4, 8});
  const uint16_t numbers[] = {0x8000, 0x3c00, 0x8000, 0xbc00};
  for (int64_t i = 0; i < 32; ++i) weights.data<uint16_t>()[i] = numbers[i / 8];
  const cuda::SparseOrder order = cuda::ampere_order(kHalf);
  EXPECT_TRUE(is_two_of_four(view_weights<const Half>(weights.data<Half>(), weights.shape(), WeightForm::kMatrix)));
  const Tensor packed = cuda::pack_sparse(weights, WeightForm::kMatrix, order);
  const Tensor unpacked = cuda::unpack_sparse(packed, weights.shape(), WeightForm::kMatrix, order);
  for (int64_t i = 0; i < 32; ++i)
    EXPECT_EQ(unpacked.data<uint16_t>()[i], i / 8 % 2 == 1 ? numbers[i / 8] : 0) << "element " << i;
}

TEST(CudaProduct, SparseOfBytes) {
  if (!can_run(sparse_case("cuda_product_sparse", 8, 8, 32))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  const int64_t sizes[][3] = {{1, 8, 32},       {77, 72, 96},      {128, 256, 256},  {515, 1000, 1056},
                              {300, 128, 2048}, {4096, 1024, 512}, {128, 1024, 4096}};
  for (const auto& [m, n, k] : sizes) {
    expect_kernel_agrees(sparse_case("cuda_product_sparse", m, n, k));
    if (HasFailure()) return;
  }
}

constexpr int64_t kAmpereSizes[][3] = {{1, 8, 16},        {77, 72, 80},     {128, 136, 256},
                                       {515, 1000, 1040}, {300, 128, 2048}, {4096, 1024, 176}};

TEST(CudaProduct, SparseOfBytesOnAmpere) {
  const char* kernel = "cuda_product_sparse_ampere";
  if (!can_run(sparse_case(kernel, 8, 8, 32))) GTEST_SKIP() << "skipped: needs tensor cores";
  for (const auto& [m, n, k] : kAmpereSizes) {
    expect_kernel_agrees(sparse_case(kernel, m, n, k));
    if (HasFailure()) return;
  }
}

TEST(CudaProduct, SparseOfHalvesOnAmpere) {
  if (!can_run(half_sparse_case(kHalf, 8, 8, 8))) GTEST_SKIP() << "skipped: needs tensor cores";
  for (DType dtype : {kHalf, kBFloat}) {
    expect_kernel_agrees(half_sparse_case(dtype, 130, 72, 8));
    for (const auto& [m, n, k] : kAmpereSizes) {
      expect_kernel_agrees(half_sparse_case(dtype, m, n, k));
      if (HasFailure()) return;
    }
  }
}

// As LargeOnHopper.
TEST(CudaProduct, LargeOfBytes) {
  if (!can_run(byte_product_case("cuda_product_hopper", 8, 8, 16))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  const int64_t sizes[][3] = {{4096, 1024, 256}, {2048, 768, 512}, {128, 1024, 4096}, {64, 512, 2048}};
  for (const auto& [m, n, k] : sizes) {
    expect_kernel_agrees(byte_product_case("cuda_product_hopper", m, n, k));
    if (HasFailure()) return;
  }
}

TEST(CudaProduct, GridOfSizes) {
  for (const char* kernel : {"cuda_product", "cuda_product_hopper"}) {
    if (!can_run(product_case(kernel, kHalf, 8, 8, 8)))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " runs on";
    for (int64_t m : {1, 77, 128, 515}) {
      for (int64_t n : {8, 72, 256, 1000}) {
        for (int64_t k : {8, 64, 200, 1032}) {
          for (DType dtype : {kHalf, kBFloat, kFloat}) {
            if (leaves_out(dtype)) continue;
            KernelCase test = product_case(kernel, dtype, m, n, k);
            if (pick(0, 1) == 1) add_epilogue(test, {m, n}, dtype);
            expect_kernel_agrees_in_all(test, 4);
            if (HasFailure()) return;
          }
        }
      }
    }
  }
}

// Every tile of the Hopper kernel: sizes for which its predicted time is the least.
TEST(CudaProduct, LargeOnHopper) {
  if (!can_run(product_case("cuda_product_hopper", kHalf, 8, 8, 8))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  const int64_t sizes[][3] = {{4096, 1024, 256}, {2048, 768, 512}, {128, 1024, 4096}, {64, 512, 2048}, {4000, 192, 64}};
  for (const auto& [m, n, k] : sizes) {
    for (DType dtype : {kHalf, kBFloat, kFloat}) {
      KernelCase test = product_case("cuda_product_hopper", dtype, m, n, k);
      add_epilogue(test, {m, n}, dtype);
      expect_kernel_agrees_in_all(test);
      if (HasFailure()) return;
    }
  }
}

// Tiles of which little is multiplied and to which a shortcut is added, of halves or bytes, with edges of all kinds.
TEST(CudaProduct, Shortcuts) {
  if (!can_run(product_case("cuda_product_hopper", kHalf, 8, 8, 8))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{517, 272, 64}, {1000, 128, 192}}) {
    for (DType dtype : {kHalf, kBFloat}) {
      KernelCase test = product_case("cuda_product_hopper", dtype, m, n, k);
      add_epilogue(test, {m, n}, dtype);
      test.inputs.back().gap = 8;
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaProduct, ShortcutsOfBytes) {
  if (!can_run(product_case("cuda_product_hopper", kHalf, 8, 8, 8))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const auto& [m, n, k] : {std::array<int64_t, 3>{517, 272, 64}, {1000, 128, 192}}) {
    KernelCase test = of_bytes(product_case("cuda_product_hopper", kFloat, m, n, k), n, k);
    add_epilogue(test, {m, n}, kFloat);
    test.inputs.back().tensor = random_tensor(DType::kUInt8, {m, n}, 0, 255);
    test.inputs.back().gap = 16;
    test.attributes.set("operand_scale", 0.02F);
    test.attributes.set("operand_zero_point", pick(0, 255));
    test.attributes.set("y_scale", 0.03F);
    test.attributes.set("y_zero_point", pick(0, 255));
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaProduct, Simple) {
  const std::pair<Shape, Shape> shapes[] = {{{3, 5}, {5, 7}}, {{2, 3, 5}, {5, 4}}, {{2, 1, 3, 5}, {3, 5, 4}},
                                            {{5}, {5, 2}},    {{3, 5}, {5}},       {{2, 0}, {0, 3}}};
  for (const auto& [a, b] : shapes) {
    for (DType dtype : {kFloat, kHalf, kBFloat}) {
      KernelCase test{"cuda_matmul_simple", "MatMul", {values(dtype, a), values(dtype, b)}};
      test.tolerance = tolerance_of(dtype, 8);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

struct ConvShape {
  int64_t batch, channels, height, width, filters, kernel, stride, pad, dilation = 1, groups = 1;
};

KernelCase conv_case(const char* kernel, DType dtype, const ConvShape& s) {
  KernelCase test{kernel,
                  "Conv",
                  {values(dtype, {s.batch, s.channels, s.height, s.width}),
                   weights(dtype, {s.filters, s.channels / s.groups, s.kernel, s.kernel})}};
  test.attributes = attributes({{"strides", Ints{s.stride, s.stride}},
                                {"pads", Ints{s.pad, s.pad, s.pad, s.pad}},
                                {"dilations", Ints{s.dilation, s.dilation}},
                                {"group", s.groups}});
  if (pick(0, 1) == 1) test.inputs.push_back(weights(dtype, {s.filters}));
  test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
  test.inputs[0].gap = 8 * pick(0, 1);
  test.tolerance = tolerance_of(dtype, s.channels / s.groups * s.kernel * s.kernel);
  if (pick(0, 1) == 1) {
    const int64_t reach = (s.kernel - 1) * s.dilation + 1;
    add_epilogue(test,
                 {s.batch, s.filters, (s.height + 2 * s.pad - reach) / s.stride + 1,
                  (s.width + 2 * s.pad - reach) / s.stride + 1},
                 dtype);
  }
  return test;
}

constexpr ConvShape kConvolutions[] = {
    {2, 16, 9, 9, 24, 3, 1, 1},      {1, 64, 14, 17, 64, 3, 1, 1},  {3, 128, 7, 7, 512, 3, 1, 1},
    {2, 64, 15, 13, 128, 3, 2, 1},   {2, 256, 14, 14, 64, 1, 2, 0}, {1, 72, 20, 11, 40, 5, 1, 2},
    {1, 32, 19, 23, 64, 3, 1, 2, 2}, {2, 8, 12, 12, 8, 3, 1, 0},    {8, 64, 28, 28, 256, 3, 1, 1},
    {1, 512, 7, 7, 512, 3, 1, 1},    {5, 96, 10, 10, 96, 7, 3, 3}};

TEST(CudaConv, GridOfWindows) {
  for (const char* kernel : {"cuda_conv", "cuda_conv_hopper"}) {
    if (!can_run(conv_case(kernel, kHalf, kConvolutions[0])))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " runs on";
    for (const ConvShape& shape : kConvolutions) {
      for (DType dtype : {kHalf, kBFloat, kFloat}) {
        if (leaves_out(dtype)) continue;
        expect_kernel_agrees_in_all(conv_case(kernel, dtype, shape), 2);
        if (HasFailure()) return;
      }
    }
  }
}

KernelCase byte_conv_case(const char* kernel, const ConvShape& shape) {
  KernelCase test = of_bytes(conv_case(kernel, kFloat, shape), shape.filters,
                             shape.channels / shape.groups * shape.kernel * shape.kernel);
  const bool is_tensor =
      cuda::is_one_of(kernel, {"cuda_conv", "cuda_conv_hopper", "cuda_conv_patch", "cuda_conv_sparse_ampere"});
  const bool pads = shape.pad > 0 && is_tensor;
  test.attributes.set("x_zero_point", pads ? 0 : pick(0, 255));
  const int64_t reach = (shape.kernel - 1) * shape.dilation + 1;
  finish_bytes(test, {shape.batch, shape.filters, (shape.height + 2 * shape.pad - reach) / shape.stride + 1,
                      (shape.width + 2 * shape.pad - reach) / shape.stride + 1});
  return test;
}

TEST(CudaConv, GridOfBytes) {
  for (const char* kernel : {"cuda_conv", "cuda_conv_hopper"}) {
    if (!can_run(byte_conv_case(kernel, kConvolutions[0])))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " runs on";
    for (const ConvShape& shape : kConvolutions) {
      if (shape.channels % 16 != 0) continue;
      expect_kernel_agrees(byte_conv_case(kernel, shape));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaConv, SparseOnAmpere) {
  const char* kernel = "cuda_conv_sparse_ampere";
  if (!can_run(thinned(byte_conv_case(kernel, kConvolutions[0])))) GTEST_SKIP() << "skipped: needs tensor cores";
  for (const ConvShape& shape : kConvolutions) {
    const bool has_bytes = shape.channels % 16 == 0 && pick(0, 1) == 1;
    const DType half = pick(0, 1) == 1 ? kHalf : kBFloat;
    expect_kernel_agrees(thinned(has_bytes ? byte_conv_case(kernel, shape) : conv_case(kernel, half, shape)));
    if (HasFailure()) return;
  }
}

// A convolution that is a product.
TEST(CudaConv, SparsePointwiseOnAmpere) {
  const char* kernel = "cuda_product_sparse_ampere";
  constexpr ConvShape kPointwise{2, 64, 14, 14, 96, 1, 1, 0};
  if (!can_run(thinned(byte_conv_case(kernel, kPointwise)))) GTEST_SKIP() << "skipped: needs tensor cores";
  expect_kernel_agrees(thinned(byte_conv_case(kernel, kPointwise)));
  for (DType dtype : {kHalf, kBFloat}) expect_kernel_agrees(thinned(conv_case(kernel, dtype, kPointwise)));
}

// Everything that device/product_ampere.cuh has for tensor cores, also where there are none: the emulated device knows
// its instructions. Tiles of all sizes, their edges, and the end of k.
TEST(CudaConv, WarpProducts) {
  constexpr ConvShape kWindows{1, 32, 9, 7, 40, 3, 2, 1}, kFew{3, 16, 5, 5, 8, 3, 1, 1};
  constexpr ConvShape kPointwise{2, 64, 9, 9, 72, 1, 1, 0};
  const char *sparse = "cuda_product_sparse_ampere", *sparse_conv = "cuda_conv_sparse_ampere";
  std::vector<KernelCase> cases = {product_case("cuda_product", kHalf, 70, 72, 200),
                                   in_tf32(product_case("cuda_product", kFloat, 70, 72, 100)),
                                   byte_product_case("cuda_product", 70, 72, 208),
                                   conv_case("cuda_conv", kHalf, kWindows),
                                   byte_conv_case("cuda_conv", kWindows),
                                   product_case("cuda_product", kBFloat, 70, 72, 200),
                                   conv_case("cuda_conv", kBFloat, kWindows),
                                   half_sparse_case(kHalf, 70, 72, 200),
                                   half_sparse_case(kHalf, 260, 136, 64),
                                   half_sparse_case(kBFloat, 130, 72, 200),
                                   thinned(conv_case(sparse_conv, kBFloat, kWindows)),
                                   sparse_case(sparse, 70, 72, 272),
                                   sparse_case(sparse, 260, 136, 128),
                                   thinned(byte_conv_case(sparse, kPointwise)),
                                   thinned(conv_case(sparse_conv, kHalf, kWindows)),
                                   thinned(byte_conv_case(sparse_conv, kWindows)),
                                   thinned(byte_conv_case(sparse_conv, kFew))};
  cases.push_back(sparse_case(sparse, 200, 72, 80));
  cases.back().needed_rows = 70, cases.back().all_rows = 200;
  for (KernelCase& test : cases) {
    test.emulated_sm = 80;
    if (!can_run(test)) GTEST_SKIP() << "skipped: needs tensor cores";
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

// Pictures of one tile and of many, and their edges; every number of chunks of a pixel that shares banks in another
// way.
constexpr ConvShape kOfPatches[] = {
    {1, 16, 33, 35, 16, 3, 1, 1}, {2, 32, 19, 17, 56, 3, 2, 1}, {3, 64, 9, 40, 40, 3, 1, 0}, {1, 96, 6, 5, 8, 1, 1, 0},
    {1, 32, 11, 50, 24, 5, 2, 2}, {5, 160, 4, 4, 40, 1, 2, 0},  {1, 32, 40, 18, 24, 2, 1, 1}};

TEST(CudaConv, Patches) {
  const char* kernel = "cuda_conv_patch";
  for (const ConvShape& shape : kOfPatches) {
    std::vector<KernelCase> cases = {conv_case(kernel, kHalf, shape), conv_case(kernel, kBFloat, shape)};
    const bool fits_floats = (shape.filters + 31) / 32 * shape.kernel * shape.kernel * shape.channels <= 300;
    if (fits_floats) cases.push_back(in_tf32(conv_case(kernel, kFloat, shape)));
    if (shape.channels % 32 == 0) cases.push_back(byte_conv_case(kernel, shape));
    for (KernelCase& test : cases) {
      test.emulated_sm = 80;
      if (!can_run(test)) GTEST_SKIP() << "skipped: needs tensor cores";
      expect_kernel_agrees_in_all(test);
      if (HasFailure()) return;
    }
  }
}

// Where a tap, or k, has 64 bytes at most.
TEST(CudaConv, NarrowRows) {
  const char* kernel = "cuda_conv_hopper";
  constexpr ConvShape kOfBytes{3, 64, 14, 17, 64, 3, 1, 1}, kOfHalves{1, 32, 19, 23, 72, 3, 1, 2, 2};
  if (!can_run(byte_conv_case(kernel, kOfBytes))) GTEST_SKIP() << "skipped: needs a Hopper GPU";
  expect_kernel_agrees(byte_conv_case(kernel, kOfBytes));
  for (DType dtype : {kHalf, kBFloat}) expect_kernel_agrees(conv_case(kernel, dtype, kOfHalves));
  expect_kernel_agrees(byte_product_case("cuda_product_hopper", 300, 264, 64));
}

KernelCase first_conv_case(std::string_view kernel, DType dtype, const ConvShape& shape) {
  KernelCase test = conv_case(kernel.data(), dtype, shape);
  if (kernel != "cuda_conv_columns") {
    if (pick(0, 1) == 1) test.inputs[0].layout = Layout::kPlain, test.inputs[0].gap = 0;
    // A picture of floats, for filters of halves.
    if (dtype != kFloat && pick(0, 1) == 1) test.inputs[0].tensor = converted(test.inputs[0].tensor, kFloat);
  }
  if (pick(0, 2) > 0) {
    test.op = "hussar.ConvToBytes";
    test.attributes.set("y_scale", 0.03F);
    test.attributes.set("y_zero_point", pick(0, 255));
  }
  return test;
}

// First convolutions from patches of the picture.
TEST(CudaConv, Pictures) {
  constexpr ConvShape kShapes[] = {{2, 3, 33, 31, 64, 7, 2, 3},
                                   {1, 1, 12, 12, 8, 3, 1, 1},
                                   {3, 3, 20, 37, 16, 3, 2, 0},
                                   {2, 4, 18, 16, 24, 5, 3, 2},
                                   {1, 3, 41, 40, 40, 3, 2, 1}};
  for (const ConvShape& shape : kShapes) {
    for (DType dtype : {kHalf, kBFloat, kFloat}) {
      KernelCase test = first_conv_case("cuda_conv_picture", dtype, shape);
      if (dtype == kFloat) test = in_tf32(std::move(test));
      test.emulated_sm = 80;
      if (!can_run(test)) GTEST_SKIP() << "skipped: needs tensor cores";
      expect_kernel_agrees_in_all(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaConv, FewChannels) {
  constexpr ConvShape kShapes[] = {{2, 3, 33, 31, 64, 7, 2, 3},  {1, 1, 12, 12, 8, 3, 1, 1},
                                   {3, 3, 20, 20, 16, 3, 2, 0},  {2, 4, 18, 16, 24, 5, 3, 2},
                                   {1, 3, 21, 40, 96, 16, 4, 0}, {1, 8, 30, 11, 72, 11, 1, 5}};
  for (const char* kernel : {"cuda_conv_columns", "cuda_conv_lines"}) {
    if (!can_run(conv_case(kernel, kHalf, kShapes[0])))
      GTEST_SKIP() << "skipped: needs a GPU that " << kernel << " runs on";
    for (const ConvShape& shape : kShapes) {
      for (DType dtype : {kHalf, kBFloat, kFloat}) {
        expect_kernel_agrees_in_all(first_conv_case(kernel, dtype, shape));
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CudaConv, Simple) {
  for (const ConvShape& shape : {ConvShape{2, 3, 9, 7, 5, 3, 1, 1}, ConvShape{1, 6, 9, 9, 6, 3, 2, 1, 1, 6},
                                 ConvShape{1, 4, 8, 8, 6, 3, 1, 2, 2, 2}}) {
    for (DType dtype : {kFloat, kHalf, kBFloat}) {
      expect_kernel_agrees(conv_case("cuda_conv_simple", dtype, shape));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaConv, SimpleOfBytes) {
  for (const ConvShape& shape : {ConvShape{2, 3, 9, 7, 5, 3, 1, 1}, ConvShape{1, 6, 9, 9, 6, 3, 2, 1, 1, 6},
                                 ConvShape{1, 4, 8, 8, 6, 3, 1, 2, 2, 2}}) {
    for (int turn = 0; turn < 4; ++turn) {
      expect_kernel_agrees(byte_conv_case("cuda_conv_simple", shape));
      if (HasFailure()) return;
    }
  }
}

// Against the places that attributes name and those that follow from a wanted size.
TEST(CudaConv, Transposed) {
  const Attributes forms[] = {
      attributes({{"strides", Ints{2, 2}}}),
      attributes({{"strides", Ints{2, 3}}, {"pads", Ints{1, 0, 0, 2}}, {"output_padding", Ints{1, 2}}}),
      attributes({{"strides", Ints{2, 2}}, {"dilations", Ints{1, 2}}, {"output_shape", Ints{12, 15}}}),
      attributes({{"strides", Ints{3, 2}}, {"auto_pad", std::string("SAME_LOWER")}}),
      attributes({{"group", int64_t{2}}}),
  };
  for (const Attributes& form : forms) {
    for (DType dtype : {kFloat, kHalf, kBFloat}) {
      const int64_t groups = form.get_int("group", 1);
      KernelCase test{
          "cuda_conv_simple", "ConvTranspose", {values(dtype, {2, 4, 6, 7}), weights(dtype, {4, 6 / groups, 3, 3})}};
      test.attributes = form;
      test.inputs[0].layout = test.output_layout = Layout::kChannelsLast;
      if (pick(0, 1) == 1) test.inputs.push_back(weights(dtype, {6}));
      test.tolerance = tolerance_of(dtype, 36);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(CudaConv, Depthwise) {
  const ConvShape shapes[] = {{2, 16, 9, 7, 16, 3, 1, 1, 1, 16}, {1, 24, 12, 13, 24, 5, 2, 2, 1, 24},
                              {1, 6, 9, 9, 6, 3, 1, 2, 2, 6},    {3, 40, 1, 20, 40, 1, 1, 0, 1, 40},
                              {1, 8, 11, 10, 8, 7, 3, 0, 1, 8},  {1, 5, 4, 4, 5, 3, 1, 1, 1, 5}};
  for (const ConvShape& shape : shapes) {
    for (DType dtype : {kFloat, kHalf, kBFloat}) {
      expect_kernel_agrees(conv_case("cuda_conv_depthwise", dtype, shape));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaConv, DepthwiseOfBytes) {
  for (const ConvShape& shape : {ConvShape{2, 16, 9, 7, 16, 3, 1, 1, 1, 16},
                                 {1, 24, 12, 13, 24, 5, 2, 2, 1, 24},
                                 ConvShape{1, 6, 9, 9, 6, 3, 1, 2, 2, 6}}) {
    for (int turn = 0; turn < 4; ++turn) {
      expect_kernel_agrees(byte_conv_case("cuda_conv_depthwise", shape));
      if (HasFailure()) return;
    }
  }
}

struct AttentionShape {
  int64_t batch, heads, kv_heads, head, queries, keys;
  Ints mask;  // empty: none
  bool causal = false;
};

KernelCase attention_case(const char* kernel, DType dtype, const AttentionShape& s) {
  const int64_t width = s.heads * s.head, kv_width = s.kv_heads * s.head;
  KernelCase test{kernel,
                  "hussar.Attention",
                  {values(dtype, {s.batch, s.queries, width}), values(dtype, {s.batch, s.keys, kv_width}),
                   values(dtype, {s.batch, s.keys, kv_width})}};
  if (!s.mask.empty()) test.inputs.push_back(values(dtype, Shape(s.mask)));
  test.attributes = attributes(
      {{"heads", s.heads}, {"kv_heads", s.kv_heads}, {"head_dim", s.head}, {"causal", static_cast<int64_t>(s.causal)}});
  if (std::string_view(kernel).ends_with("tensor") && dtype != kFloat) test.emulated_sm = 80;
  // Weights of values are rounded, too.
  test.tolerance = dtype == kHalf ? 3e-3 : dtype == kBFloat ? 2.4e-2 : 1e-5;
  if (pick(0, 1) == 1) {
    test.attributes.set("y_scale", 0.01F);
    test.attributes.set("y_zero_point", pick(100, 156));
  }
  return test;
}

const AttentionShape kAttentions[] = {
    {2, 3, 3, 64, 128, 128, {}},
    {1, 4, 2, 32, 77, 77, {}, true},
    {2, 2, 1, 128, 33, 190, {2, 1, 1, 190}},
    {1, 2, 2, 64, 100, 65, {1, 2, 100, 65}},
    {1, 16, 16, 64, 384, 384, {1, 1, 1, 384}},
    {3, 1, 1, 64, 1, 17, {}},
    {1, 2, 2, 32, 64, 64, {64, 64}},
    {12, 12, 12, 64, 70, 70, {12, 1, 1, 70}},
    {9, 16, 4, 128, 65, 200, {}, true},
};

TEST(CudaAttention, Halves) {
  if (!can_run(attention_case("cuda_attention_tensor", kHalf, kAttentions[0])))
    GTEST_SKIP() << "skipped: needs tensor cores";
  for (const AttentionShape& shape : kAttentions) {
    // The larger ones take an emulated GPU minutes.
    const bool is_large = shape.batch * shape.heads * shape.queries * shape.keys > 50000;
    if (is_large && tests::is_emulated(tests::use_test_device())) continue;
    for (DType dtype : {kHalf, kBFloat}) {
      expect_kernel_agrees(attention_case("cuda_attention_tensor", dtype, shape));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaAttention, Tf32) {
  if (!can_run(in_tf32(attention_case("cuda_attention_tensor", kFloat, kAttentions[0]))))
    GTEST_SKIP() << "skipped: needs tensor cores";
  for (const AttentionShape& shape : kAttentions) {
    KernelCase test = in_tf32(attention_case("cuda_attention_tensor", kFloat, shape));
    test.tolerance = 3e-3;  // weights are rounded
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaAttention, Tiles) {
  for (const AttentionShape& shape : {AttentionShape{2, 2, 1, 8, 9, 12, {2, 1, 1, 12}},
                                      {1, 2, 2, 5, 7, 7, {}, true},
                                      {1, 2, 1, 64, 100, 65, {1, 2, 100, 65}},
                                      {1, 1, 1, 128, 70, 40, {70, 40}},
                                      {2, 1, 1, 32, 130, 130, {}, true},
                                      {1, 1, 1, 17, 3, 70, {}},
                                      {1, 1, 1, 64, 80, 200, {}, true}}) {
    for (DType dtype : {kFloat, kHalf, kBFloat}) {
      expect_kernel_agrees(attention_case("cuda_attention_tiles", dtype, shape));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaAttention, Simple) {
  for (const AttentionShape& shape : {AttentionShape{2, 2, 1, 8, 9, 12, {2, 1, 1, 12}}, {1, 2, 2, 5, 7, 7, {}, true}}) {
    for (DType dtype : {kFloat, kHalf, kBFloat}) {
      expect_kernel_agrees(attention_case("cuda_attention_simple", dtype, shape));
      if (HasFailure()) return;
    }
  }
}

}  // namespace
}  // namespace hussar
