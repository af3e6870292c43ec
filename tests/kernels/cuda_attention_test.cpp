// cuda_attention_int8 against the reference evaluator: sizes around those of tiles, grouped heads, masks, causal,
// sequences that follow each other. On the emulated GPU with the instructions of sm_80.
//
// Sums of bytes are exact in both. What differs: the reference rounds weights to multiples of 1/255 of the largest, the
// kernel to halves. A weight is off by 1/510 at most, and n of them by about sqrt(n) / 880 together, times the
// size of a value over their sum. Where every weight is 0 or 1, nothing but the last bits of FP32 may differ: of
// values 1152 steps larger, which is what the kernel adds up.
#include <cmath>
#include <limits>

#include "tests/kernels/kernel_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

struct Sizes {
  int64_t batch, heads, kv_heads, dim, queries, keys;
  Ints mask = {};  // empty: none
  bool causal = false;
};

Tensor bytes(const Shape& shape) { return random_tensor(DType::kUInt8, shape, 0, 255); }
Argument scales(int64_t count, double size) { return {random_tensor(DType::kFloat32, {count}, size / 2, size), true}; }

void set_form(KernelCase& test, int64_t heads, int64_t kv_heads, int64_t dim) {
  for (const auto& [name, number] : {std::pair<const char*, int64_t>{"heads", heads}, {"kv_heads", kv_heads}})
    test.attributes.set(name, number);
  test.attributes.set("head_dim", dim);
  for (const char* name : {"q_zero_point", "k_zero_point", "v_zero_point"}) test.attributes.set(name, int64_t{128});
  test.emulated_sm = 80;
  if (pick(0, 1) == 1) {
    test.attributes.set("y_scale", 0.02F);
    test.attributes.set("y_zero_point", pick(100, 156));
  }
}

// Scores differ by less than a unit: sums of bytes have a deviation of about 5500 sqrt(dim). So tens of keys count.
KernelCase attention_case(const Sizes& s) {
  const double size = 0.9 / std::sqrt(5500 * std::sqrt(static_cast<double>(s.dim)));
  KernelCase test{"cuda_attention_int8", "hussar.QuantizedAttention", {}};
  test.inputs = {{bytes({s.batch, s.queries, s.heads * s.dim})},
                 {bytes({s.batch, s.keys, s.kv_heads * s.dim})},
                 {bytes({s.batch, s.keys, s.kv_heads * s.dim})},
                 scales(s.heads, size),
                 scales(s.kv_heads, size),
                 scales(s.kv_heads * s.dim, 0.02)};
  test.attributes = attributes({{"scale", 1.0F}, {"causal", static_cast<int64_t>(s.causal)}});
  set_form(test, s.heads, s.kv_heads, s.dim);
  if (!s.mask.empty()) {
    Tensor mask = random_tensor(pick(0, 1) == 0 ? DType::kFloat32 : DType::kFloat16, Shape(s.mask), -1, 1);
    test.inputs.push_back({mask});
  }
  test.tolerance = 3e-2;  // values are up to 2.5, so this is 1/80 of them
  return test;
}

const Sizes kShapes[] = {
    {2, 3, 3, 64, 128, 128},
    {1, 4, 2, 32, 77, 77, {}, true},
    {2, 2, 1, 128, 33, 190, {2, 1, 1, 190}},
    {1, 2, 2, 64, 100, 65, {1, 2, 100, 65}},
    {1, 2, 2, 64, 384, 384, {1, 1, 1, 384}},
    {3, 1, 1, 64, 1, 17},
    {1, 2, 2, 32, 64, 64, {64, 64}},
    {2, 12, 12, 64, 70, 70, {2, 1, 1, 70}},
    {2, 4, 1, 128, 65, 200, {}, true},
    {1, 2, 2, 64, 140, 300, {1, 2, 1, 300}},
};

TEST(CudaAttentionInt8, Shapes) {
  if (refusal_of(attention_case(kShapes[0]))) GTEST_SKIP() << "skipped: needs tensor cores";
  for (const Sizes& sizes : kShapes) {
    expect_kernel_agrees(attention_case(sizes));
    if (HasFailure()) return;
  }
}

TEST(CudaAttentionInt8, RandomSizes) {
  if (refusal_of(attention_case(kShapes[0]))) GTEST_SKIP() << "skipped: needs tensor cores";
  // An emulated GPU takes two seconds for each.
  const int repeats = tests::is_emulated(tests::use_test_device()) ? 4 : 12;
  for (int repeat = 0; repeat < repeats; ++repeat) {
    const int64_t kv_heads = pick(1, 2);
    Sizes sizes{pick(1, 2), kv_heads * pick(1, 2), kv_heads, int64_t{32} << pick(0, 2), pick(1, 150), pick(1, 220)};
    sizes.causal = pick(0, 2) == 0;
    if (pick(0, 1) == 0) {
      sizes.mask = {sizes.batch, sizes.heads, sizes.queries, sizes.keys};
      for (int64_t& size : sizes.mask) size = pick(0, 1) == 0 ? 1 : size;
    }
    expect_kernel_agrees(attention_case(sizes));
    if (HasFailure()) return;
  }
}

