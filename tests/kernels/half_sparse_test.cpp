// The FP16 kernels for weights that are 2:4 with shared masks: against the dense FP16 kernel and the reference
// evaluators, and the packed form. Kernels are skipped on machines without AVX512-FP16, as in half_test.cpp.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "backends/cpu/kernels/half/half_product.h"
#include "backends/cpu/sparse_steps.h"
#include "backends/cpu/sparse_weights.h"
#include "tensor/convert.h"
#include "tests/kernels/sparse_case.h"

namespace hussar {
namespace {

using namespace cpu;

class HalfSparse : public testing::Test {
 protected:
  void SetUp() override {
    if (active_isa() < Isa::kAvx512Fp16) GTEST_SKIP() << "no FP16 arithmetic";
  }
};

int64_t random_width() { return int64_t{32} << pick(0, 2); }

TEST(HalfSparseWeights, ComeBack) {
  for (int i = 0; i < 60; ++i) {
    // Every rest of the 64 k of a pair of chunks.
    const int64_t taps = pick(1, 9), filters = pick(1, 200), width = random_width();
    const Shape shape = {filters, 4 * pick(1, 40), taps};
    std::vector<float> numbers = random_floats(static_cast<size_t>(shape.elements()));
    for (float& x : numbers) x = half_to_float(float_to_half(x));
    make_sparse(view_weights(numbers.data(), shape, WeightForm::kFilter), width);
    const auto view = view_weights<const float>(numbers.data(), shape, WeightForm::kFilter);
    const SharedMask mask = find_shared_mask(view);
    ASSERT_GE(mask.panels * 16, width);
    std::vector<uint16_t> packed(static_cast<size_t>(half_sparse_elements(view.k, filters, mask.panels)), 0xffff);
    pack_half_sparse(view, mask, packed.data());
    std::vector<float> back(numbers.size());
    unpack_half_sparse(packed.data(), mask.panels, view_weights(back.data(), shape, WeightForm::kFilter));
    ASSERT_EQ(back, numbers);
  }
}

TEST(HalfSparseWeights, OfAnotherSizeAreRefused) {
  Graph graph;
  Tensor weights = random_tensor(DType::kFloat32, {64, 48});
  float* const numbers = weights.data<float>();
  for (int64_t i = 0; i < weights.elements(); ++i) numbers[i] = half_to_float(float_to_half(numbers[i]));
  make_sparse(view_weights(numbers, weights.shape(), WeightForm::kMatrix), 32);
  Node* node = graph.add_node("MatMul", "n", {graph.add_value("x"), graph.add_constant("w", weights)},
                              {graph.add_value("y", DType::kFloat32, Dims{3, 48})});
  Packing packing(graph, *node, {});
  ASSERT_TRUE(pack_half_sparse(packing));
  ASSERT_EQ(node->inputs[1]->constant->dtype(), DType::kFloat16);
  const int64_t panels = node->attributes.get_int(kSharedPanels, 0);
  constexpr int64_t kHuge = int64_t{1} << 62;
  const auto unpacks = [&](int64_t shared, int64_t k, int64_t n) {
    node->attributes.set(kSharedPanels, shared);
    node->attributes.set("hussar_k", k);
    node->attributes.set("hussar_n", n);
    return static_cast<bool>(unpack_sparse(packing));
  };
  for (auto [k, n] : {std::pair{int64_t{64}, int64_t{65}}, {32, 48}, {66, 48}, {kHuge, 4}, {4, kHuge}, {-64, -48}}) {
    EXPECT_FALSE(unpacks(panels, k, n)) << k << " x " << n;
  }
  for (int64_t shared : {-2, 1, 3, 16}) EXPECT_FALSE(unpacks(shared, 64, 48)) << shared;
  ASSERT_TRUE(unpacks(panels, 64, 48));
  EXPECT_EQ(std::memcmp(node->inputs[1]->constant->raw(), weights.raw(), weights.bytes()), 0);
}

struct Numbers {
  float most;
  bool are_whole;
  std::vector<float> make(int64_t count) const {
    std::vector<float> numbers = random_floats(static_cast<size_t>(count), -most, most);
    if (are_whole)
      for (float& x : numbers) x = std::round(x);
    return numbers;
  }
};

// One convolution, or product, with all that its kernels read.
struct Case {
  ConvArgs conv;
  int64_t k = 0;
  SharedMask mask;
  std::vector<float> input, filter, bias, residual;

