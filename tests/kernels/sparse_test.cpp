// Kernels for weights that are 2:4 with shared masks: the bits of the dense ones, on every level; and the packed forms.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/kernels/tile/sparse_product.h"
#include "backends/cpu/sparse_weights.h"
#include "tactics/tactic.h"
#include "tests/kernels/int8_case.h"
#include "tests/kernels/sparse_case.h"

namespace hussar {
namespace {

using namespace cpu;

template <class Number>
ChangeWeights sparse_filter(int64_t width) {
  return [width](Tensor& filter) {
    make_sparse(view_weights(filter.data<Number>(), filter.shape(), WeightForm::kFilter), width);
  };
}
ChangeWeights sparse_matrix(int64_t width) {
  return [width](Tensor& b) { make_sparse(view_weights(b.data<int8_t>(), b.shape(), WeightForm::kMatrix), width); };
}

int64_t random_width() { return int64_t{16} << pick(0, 3); }

TEST(Sparse, PackedWeightsComeBack) {
  for (int i = 0; i < 60; ++i) {
    const int64_t channels = 4 * pick(1, 40), taps = pick(1, 9), filters = pick(1, 200), width = random_width();
    const Shape shape = {filters, channels, taps};
    std::vector<float> numbers = random_floats(static_cast<size_t>(channels * taps * filters));
    const auto view = view_weights(numbers.data(), shape, WeightForm::kFilter);
    make_sparse(view, width);
    const auto constant = view_weights<const float>(numbers.data(), shape, WeightForm::kFilter);
    const SharedMask mask = find_shared_mask(constant);
    ASSERT_GE(mask.panels * 16, width);
    std::vector<float> packed(static_cast<size_t>(float_sparse_floats(view.k, filters, mask.panels)));
    pack_float_sparse(constant, mask, packed.data());
    std::vector<float> back(numbers.size());
    unpack_float_sparse(packed.data(), mask.panels, view_weights(back.data(), shape, WeightForm::kFilter));
    ASSERT_EQ(back, numbers);

    std::vector<int8_t> bytes(numbers.size());
    std::transform(numbers.begin(), numbers.end(), bytes.begin(),
                   [](float x) { return static_cast<int8_t>(std::lround(x * 127)); });
    const auto byte_view = view_weights<const int8_t>(bytes.data(), shape, WeightForm::kFilter);
    const SharedMask byte_mask = find_shared_mask(byte_view);
    ASSERT_GE(byte_mask.panels, mask.panels);
    std::vector<int8_t> packed_bytes(static_cast<size_t>(int8_sparse_bytes(view.k, filters, byte_mask.panels)));
    pack_int8_sparse(byte_view, byte_mask, packed_bytes.data());
    std::vector<int8_t> bytes_back(bytes.size());
    unpack_int8_sparse(packed_bytes.data(), byte_mask.panels,
                       view_weights(bytes_back.data(), shape, WeightForm::kFilter));
    ASSERT_EQ(bytes_back, bytes);
  }
}

TEST(Sparse, MasksThatAreNotShared) {
  std::vector<float> numbers = random_floats(128 * 16);
  make_sparse(view_weights(numbers.data(), {16, 128}, WeightForm::kMatrix), 32);
  const auto view = view_weights<const float>(numbers.data(), {16, 128}, WeightForm::kMatrix);
  const int64_t panels = find_shared_mask(view).panels;
  EXPECT_GE(panels, 2);
  // A column of its own mind in the first panel.
  for (int k = 0; k < 3; ++k) numbers[static_cast<size_t>(k * 128 + 5)] = 1;
  EXPECT_EQ(find_shared_mask(view).panels, 0);
}

TEST(Sparse, Int8Convolutions) {
  for (int i = 0; i < 120; ++i) {
    const int64_t channels = 4 * pick(1, 40), filters = pick(1, 200), kernel_y = pick(1, 3), kernel_x = pick(1, 4);
    const int64_t height = pick(kernel_y, 14), width = pick(kernel_x, 14), pad = pick(0, 2);
    expect_int8_conv("conv_int8_sparse", {pick(1, 2), channels, height, width}, {filters, channels, kernel_y, kernel_x},
                     attributes({{"strides", Ints{pick(1, 2), pick(1, 2)}}, {"pads", Ints{pad, pick(0, 2), pad, 1}}}),
                     pick(0, 1) * 3, sparse_filter<int8_t>(random_width()));
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Sparse, Int8Products) {
  for (int64_t rows = 1; rows <= 36; ++rows) {
    for (int64_t k : {64, 68, 128, 132, 192, 196, 256}) {
      expect_int8_matmul("matmul_int8_sparse", rows, k, pick(1, 200), sparse_matrix(random_width()));
      if (testing::Test::HasFatalFailure()) return;
    }
  }
  for (int i = 0; i < 40; ++i) {
    expect_int8_matmul("matmul_int8_sparse", pick(1, 70), 4 * pick(1, 700), pick(1, 200), sparse_matrix(64));
    if (testing::Test::HasFatalFailure()) return;
  }
}

TEST(Sparse, DenseWeightsAreRefused) {
  KernelCase test = product_case("matmul_int8_sparse", "hussar.QuantizedMatMul",
                                 random_bytes({3, 64}, Layout::kPlain, 0), {64, 64}, 64, 64);
  EXPECT_EQ(refusal_of(test), kNotTwoOfFour);
  make_sparse(view_weights(test.inputs[1].tensor.data<int8_t>(), {64, 64}, WeightForm::kMatrix), 64);
  EXPECT_EQ(refusal_of(test), std::nullopt);
  // A mask for every column.
  test = product_case("matmul_int8_sparse", "hussar.QuantizedMatMul", random_bytes({3, 64}, Layout::kPlain, 0),
                      {64, 64}, 64, 64);
  make_sparse(view_weights(test.inputs[1].tensor.data<int8_t>(), {64, 64}, WeightForm::kMatrix), 1);
  EXPECT_EQ(refusal_of(test), "weights are 2:4, but no 16 output channels share masks");
}

// ---- FP32 ----------------------------------------------------------------------------------------------------------

struct Outputs {
  std::vector<float> dense, sparse;
};

// Both kernels on one level, over random activations and weights of `width`.
Outputs run_both(Isa isa, ConvArgs conv, int64_t width, int shares) {
  const int64_t taps = conv.kernel[0] * conv.kernel[1] * conv.kernel[2], k = taps * conv.channels;
  const int64_t in_pixels = conv.batch * conv.in[1] * conv.in[2], out_pixels = conv.batch * conv.out[1] * conv.out[2];
  conv.input_pitch = conv.channels + pick(0, 1) * 3;
  conv.output_pitch = conv.filters + pick(0, 1) * 5;
  std::vector<float> filter = random_floats(static_cast<size_t>(conv.filters * k));
  const Shape shape = {conv.filters, conv.channels, taps};
  make_sparse(view_weights(filter.data(), shape, WeightForm::kFilter), width);
  const auto view = view_weights<const float>(filter.data(), shape, WeightForm::kFilter);
  const SharedMask mask = find_shared_mask(view);
  std::vector<float> dense(static_cast<size_t>(panel_floats(k, conv.filters)));
  pack_conv_filter(filter.data(), 1, conv.filters, conv.channels, taps, dense.data());
  std::vector<float> sparse(static_cast<size_t>(float_sparse_floats(k, conv.filters, mask.panels)));
  pack_float_sparse(view, mask, sparse.data());
  const std::vector<float> input = random_floats(static_cast<size_t>(in_pixels * conv.input_pitch));
  const std::vector<float> bias = random_floats(static_cast<size_t>(conv.filters));
  const std::vector<float> residual = random_floats(static_cast<size_t>(out_pixels * conv.output_pitch));
  conv.input = input.data();
  if (pick(0, 1) == 1) conv.epilogue.bias = bias.data();
  if (pick(0, 1) == 1) conv.epilogue.residual = residual.data();
  conv.epilogue.residual_pitch = conv.output_pitch;
  if (pick(0, 1) == 1) conv.epilogue.low = 0;
  Outputs outputs;
  outputs.dense.assign(residual.size(), 7);
  outputs.sparse = outputs.dense;
  std::vector<float> memory(static_cast<size_t>(tile_scratch_bytes(k) / 4 + 32), NAN);
  auto* const scratch = reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory.data()) + 63) / 64 * 64);
  for (int share = 0; share < shares; ++share) {
    conv.filter = dense.data();
    conv.output = outputs.dense.data();
    select_tile_table(isa).conv(conv, {share, shares}, scratch);
    conv.filter = sparse.data();
    conv.output = outputs.sparse.data();
    std::fill(memory.begin(), memory.end(), NAN);
    select_sparse_table(isa).conv({conv, mask.panels}, {share, shares}, scratch);
  }
  return outputs;
}