// A step of a score is so large that the largest sum has all the weight: one sum that is off by one shows.
TEST(CudaAttentionInt8, SumsAreExact) {
  if (refusal_of(attention_case(kShapes[0]))) GTEST_SKIP() << "skipped: needs tensor cores";
  for (const Sizes& sizes : {Sizes{1, 2, 1, 32, 50, 130}, {1, 2, 2, 64, 128, 384}, {1, 1, 1, 128, 64, 70}}) {
    KernelCase test = attention_case(sizes);
    for (size_t i : {3, 4}) {
      for (int64_t head = 0; head < test.inputs[i].tensor.elements(); ++head)
        test.inputs[i].tensor.data<float>()[head] = 8;
    }
    test.tolerance = 1e-5;  // a two-thousandth of a step of a value
    expect_kernel_agrees(test);
    // The largest sums that there are.
    for (size_t i : {0, 1}) {
      for (int64_t j = 0; j < test.inputs[i].tensor.elements(); ++j)
        test.inputs[i].tensor.data<uint8_t>()[j] = pick(0, 9) == 0 ? 1 : 0;
    }
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaAttentionInt8, HiddenKeysAndNans) {
  if (refusal_of(attention_case(kShapes[0]))) GTEST_SKIP() << "skipped: needs tensor cores";
  for (bool has_rows : {false, true}) {
    const int64_t queries = 70, keys = 150, rows = has_rows ? queries : 1;
    KernelCase test = attention_case({1, 2, 2, 64, queries, keys, {1, 1, rows, keys}});
    Tensor mask = random_tensor(DType::kFloat32, {1, 1, rows, keys}, -1, 1);
    for (int64_t i = 0; i < rows * keys; ++i) {
      if (i % keys > 0 && pick(0, 2) == 0)
        mask.data<float>()[i] = pick(0, 1) == 0 ? -kInf : pick(0, 1) == 0 ? std::nanf("") : -3.4028235e38F;
    }
    // A whole row without keys, and one whose first 100 are hidden.
    for (int64_t j = 0; has_rows && j < keys; ++j) mask.data<float>()[5 * keys + j] = -kInf;
    for (int64_t j = 0; j < 100; ++j) mask.data<float>()[(rows - 1) * keys + j] = -kInf;
    test.inputs[6] = {mask};
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

// The later keys have the larger scores, by more than weights of halves could hold.
TEST(CudaAttentionInt8, LargestComesLast) {
  if (refusal_of(attention_case(kShapes[0]))) GTEST_SKIP() << "skipped: needs tensor cores";
  KernelCase test = attention_case({1, 1, 1, 64, 64, 256, {1, 1, 1, 256}});
  Tensor mask(DType::kFloat32, {1, 1, 1, 256});
  for (int64_t j = 0; j < 256; ++j) mask.data<float>()[j] = static_cast<float>(j) * 0.4F;
  test.inputs[6] = {mask};
  expect_kernel_agrees(test);
}

// More queries than keys: the first ones see nothing.
TEST(CudaAttentionInt8, CausalWithMoreQueriesThanKeys) {
  if (refusal_of(attention_case(kShapes[0]))) GTEST_SKIP() << "skipped: needs tensor cores";
  expect_kernel_agrees(attention_case({1, 2, 2, 64, 150, 9, {}, true}));
}

// q, k and v side by side in one tensor, its sequences one behind the other.
TEST(CudaAttentionInt8, PackedRowsOfOneProduct) {
  struct {
    Ints lengths;
    int64_t length, heads, kv_heads, dim;
  } const shapes[] = {{{384, 20, 180, 0, 97}, 384, 2, 2, 64},
                      {{65, 130, 64, 63}, 130, 3, 1, 32},
                      {{3, 33, 17}, 33, 2, 2, 128},
                      {{128, 128}, 128, 1, 1, 64},
                      {{0, 0}, 64, 1, 1, 64}};
  for (const auto& s : shapes) {
    const auto batch = static_cast<int64_t>(s.lengths.size());
    const int64_t width = s.heads * s.dim, kv_width = s.kv_heads * s.dim;
    const Argument qkv{bytes({batch, s.length, width + 2 * kv_width})};
    KernelCase test{"cuda_attention_int8", "hussar.QuantizedAttention", {}};
    test.inputs = {qkv, qkv, qkv, scales(s.heads, 0.02), scales(s.kv_heads, 0.02), scales(kv_width, 0.02), {}};
    Ints starts = {0};
    for (int64_t length : s.lengths) starts.push_back(starts.back() + length);
    test.inputs.push_back({integers(starts, DType::kInt32)});
    test.attributes = attributes({{"k_offset", width}, {"v_offset", width + kv_width}, {"scale", 0.03F}});
    set_form(test, s.heads, s.kv_heads, s.dim);
    test.tolerance = 3e-2;
    test.meant = starts.back() * width;
    if (refusal_of(test)) GTEST_SKIP() << "skipped: needs tensor cores";
    expect_kernel_agrees(test);
    if (HasFailure()) return;
  }
}

TEST(CudaAttentionInt8, SaysWhatItDoesNotTake) {
  KernelCase test = attention_case({1, 2, 2, 64, 16, 16});
  test.attributes.set("k_zero_point", int64_t{127});
  EXPECT_EQ(refusal_of(test), "zero points other than 128");
  EXPECT_EQ(refusal_of(attention_case({1, 2, 2, 40, 16, 16})), "head size");
  test = attention_case({1, 2, 2, 64, 16, 16});
  test.inputs[1].tensor = bytes({1, 16, 152});
  EXPECT_EQ(refusal_of(test), "alignment");
}

}  // namespace
}  // namespace hussar