  Case(const ConvArgs& shape, int64_t width, const Numbers& numbers) : conv(shape) {
    k = taps() * conv.channels;
    conv.input_pitch = conv.channels + pick(0, 1) * 3;
    conv.output_pitch = conv.filters + pick(0, 1) * 5;
    input = numbers.make(conv.batch * conv.in[1] * conv.in[2] * conv.input_pitch);
    filter = numbers.make(conv.filters * k);
    make_sparse(view_weights(filter.data(), filter_shape(), WeightForm::kFilter), width);
    mask = find_shared_mask(view());
    bias = numbers.make(conv.filters);
    residual = numbers.make(conv.batch * conv.out[1] * conv.out[2] * conv.output_pitch);
    conv.input = input.data();
    if (pick(0, 1) == 1) conv.epilogue.bias = bias.data();
    if (pick(0, 1) == 1) conv.epilogue.residual = residual.data();
    conv.epilogue.residual_pitch = conv.output_pitch;
    if (pick(0, 1) == 1) conv.epilogue.low = 0;
  }

  int64_t taps() const { return conv.kernel[1] * conv.kernel[2]; }
  Shape filter_shape() const { return {conv.filters, conv.channels, taps()}; }
  MatrixView<const float> view() const { return view_weights(filter.data(), filter_shape(), WeightForm::kFilter); }

  // In reverse order of the shares; the scratch is NaN before.
  std::vector<float> run(void (*product)(const HalfArgs&, Share, void*), const std::vector<uint16_t>& weights,
                         int64_t scratch_bytes, int shares) const {
    std::vector<float> out(residual.size(), 7);
    HalfArgs args = {conv, weights.data(), mask.panels};
    args.conv.output = out.data();
    EXPECT_EQ(scratch_bytes % 64, 0);
    void* scratch = std::aligned_alloc(64, static_cast<size_t>(scratch_bytes));
    for (int index = shares - 1; index >= 0; --index) {
      std::memset(scratch, 0xff, static_cast<size_t>(scratch_bytes));
      product(args, {index, shares}, scratch);
    }
    std::free(scratch);
    return out;
  }
  std::vector<float> run_sparse(int shares) const {
    std::vector<uint16_t> packed(static_cast<size_t>(half_sparse_elements(k, conv.filters, mask.panels)));
    pack_half_sparse(view(), mask, packed.data());
    return run(avx512fp16::run_half_sparse, packed, half_sparse_scratch_bytes(k), shares);
  }
  std::vector<float> run_dense() const {
    // By taps, as k runs.
    std::vector<float> matrix(filter.size());
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t column = 0; column < conv.filters; ++column) {
        matrix[static_cast<size_t>(i * conv.filters + column)] = view().row(i)[column * view().column_stride];
      }
    }
    std::vector<uint16_t> packed(static_cast<size_t>(half_weight_elements(k, conv.filters)));
    pack_half_weights(matrix.data(), k, conv.filters, conv.filters, 1, packed.data());
    return run(avx512fp16::run_half_product, packed, half_scratch_bytes(k), 1);
  }
};

ConvArgs matrix_shape(int64_t rows, int64_t k, int64_t n) {
  ConvArgs conv;
  conv.channels = k, conv.filters = n, conv.in[2] = conv.out[2] = rows;
  return conv;
}

ConvArgs random_shape() {
  if (pick(0, 1) == 1) return matrix_shape(pick(1, 40), 4 * pick(1, 150), pick(1, 200));
  ConvArgs conv;
  conv.channels = 4 * pick(1, 40);
  conv.filters = pick(1, 200);
  for (int axis : {1, 2}) {
    conv.kernel[axis] = pick(1, 3);
    conv.in[axis] = pick(conv.kernel[axis], 12);
    conv.stride[axis] = pick(1, 2);
    conv.pad[axis] = pick(0, 1);
    conv.out[axis] = (conv.in[axis] + 2 * conv.pad[axis] - conv.kernel[axis]) / conv.stride[axis] + 1;
  }
  conv.batch = pick(1, 2);
  return conv;
}

// Sums of small integers are exact in FP16 in whatever order.
TEST_F(HalfSparse, ExactSumsHaveTheBitsOfTheDenseKernel) {
  for (int i = 0; i < 150; ++i) {
    const Case test(random_shape(), random_width(), {2, true});
    const std::vector<float> dense = test.run_dense(), sparse = test.run_sparse(static_cast<int>(pick(1, 5)));
    ASSERT_EQ(0, std::memcmp(dense.data(), sparse.data(), dense.size() * sizeof(float))) << test.k;
  }
}

