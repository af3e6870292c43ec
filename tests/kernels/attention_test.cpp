// attention against the reference: arrangements of the operands, grouped heads, masks, causal, few and many queries.
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Sizes {
  int64_t batch, heads, kv_heads, queries, keys, dim, v_dim;
};

Tensor floats(const Shape& shape) { return random_tensor(DType::kFloat32, shape, -2, 2); }

Tensor operand(const Sizes& sizes, bool head_major, int64_t heads, int64_t length, int64_t dim) {
  return floats(head_major ? Shape{sizes.batch, heads, length, dim} : Shape{sizes.batch, length, heads * dim});
}

KernelCase attention_case(const Sizes& s, int64_t head_major, bool transposed) {
  KernelCase test{"attention", "hussar.Attention"};
  test.inputs = {{operand(s, (head_major & 1) != 0, s.heads, s.queries, s.dim)},
                 {transposed ? floats({s.batch, s.kv_heads, s.dim, s.keys})
                             : operand(s, (head_major & 2) != 0, s.kv_heads, s.keys, s.dim)},
                 {operand(s, (head_major & 4) != 0, s.kv_heads, s.keys, s.v_dim)}};
  test.attributes = attributes({{"heads", s.heads},
                                {"kv_heads", s.kv_heads},
                                {"head_dim", s.dim},
                                {"v_head_dim", s.v_dim},
                                {"head_major", head_major},
                                {"k_transposed", static_cast<int64_t>(transposed)}});
  if (pick(0, 1) == 0) test.attributes.set("scale", 0.3f);
  test.tolerance = 1e-5;
  return test;
}

