// attention_int8 gives the bits of the reference evaluator: sizes around those of tiles and panels, grouped heads,
// masks, causal, zero points, and what no model should contain.
#include <cmath>
#include <cstring>
#include <limits>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Sizes {
  int64_t batch, heads, kv_heads, queries, keys, dim, v_dim;
};

Tensor bytes(const Shape& shape) { return random_tensor(DType::kUInt8, shape, 0, 255); }

// Scores of a few units, so that probabilities differ and yet many count.
Argument scales(int64_t count, double size) { return {random_tensor(DType::kFloat32, {count}, size / 2, size), true}; }

KernelCase attention_case(const Sizes& s) {
  KernelCase test{"attention_int8", "hussar.QuantizedAttention"};
  const double size = 0.2 / std::sqrt(std::sqrt(static_cast<double>(s.dim)));
  test.inputs = {{bytes({s.batch, s.queries, s.heads * s.dim})},
                 {bytes({s.batch, s.keys, s.kv_heads * s.dim})},
                 {bytes({s.batch, s.keys, s.kv_heads * s.v_dim})},
                 scales(s.heads, size),
                 scales(s.kv_heads, size),
                 scales(s.kv_heads * s.v_dim, 0.02)};
  test.attributes = attributes(
      {{"heads", s.heads}, {"kv_heads", s.kv_heads}, {"head_dim", s.dim}, {"v_head_dim", s.v_dim}, {"scale", 0.01F}});
  const bool is_centered = pick(0, 1) == 0;
  for (const char* name : {"q_zero_point", "k_zero_point", "v_zero_point"})
    test.attributes.set(name, is_centered ? int64_t{128} : pick(0, 255));
  if (pick(0, 1) == 0) {
    test.attributes.set("y_scale", 0.01F);
    test.attributes.set("y_zero_point", pick(0, 255));
  }
  return test;
}

void add_mask(KernelCase& test, const Sizes& s) {
  Shape mask{s.batch, s.heads, s.queries, s.keys};
  for (int axis = 0; axis < 4; ++axis) mask[axis] = pick(0, 1) == 0 ? 1 : mask[axis];
  Tensor added = random_tensor(DType::kFloat32, mask);
  for (int64_t i = 0; i < added.elements(); ++i) {
    if (pick(0, 4) == 0) added.data<float>()[i] = pick(0, 1) == 0 ? -kInf : -3.4028235e38F;
  }
  test.inputs.push_back({added});
}

TEST(AttentionInt8Kernel, LengthsAndHeadSizes) {
  for (int64_t length : {1, 5, 16, 17, 64, 128, 129}) {
    for (int64_t dim : {16, 32, 40, 64, 128}) {
      const Sizes sizes{1, 2, 2, length, length, dim, dim};
      KernelCase test = attention_case(sizes);
      if (pick(0, 1) == 0) test.attributes.set("causal", int64_t{1});
      if (pick(0, 1) == 0) add_mask(test, sizes);
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(AttentionInt8Kernel, RandomCases) {
  for (int repeat = 0; repeat < 100; ++repeat) {
    const int64_t kv_heads = pick(1, 3);
    const Sizes sizes{pick(1, 2),   kv_heads * pick(1, 2), kv_heads,   pick(1, 140),
                      pick(1, 150), pick(1, 70),           pick(1, 70)};
    KernelCase test = attention_case(sizes);
    if (pick(0, 1) == 0) test.attributes.set("causal", int64_t{1});
    if (pick(0, 1) == 0) add_mask(test, sizes);
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(AttentionInt8Kernel, ManyKeysAndFewHeads) {
  for (int64_t keys : {512, 1100}) {
    KernelCase test = attention_case({1, 1, 1, 300, keys, 64, 48});
    expect_kernel_agrees(test);
    test.attributes.set("causal", int64_t{1});
    expect_kernel_agrees(test);
  }
}

// The largest sums and the sharpest of distributions: every key but one gets nothing.
TEST(AttentionInt8Kernel, Extremes) {
  for (const char* zero_points : {"q_zero_point", "k_zero_point"}) {
    KernelCase test = attention_case({1, 2, 1, 33, 70, 64, 32});
    for (size_t i = 0; i < 3; ++i)
      std::memset(test.inputs[i].tensor.raw(), i == 1 ? 0 : 255, test.inputs[i].tensor.bytes());
    test.inputs[1].tensor.data<uint8_t>()[5 * 64] = 255;
    test.attributes.set(zero_points, int64_t{255});
    expect_kernel_agrees(test);
    test.attributes.set("scale", 3.0F);
    expect_kernel_agrees(test);
  }
}

TEST(AttentionInt8Kernel, HiddenRowsNansAndInfinities) {
  for (int repeat = 0; repeat < 20; ++repeat) {
    const Sizes sizes{1, 2, 2, pick(3, 40), pick(1, 90), pick(1, 40), pick(1, 40)};
    KernelCase test = attention_case(sizes);
    Tensor mask = random_tensor(DType::kFloat32, {1, 1, sizes.queries, sizes.keys});
    for (float value : {-kInf, -3.4028235e38F, std::nanf("")}) {
      const int64_t row = pick(0, sizes.queries - 1);
      for (int64_t j = 0; j < sizes.keys; ++j) mask.data<float>()[row * sizes.keys + j] = value;
    }
    mask.data<float>()[pick(0, mask.elements() - 1)] = pick(0, 1) == 0 ? kInf : std::nanf("");
    test.inputs.push_back({mask});
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

// More queries than keys: the first ones see nothing.
TEST(AttentionInt8Kernel, CausalWithMoreQueriesThanKeys) {
  KernelCase test = attention_case({1, 2, 2, 40, 9, 24, 40});
  test.attributes.set("causal", int64_t{1});
  expect_kernel_agrees(test);
}

// q, k and v side by side in one tensor.
TEST(AttentionInt8Kernel, OneTensorForAll) {
  const Tensor all = bytes({2, 70, 3 * 5 * 16});
  KernelCase test{"attention_int8",
                  "hussar.QuantizedAttention",
                  {{all}, {all}, {all}, scales(5, 0.05), scales(5, 0.05), scales(80, 0.02)}};
  test.attributes = attributes({{"heads", int64_t{5}},
                                {"head_dim", int64_t{16}},
                                {"k_offset", int64_t{80}},
                                {"v_offset", int64_t{160}},
                                {"q_zero_point", int64_t{128}},
                                {"k_zero_point", int64_t{128}},
                                {"v_zero_point", int64_t{128}}});
  expect_kernel_agrees(test);
}

}  // namespace
}  // namespace hussar