// Every number of rows of a tile, and every rest of k in a pair of chunks.
TEST_F(HalfSparse, EveryTileAndTail) {
  for (int64_t rows = 1; rows <= 30; ++rows) {
    for (int64_t k : {4, 28, 32, 36, 60, 64, 68, 96, 100, 124, 128, 256, 260, 292}) {
      const Case test(matrix_shape(rows, k, pick(1, 200)), random_width(), {2, true});
      const std::vector<float> dense = test.run_dense(), sparse = test.run_sparse(1);
      ASSERT_EQ(0, std::memcmp(dense.data(), sparse.data(), dense.size() * sizeof(float))) << rows << ' ' << k;
    }
  }
}

// The k that one block keeps, in the order in which they are summed: of every 64 k the kept four of eight of the first
// 32, then those of the second 32; the last 32 k in ascending order where nothing is beside them.
std::vector<int64_t> kept_in_order(const SharedMask& mask, int64_t block, int64_t k) {
  std::vector<int64_t> order;
  const auto keep_eight = [&](int64_t first) {
    for (int64_t group = first; group < first + 8 && group < k; group += 4) {
      const uint8_t places = mask.places[static_cast<size_t>((block * k + group) / 4)];
      order.push_back(group + (places & 3));
      order.push_back(group + (places >> 2 & 3));
    }
  };
  for (int64_t pair = 0; pair < k; pair += 64) {
    for (int64_t lane = 0; lane < 32; lane += 8) {
      keep_eight(pair + lane);
      keep_eight(pair + 32 + lane);
    }
  }
  return order;
}

// Of any numbers: the dense kernel's bits on the kept k alone, so rounding and the flushes to FP32 are the same.
TEST_F(HalfSparse, TheBitsOfADenseProductOfWhatIsKept) {
  for (int i = 0; i < 40; ++i) {
    // Whole pairs of chunks: others end with zeros in the midst of their last chunk.
    const int64_t rows = pick(1, 40), k = pick(0, 1) == 1 ? 64 * pick(1, 14) : 64 * pick(0, 14) + 32,
                  width = random_width();
    Case test(matrix_shape(rows, k, 3 * width), width, {1, false});
    const std::vector<float> sparse = test.run_sparse(static_cast<int>(pick(1, 3)));
    const int64_t columns = test.mask.panels * 16;
    for (int64_t first = 0; first < test.conv.filters; first += columns) {
      const std::vector<int64_t> order = kept_in_order(test.mask, first / columns, k);
      const auto depth = static_cast<int64_t>(order.size());
      ASSERT_EQ(depth, k / 2);
      Case kept = test;
      kept.input.resize(static_cast<size_t>(rows * depth));
      kept.filter.resize(static_cast<size_t>(depth * test.conv.filters));
      for (int64_t at = 0; at < depth; ++at) {
        const int64_t from = order[static_cast<size_t>(at)];
        for (int64_t row = 0; row < rows; ++row) {
          kept.input[static_cast<size_t>(row * depth + at)] =
              test.input[static_cast<size_t>(row * test.conv.input_pitch + from)];
        }
        for (int64_t column = 0; column < test.conv.filters; ++column) {
          kept.filter[static_cast<size_t>(column * depth + at)] = test.filter[static_cast<size_t>(column * k + from)];
        }
      }
      kept.k = kept.conv.channels = kept.conv.input_pitch = depth;
      kept.conv.input = kept.input.data();
      const std::vector<float> dense = kept.run_dense();
      for (int64_t row = 0; row < rows; ++row) {
        const int64_t at = row * test.conv.output_pitch + first;
        ASSERT_EQ(0, std::memcmp(&dense[static_cast<size_t>(at)], &sparse[static_cast<size_t>(at)],
                                 static_cast<size_t>(std::min(columns, test.conv.filters - first)) * sizeof(float)))
            << "row " << row << " of " << rows << ", k " << k << ", columns from " << first;
      }
    }
  }
}