TEST(AttentionKernel, RandomCases) {
  for (int repeat = 0; repeat < 120; ++repeat) {
    int64_t kv_heads = pick(1, 3);
    Sizes sizes{pick(1, 2),   kv_heads * pick(1, 2), kv_heads,   pick(0, 1) == 0 ? pick(1, 4) : pick(5, 130),
                pick(1, 150), pick(1, 70),           pick(1, 70)};
    if (pick(0, 1) == 0) sizes.dim = sizes.v_dim = 64;
    KernelCase test = attention_case(sizes, pick(0, 15), pick(0, 2) == 0);
    if (pick(0, 1) == 0) {
      Shape mask{sizes.batch, sizes.heads, sizes.queries, sizes.keys};
      for (int axis = 0; axis < 4; ++axis) mask[axis] = pick(0, 1) == 0 ? 1 : mask[axis];
      Shape shape(mask.dims().subspan(static_cast<size_t>(pick(0, 1) == 0 && mask[0] == 1 ? 1 : 0)));
      test.inputs.push_back({floats(shape)});
    }
    if (sizes.keys >= sizes.queries && pick(0, 1) == 0) test.attributes.set("causal", int64_t{1});
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(AttentionKernel, MaskedKeysAndLargeEnoughForThreads) {
  Sizes sizes{2, 4, 4, 128, 128, 64, 64};
  KernelCase test = attention_case(sizes, 0, false);
  Tensor mask(DType::kFloat32, {2, 1, 1, 128});
  for (int i = 0; i < 256; ++i) mask.data<float>()[i] = i % 128 < 90 ? 0 : i < 128 ? -kInf : -3.4e38f;
  test.inputs.push_back({mask});
  expect_kernel_agrees(test);
}

void hide_some(Tensor& mask) {
  for (int64_t i = 0; i < mask.elements(); ++i) {
    if (pick(0, 2) == 0) mask.data<float>()[i] = pick(0, 1) == 0 ? -kInf : -3.4028235e38F;
  }
}

// Around the sizes of tiles, panels and blocks of keys.
TEST(AttentionKernel, Edges) {
  const int64_t lengths[] = {1, 5, 13, 14, 15, 17, 29, 113, 129}, keys[] = {1, 15, 16, 17, 33, 100, 129};
  for (int64_t dim : {1, 3, 4, 15, 16, 17, 31, 32, 33, 64, 80, 96, 127, 128, 130}) {
    Sizes sizes{1, 2, 1, lengths[pick(0, 8)], keys[pick(0, 6)], dim, dim % 3 == 0 ? dim + 5 : dim};
    for (int64_t head_major : {0, 15}) expect_kernel_agrees(attention_case(sizes, head_major, false));
    if (HasFailure()) return;
  }
}

// More keys than one block, so that the softmax is computed online, with scores that grow from block to block.
TEST(AttentionKernel, ManyKeys) {
  for (int64_t keys : {512, 513, 1024, 1500}) {
    for (bool causal : {false, true}) {
      Sizes sizes{1, 2, 1, pick(5, 60), keys, pick(1, 70), pick(1, 70)};
      KernelCase test = attention_case(sizes, pick(0, 15), pick(0, 1) == 0);
      if (causal) test.attributes.set("causal", int64_t{1});
      Tensor mask = floats({1, sizes.heads, sizes.queries, keys});
      for (int64_t i = 0; i < mask.elements(); ++i) mask.data<float>()[i] += static_cast<float>(i % keys / 100);
      if (pick(0, 1) == 0) hide_some(mask);
      if (pick(0, 2) != 0) test.inputs.push_back({mask});
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

TEST(AttentionKernel, CausalSquare) {
  for (int64_t length : {7, 64, 130, 600}) {
    KernelCase test = attention_case({1, 2, 2, length, length, 24, 40}, 0, false);
    test.attributes.set("causal", int64_t{1});
    expect_kernel_agrees(test);
  }
  // More queries than keys: the first ones see nothing.
  KernelCase test = attention_case({1, 2, 2, 40, 9, 24, 40}, 15, false);
  test.attributes.set("causal", int64_t{1});
  expect_kernel_agrees(test);
}

TEST(AttentionKernel, HiddenRowsNansAndInfinities) {
  for (int repeat = 0; repeat < 40; ++repeat) {
    Sizes sizes{1,
                2,
                2,
                pick(0, 1) == 0 ? pick(1, 4) : pick(5, 40),
                pick(0, 3) == 0 ? pick(513, 600) : pick(1, 90),
                pick(1, 40),
                pick(1, 40)};
    KernelCase test = attention_case(sizes, 0, false);
    Tensor mask = floats({1, 1, sizes.queries, sizes.keys});
    if (repeat % 2 == 0) hide_some(mask);
    // One row that sees nothing, one whose keys are all at the lowest number, one that is not a number.
    for (float value : {-kInf, -3.4028235e38F, std::nanf("")}) {
      int64_t row = pick(0, sizes.queries - 1);
      for (int64_t j = 0; j < sizes.keys; ++j) mask.data<float>()[row * sizes.keys + j] = value;
    }
    mask.data<float>()[pick(0, mask.elements() - 1)] = pick(0, 1) == 0 ? kInf : std::nanf("");
    test.inputs.push_back({mask});
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(AttentionKernel, Softcap) {
  for (int64_t queries : {3, 50}) {
    KernelCase test = attention_case({2, 3, 3, queries, 70, 32, 32}, 0, false);
    test.attributes.set("softcap", 1.5F);
    expect_kernel_agrees(test);
    Tensor mask = floats({2, 1, queries, 70});
    hide_some(mask);
    test.inputs.push_back({mask});
    expect_kernel_agrees(test);
  }
}

// One query of grouped heads, with a mask per head.
TEST(AttentionKernel, Decoding) {
  for (int64_t head_major : {0, 15}) {
    KernelCase test = attention_case({2, 12, 3, 1, 77, 48, 20}, head_major, false);
    test.inputs.push_back({floats({2, 12, 1, 77})});
    expect_kernel_agrees(test);
    test.attributes.set("causal", int64_t{1});
    expect_kernel_agrees(test);
  }
}

// q, k and v side by side in one tensor.
TEST(AttentionKernel, OneTensorForAll) {
  for (int64_t queries : {3, 40}) {
    Tensor all = floats({2, queries, 3 * 5 * 16});
    KernelCase test{"attention", "hussar.Attention", {{all}, {all}, {all}}};
    test.attributes = attributes(
        {{"heads", int64_t{5}}, {"head_dim", int64_t{16}}, {"k_offset", int64_t{80}}, {"v_offset", int64_t{160}}});
    test.tolerance = 1e-5;
    expect_kernel_agrees(test);
  }
}

}  // namespace
}  // namespace hussar
