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