// What a weight that is left out would meet does not matter; what others meet does.
TEST_F(HalfSparse, BeyondTheRange) {
  Case test(matrix_shape(3, 64, 64), 64, {1, false});
  test.conv.epilogue = {};
  const uint8_t places = test.mask.places[0];
  const int64_t kept = places & 3;
  int64_t dropped = 0;
  while (dropped == kept || dropped == (places >> 2 & 3)) ++dropped;
  test.input[static_cast<size_t>(dropped)] = INFINITY;
  test.input[static_cast<size_t>(test.conv.input_pitch + kept)] = NAN;
  const std::vector<float> out = test.run_sparse(1);
  for (int64_t column = 0; column < 64; ++column) {
    EXPECT_TRUE(std::isfinite(out[static_cast<size_t>(column)]));
    EXPECT_TRUE(std::isnan(out[static_cast<size_t>(test.conv.output_pitch + column)]));
  }
}

TEST_F(HalfSparse, AgreesWithTheReference) {
  for (int i = 0; i < 40; ++i) {
    const int64_t channels = 4 * pick(1, 20), filters = pick(1, 130), side = pick(0, 1) == 1 ? 3 : 1;
    // As in half_test.cpp: outputs with a standard deviation of 1, half of which are left out.
    const auto size = [](int64_t k) { return 3 / std::sqrt(static_cast<double>(k)); };
    KernelCase test{.kernel = "conv_fp16_sparse", .op = "Conv", .inputs = {}};
    test.inputs.push_back({random_tensor(DType::kFloat32, {1, channels, 7, 9}, -1, 1), false, Layout::kChannelsLast});
    const double bound = size(channels * side * side);
    test.inputs.push_back({random_tensor(DType::kFloat32, {filters, channels, side, side}, -bound, bound), true});
    Tensor& filter = test.inputs[1].tensor;
    make_sparse(view_weights(filter.data<float>(), filter.shape(), WeightForm::kFilter), random_width());
    if (side == 3) test.attributes.set("pads", Ints{1, 1, 1, 1});
    if (pick(0, 2) == 0) test.attributes.set("strides", Ints{2, 2});
    test.output_layout = Layout::kChannelsLast;
    test.tolerance = 2.4e-2;
    expect_kernel_agrees(test);

    const bool transposed = pick(0, 1) == 1;
    const int64_t k = channels * 5;
    KernelCase product{
        .kernel = "matmul_fp16_sparse", .op = transposed ? "com.microsoft.FusedMatMul" : "MatMul", .inputs = {}};
    product.inputs.push_back({random_tensor(DType::kFloat32, {pick(1, 3), pick(1, 20), k}, -1, 1)});
    product.inputs.push_back(
        {random_tensor(DType::kFloat32, transposed ? Shape{filters, k} : Shape{k, filters}, -size(k), size(k)), true});
    Tensor& b = product.inputs[1].tensor;
    make_sparse(view_weights(b.data<float>(), b.shape(), transposed ? WeightForm::kTransposed : WeightForm::kMatrix),
                random_width());
    if (transposed) product.attributes.set("transB", int64_t{1});
    product.tolerance = 2.4e-2;
    expect_kernel_agrees(product);
    if (HasFatalFailure()) return;
  }
}

TEST_F(HalfSparse, Refuses) {
  KernelCase test{.kernel = "matmul_fp16_sparse", .op = "MatMul", .inputs = {}};
  test.inputs.push_back({random_tensor(DType::kFloat32, {3, 64}, -1, 1)});
  test.inputs.push_back({random_tensor(DType::kFloat32, {64, 64}, -1, 1), true});
  const Tensor weights = test.inputs[1].tensor;
  EXPECT_EQ(refusal_of(test), kNotTwoOfFour);
  const auto refusal_with = [&](int64_t width) {
    test.inputs[1].tensor = Tensor(DType::kFloat32, weights.shape());
    std::memcpy(test.inputs[1].tensor.data<float>(), weights.data<float>(),
                static_cast<size_t>(weights.elements()) * 4);
    make_sparse(view_weights(test.inputs[1].tensor.data<float>(), weights.shape(), WeightForm::kMatrix), width);
    return refusal_of(test);
  };
  EXPECT_EQ(refusal_with(1), "weights are 2:4, but no 16 output channels share masks");
  EXPECT_EQ(refusal_with(16), "weights are 2:4, but no 32 output channels share masks");
  EXPECT_EQ(refusal_with(32), std::nullopt);
  float* const sparse = test.inputs[1].tensor.data<float>();
  *std::find_if(sparse, sparse + weights.elements(), [](float x) { return x != 0; }) = 1e6F;
  EXPECT_EQ(refusal_of(test), "a weight is beyond the range of FP16");
}

}  // namespace
}  // namespace hussar
