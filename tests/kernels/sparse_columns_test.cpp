// Kernels of few rows for weights that are 2:4 with a mask in every column: the bits of the dense ones, on every level;
// and the packed forms.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "backends/cpu/column_steps.h"
#include "backends/cpu/column_weights.h"
#include "backends/cpu/kernels/tile/sparse_columns.h"
#include "tests/kernels/int8_case.h"
#include "tests/kernels/sparse_case.h"

namespace hussar {
namespace {

using namespace cpu;

Shape matrix_shape(WeightForm form, int64_t k, int64_t n) {
  return form == WeightForm::kTransposed ? Shape{n, k} : Shape{k, n};
}

TEST(SparseColumns, PackedWeightsComeBack) {
  for (int i = 0; i < 60; ++i) {
    const int64_t k = 4 * pick(1, 60), n = pick(1, 70), width = pick(1, 3);
    const WeightForm form = pick(0, 1) == 1 ? WeightForm::kTransposed : WeightForm::kMatrix;
    const Shape shape = matrix_shape(form, k, n);
    std::vector<float> numbers = random_floats(static_cast<size_t>(k * n));
    make_sparse(view_weights(numbers.data(), shape, form), width);
    std::vector<float> packed(static_cast<size_t>(float_column_floats(k, n)), NAN);
    pack_columns(view_weights<const float>(numbers.data(), shape, form), packed.data());
    std::vector<float> back(numbers.size());
    unpack_columns(packed.data(), view_weights(back.data(), shape, form));
    ASSERT_EQ(back, numbers);

    std::vector<int8_t> bytes(numbers.size());
    std::transform(numbers.begin(), numbers.end(), bytes.begin(),
                   [](float x) { return static_cast<int8_t>(std::lround(x * 127)); });
    std::vector<int8_t> packed_bytes(static_cast<size_t>(int8_column_bytes(k, n)), 77);
    pack_columns(view_weights<const int8_t>(bytes.data(), shape, form), packed_bytes.data());
    std::vector<int8_t> bytes_back(bytes.size());
    unpack_columns(packed_bytes.data(), view_weights(bytes_back.data(), shape, form));
    ASSERT_EQ(bytes_back, bytes);
  }
}

TEST(SparseColumns, FormsTakeWhatTheyPromise) {
  // FP32: 17 of 32 bits; INT8: 5 of 8, and the sums.
  EXPECT_EQ(float_column_floats(4096, 4096) * 32, int64_t{4096} * 4096 * 17);
  EXPECT_EQ(int8_column_bytes(4096, 4096) * 8, int64_t{4096} * (4096 * 5 + 32));
}

TEST(SparseColumns, WeightsOfAnotherSizeAreRefused) {
  Graph graph;
  Tensor weights = random_tensor(DType::kFloat32, {64, 48});
  make_sparse(view_weights(weights.data<float>(), weights.shape(), WeightForm::kMatrix), 1);
  Node* node = graph.add_node("MatMul", "n", {graph.add_value("x"), graph.add_constant("w", weights)},
                              {graph.add_value("y", DType::kFloat32, Dims{1, 48})});
  Packing packing(graph, *node, {});
  ASSERT_TRUE(pack_sparse_columns(packing));
  constexpr int64_t kHuge = int64_t{1} << 62;
  for (auto [k, n] : {std::pair{int64_t{64}, int64_t{49}}, {60, 48}, {66, 48}, {kHuge, 4}, {4, kHuge}, {-64, -48}}) {
    node->attributes.set("hussar_k", k);
    node->attributes.set("hussar_n", n);
    EXPECT_FALSE(unpack_sparse_columns(packing)) << k << " x " << n;
  }
  node->attributes.set("hussar_k", int64_t{64});
  node->attributes.set("hussar_n", int64_t{48});
  ASSERT_TRUE(unpack_sparse_columns(packing));
  EXPECT_EQ(std::memcmp(node->inputs[1]->constant->raw(), weights.raw(), weights.bytes()), 0);
}

// ---- FP32 ----------------------------------------------------------------------------------------------------------

struct Outputs {
  std::vector<float> dense, sparse;
};

// Both kernels on one level, over random activations and weights.
Outputs run_both(Isa isa, int64_t rows, int64_t k, int64_t n, int shares) {
  ConvArgs conv;
  conv.channels = k;
  conv.filters = n;
  conv.in[2] = conv.out[2] = rows;
  conv.input_pitch = k + pick(0, 1) * 3;
  conv.output_pitch = n + pick(0, 1) * 5;
  std::vector<float> weights = random_floats(static_cast<size_t>(k * n));
  make_sparse(view_weights(weights.data(), {k, n}, WeightForm::kMatrix), 1);
  std::vector<float> dense(static_cast<size_t>(panel_floats(k, n)));
  pack_panels(weights.data(), k, n, n, 1, dense.data());
  std::vector<float> sparse(static_cast<size_t>(float_column_floats(k, n)));
  pack_columns(view_weights<const float>(weights.data(), {k, n}, WeightForm::kMatrix), sparse.data());
  // Nothing may be read beyond the last row.
  const std::vector<float> input = random_floats(static_cast<size_t>((rows - 1) * conv.input_pitch + k));
  const std::vector<float> bias = random_floats(static_cast<size_t>(n));
  const std::vector<float> residual = random_floats(static_cast<size_t>(rows * conv.output_pitch));
  conv.input = input.data();
  if (pick(0, 1) == 1) conv.epilogue.bias = bias.data();
  if (pick(0, 1) == 1) conv.epilogue.residual = residual.data();
  conv.epilogue.residual_pitch = conv.output_pitch;
  if (pick(0, 1) == 1) conv.epilogue.low = 0;
  conv.epilogue.hard_swish = pick(0, 2) == 0;
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
    select_sparse_columns_table(isa).product(conv, {share, shares});
  }
  return outputs;
}

void expect_same_bits(Isa isa, int64_t rows, int64_t k, int64_t n) {
  const Outputs outputs = run_both(isa, rows, k, n, static_cast<int>(pick(1, 5)));
  ASSERT_EQ(0, std::memcmp(outputs.dense.data(), outputs.sparse.data(), outputs.dense.size() * sizeof(float)))
      << isa_name(isa) << ", " << rows << " x " << k << " x " << n;
}

TEST(SparseColumns, FloatProductsHaveTheBitsOfDenseOnes) {
  for (Isa isa : available_levels()) {
    for (int64_t rows = 1; rows <= 9; ++rows) {
      for (int64_t k : {4, 8, 28, 32, 36, 64, 68, 132}) {
        for (int64_t n : {1, 15, 16, 17, 33, 100, 257}) {
          expect_same_bits(isa, rows, k, n);
          if (testing::Test::HasFatalFailure()) return;
        }
      }
    }
    for (int i = 0; i < 20; ++i) expect_same_bits(isa, pick(1, 4), 4 * pick(1, 700), pick(1, 300));
  }
}

TEST(SparseColumns, FloatKernelAgreesWithTheReference) {
  for (int i = 0; i < 40; ++i) {
    const bool transposed = pick(0, 1) == 1;
    const int64_t k = 4 * pick(1, 50), n = pick(1, 130);
    KernelCase test{
        .kernel = "matmul_sparse_columns", .op = transposed ? "com.microsoft.FusedMatMul" : "MatMul", .inputs = {}};
    test.inputs.push_back({random_tensor(DType::kFloat32, pick(0, 1) == 1 ? Shape{k} : Shape{2, pick(1, 2), k})});
    const WeightForm form = transposed ? WeightForm::kTransposed : WeightForm::kMatrix;
    test.inputs.push_back({random_tensor(DType::kFloat32, matrix_shape(form, k, n)), true});
    Tensor& b = test.inputs[1].tensor;
    make_sparse(view_weights(b.data<float>(), b.shape(), form), 1);
    if (transposed) test.attributes.set("transB", int64_t{1});
    test.tolerance = 1e-4;
    expect_kernel_agrees(test);
    if (testing::Test::HasFatalFailure()) return;
  }
}

// ---- INT8 ----------------------------------------------------------------------------------------------------------

ChangeWeights two_of_four() {
  return [](Tensor& b) { make_sparse(view_weights(b.data<int8_t>(), b.shape(), WeightForm::kMatrix), 1); };
}

TEST(SparseColumns, Int8Products) {
  for (int64_t rows = 1; rows <= 4; ++rows) {
    for (int64_t k : {4, 8, 12, 28, 32, 36, 64, 100, 128}) {
      for (int64_t n : {1, 16, 31, 64, 131, 200}) {
        expect_int8_matmul("matmul_int8_sparse_columns", rows, k, n, two_of_four());
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
  for (int i = 0; i < 20; ++i) {
    expect_int8_matmul("matmul_int8_sparse_columns", pick(1, 4), 4 * pick(1, 700), pick(1, 200), two_of_four());
    if (testing::Test::HasFatalFailure()) return;
  }
}

// All that is largest: nothing saturates on the way.
TEST(SparseColumns, Int8SumsAreExact) {
  for (int64_t rows : {1, 4}) {
    for (int8_t weight : {int8_t{-128}, int8_t{127}}) {
      KernelCase test = product_case("matmul_int8_sparse_columns", "hussar.QuantizedMatMul",
                                     random_bytes({rows, 4096}, Layout::kPlain, 0), {4096, 40}, 4096, 40);
      std::fill_n(test.inputs[0].tensor.data<uint8_t>(), test.inputs[0].tensor.elements(), uint8_t{255});
      std::fill_n(test.inputs[1].tensor.data<int8_t>(), test.inputs[1].tensor.elements(), weight);
      two_of_four()(test.inputs[1].tensor);
      expect_kernel_agrees(test);
      if (testing::Test::HasFatalFailure()) return;
    }
  }
}

TEST(SparseColumns, WhatIsRefused) {
  KernelCase test{.kernel = "matmul_sparse_columns", .op = "MatMul", .inputs = {}};
  test.inputs.push_back({random_tensor(DType::kFloat32, {4, 64})});
  test.inputs.push_back({random_tensor(DType::kFloat32, {64, 32}), true});
  EXPECT_EQ(refusal_of(test), kNotTwoOfFour);
  make_sparse(view_weights(test.inputs[1].tensor.data<float>(), {64, 32}, WeightForm::kMatrix), 1);
  EXPECT_EQ(refusal_of(test), std::nullopt);
  test.inputs[0].tensor = random_tensor(DType::kFloat32, {5, 64});
  EXPECT_EQ(refusal_of(test), "more than 4 rows");
  test = product_case("matmul_int8_sparse_columns", "hussar.QuantizedMatMul", random_bytes({2, 64}, Layout::kPlain, 0),
                      {64, 64}, 64, 64);
  EXPECT_EQ(refusal_of(test), kNotTwoOfFour);
  two_of_four()(test.inputs[1].tensor);
  EXPECT_EQ(refusal_of(test), std::nullopt);
}

}  // namespace
}  // namespace hussar