TEST(Sparse, FloatProductsHaveTheBitsOfDenseOnes) {
  for (Isa isa : available_levels()) {
    for (int i = 0; i < 80; ++i) {
      ConvArgs conv;
      conv.channels = 4 * pick(1, 40);
      conv.filters = pick(1, 200);
      const bool is_matrix = pick(0, 1) == 1;
      for (int axis : {1, 2}) {
        conv.kernel[axis] = is_matrix ? 1 : pick(1, 3);
        conv.in[axis] = is_matrix && axis == 1 ? 1 : pick(conv.kernel[axis], 12);
        conv.stride[axis] = is_matrix ? 1 : pick(1, 2);
        conv.out[axis] = (conv.in[axis] - conv.kernel[axis]) / conv.stride[axis] + 1;
      }
      conv.batch = pick(1, 2);
      const Outputs outputs = run_both(isa, conv, random_width(), static_cast<int>(pick(1, 5)));
      ASSERT_EQ(0, std::memcmp(outputs.dense.data(), outputs.sparse.data(), outputs.dense.size() * sizeof(float)))
          << isa_name(isa);
    }
  }
}

TEST(Sparse, FloatKernelsAgreeWithTheReference) {
  for (int i = 0; i < 40; ++i) {
    const int64_t channels = 4 * pick(1, 20), filters = pick(1, 130);
    KernelCase test{.kernel = "conv_sparse", .op = "Conv", .inputs = {}};
    test.inputs.push_back({random_tensor(DType::kFloat32, {1, channels, 7, 9}), false, Layout::kChannelsLast});
    test.inputs.push_back({random_tensor(DType::kFloat32, {filters, channels, 3, 3}), true});
    sparse_filter<float>(random_width())(test.inputs[1].tensor);
    test.attributes.set("pads", Ints{1, 1, 1, 1});
    test.output_layout = Layout::kChannelsLast;
    test.tolerance = 1e-4;
    expect_kernel_agrees(test);

    const bool transposed = pick(0, 1) == 1;
    const int64_t k = channels * 2;
    KernelCase product{
        .kernel = "matmul_sparse", .op = transposed ? "com.microsoft.FusedMatMul" : "MatMul", .inputs = {}};
    product.inputs.push_back({random_tensor(DType::kFloat32, {pick(1, 3), pick(1, 20), k})});
    product.inputs.push_back(
        {random_tensor(DType::kFloat32, transposed ? Shape{filters, k} : Shape{k, filters}), true});
    Tensor& b = product.inputs[1].tensor;
    make_sparse(view_weights(b.data<float>(), b.shape(), transposed ? WeightForm::kTransposed : WeightForm::kMatrix),
                random_width());
    if (transposed) product.attributes.set("transB", int64_t{1});
    product.tolerance = 1e-4;
    expect_kernel_agrees(product);
    if (testing::Test::HasFatalFailure()) return;
  }
}

}  // namespace
}  // namespace hussar
