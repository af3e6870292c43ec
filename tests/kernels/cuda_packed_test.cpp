// Sequences without their padding: the order of tokens, rows that move, and attention within each sequence.
#include <algorithm>
#include <array>

#include "ops/evaluate.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

// Zeros and ones. kinds: 'f' full, 'e' empty, 'p' padded on the right, 'a' anywhere.
Tensor mask_of(const std::string& kinds, int64_t length, DType dtype, bool inverted = false) {
  Tensor mask(dtype, {static_cast<int64_t>(kinds.size()), length});
  std::vector<double> numbers;
  for (const char kind : kinds) {
    const int64_t tokens = pick(0, length);
    for (int64_t i = 0; i < length; ++i) {
      const bool is_token = kind == 'f' || (kind == 'p' && i < tokens) || (kind == 'a' && pick(0, 1) == 1);
      numbers.push_back(is_token != inverted ? 1 : 0);
    }
  }
  store_elements<double>(mask, 0, mask.elements(), numbers.data());
  return mask;
}

TEST(CudaPacked, TokenOrder) {
  const DType dtypes[] = {DType::kInt64,   DType::kInt32,   DType::kBool,
                          DType::kFloat32, DType::kFloat16, DType::kBFloat16};
  for (const char* kinds : {"f", "e", "a", "pfeap", "eee", "ffff", "aaaaaaaaaaaaaaaaaaaa"}) {
    for (int64_t length : {1, 7, 64, 256, 300, 1025}) {
      for (const bool inverted : {false, true}) {
        KernelCase test{
            "cuda_token_order", "hussar.TokenOrder", {{mask_of(kinds, length, dtypes[pick(0, 5)], inverted)}}};
        test.attributes.set("inverted", int64_t{inverted});
        test.outputs = 3;
        expect_kernel_agrees(test);
        if (HasFailure()) return;
      }
    }
  }
}

TEST(CudaPacked, TokenOrderOfManyAndOfNone) {
  KernelCase many{"cuda_token_order", "hussar.TokenOrder", {{mask_of(std::string(700, 'p'), 3, DType::kInt64)}}};
  many.outputs = 3;
  expect_kernel_agrees(many);
  for (const char* kinds : {"", "ff"}) {
    KernelCase none{"cuda_token_order", "hussar.TokenOrder", {{mask_of(kinds, *kinds == 0 ? 5 : 0, DType::kInt64)}}};
    none.outputs = 3;
    expect_kernel_agrees(none);
  }
}

TEST(CudaPacked, GatherRows) {
  for (const Shape& shape : {Shape{2, 5, 8}, {3, 7, 3}, {4, 6}, {24, 16}, {1, 9, 2, 4}, {2, 3, 1024}}) {
    for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16, DType::kUInt8, DType::kInt64}) {
      const int64_t rows = shape[0] == 24 ? 24 : shape[0] * shape[1];
      Ints index;
      // Beyond both ends, too: a plan may come from anywhere.
      for (int64_t i = 0; i < rows; ++i) index.push_back(pick(-2, rows + 1));
      KernelCase test{"cuda_gather_rows", "hussar.GatherRows", {{random_tensor(dtype, shape, 0, 100)}}};
      test.inputs.push_back({integers(index, DType::kInt32)});
      expect_kernel_agrees(test);
      if (HasFailure()) return;
    }
  }
}

struct PackedShape {
  Ints lengths;
  int64_t length, heads, kv_heads, head;
};

KernelCase attention_case(const char* kernel, DType dtype, const PackedShape& s) {
  const auto batch = static_cast<int64_t>(s.lengths.size());
  const int64_t width = s.heads * s.head, kv_width = s.kv_heads * s.head, all = width + 2 * kv_width;
  // One tensor holds queries, keys and values, as after merge_qkv.
  const Argument qkv{random_tensor(dtype, {batch, s.length, all})};
  KernelCase test{kernel, "hussar.Attention", {qkv, qkv, qkv, {}}};
  Ints starts = {0};
  for (int64_t length : s.lengths) starts.push_back(starts.back() + length);
  test.inputs.push_back({integers(starts, DType::kInt32)});
  test.attributes = attributes({{"heads", s.heads},
                                {"kv_heads", s.kv_heads},
                                {"head_dim", s.head},
                                {"k_offset", width},
                                {"v_offset", width + kv_width}});
  test.tolerance = dtype == DType::kFloat16 ? 3e-3 : dtype == DType::kBFloat16 ? 2.4e-2 : 1e-5;
  test.meant = starts.back() * width;
  if (pick(0, 1) == 1) {
    test.attributes.set("y_scale", 0.01F);
    test.attributes.set("y_zero_point", pick(100, 156));
  }
  return test;
}

const PackedShape kShapes[] = {
    {{9, 0, 12, 1}, 12, 2, 1, 8},       {{7}, 7, 2, 2, 5},          {{0, 0}, 3, 1, 1, 8},
    {{65, 130, 64, 63}, 130, 1, 1, 32}, {{40, 1, 0}, 70, 2, 1, 64}, {{3, 33, 17}, 33, 2, 2, 128},
    {{128, 128}, 128, 1, 1, 64},
};

TEST(CudaPacked, AttentionSimple) {
  for (const PackedShape& shape : kShapes) {
    for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
      expect_kernel_agrees(attention_case("cuda_attention_simple", dtype, shape));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaPacked, AttentionTiles) {
  for (const PackedShape& shape : kShapes) {
    for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
      expect_kernel_agrees(attention_case("cuda_attention_tiles", dtype, shape));
      if (HasFailure()) return;
    }
  }
}

TEST(CudaPacked, AttentionTensor) {
  const PackedShape shapes[] = {{{384, 20, 180, 0, 97}, 384, 16, 16, 64},
                                {{65, 130, 64, 63}, 130, 3, 1, 32},
                                {{3, 33, 17}, 33, 2, 2, 128},
                                {{128, 128}, 128, 1, 1, 64},
                                {{0, 0}, 64, 1, 1, 64}};
  if (refusal_of(attention_case("cuda_attention_tensor", DType::kFloat16, shapes[0])))
    GTEST_SKIP() << "skipped: needs tensor cores";
  for (const PackedShape& shape : shapes) {
    for (DType dtype : {DType::kFloat16, DType::kBFloat16})
      expect_kernel_agrees(attention_case("cuda_attention_tensor", dtype, shape));
    KernelCase tf32 = attention_case("cuda_attention_tensor", DType::kFloat32, shape);
    tf32.tf32 = true;
    tf32.tolerance = 3e-3;
    expect_kernel_agrees(tf32);
    if (HasFailure()) return;
  }
}

// Only the first rows are needed.
KernelCase in_part(KernelCase test, int64_t all, int64_t needed, bool leaves) {
  test.all_rows = all;
  test.needed_rows = needed;
  test.leaves_other_rows = leaves;
  return test;
}

TEST(CudaPacked, OtherRowsAreLeftOut) {
  for (DType dtype : {DType::kFloat32, DType::kFloat16, DType::kBFloat16}) {
    for (int64_t width : {5, 64, 1024}) {
      const int64_t batch = pick(1, 4), length = pick(1, 9), rows = batch * length;
      const Shape shape{batch, length, width};
      for (int64_t needed : {int64_t{0}, int64_t{1}, rows / 2, rows}) {
        auto x = [&] { return Argument{random_tensor(dtype, shape)}; };
        const Argument bias{random_tensor(dtype, {width})};
        KernelCase norm{"cuda_norm", "LayerNormalization", {x(), bias, bias}};
        norm.attributes = attributes({{"axis", int64_t{-1}}, {"epsilon", 1e-2F}});
        KernelCase add{"cuda_elementwise", "Add", {x(), bias}};
        KernelCase sum{"cuda_elementwise", "Add", {x(), x()}};
        Ints index;
        for (int64_t i = 0; i < rows; ++i) index.push_back(pick(-1, rows - 1));
        KernelCase gather{"cuda_gather_rows", "hussar.GatherRows", {x(), {integers(index, DType::kInt32)}}};
        for (KernelCase test : {norm, add, sum, gather}) {
          test.tolerance = dtype == DType::kFloat32 ? 2e-5 : dtype == DType::kFloat16 ? 3e-3 : 2e-2;
          // A thread may have elements of two rows.
          expect_kernel_agrees(in_part(test, rows, needed, test.kernel != "cuda_elementwise" || width % 8 == 0));
          // A count of other rows says nothing.
          expect_kernel_agrees(in_part(test, rows, rows, false));
          if (HasFailure()) return;
        }
      }
    }
  }
}

TEST(CudaPacked, OneNumberForEachRow) {
  KernelCase test{"cuda_elementwise", "Add", {{random_tensor(DType::kFloat32, {6, 4})}}};
  test.inputs.push_back({random_tensor(DType::kFloat32, {6, 1})});
  expect_kernel_agrees(in_part(test, 6, 3, true));
}

KernelCase product_case(const char* kernel, DType dtype, int64_t m, int64_t n, int64_t k) {
  KernelCase test{kernel, "MatMul", {{random_tensor(dtype, {m, k})}, {random_tensor(dtype, {k, n}), true}}};
  test.tolerance = dtype == DType::kFloat16 ? 5e-2 : dtype == DType::kBFloat16 ? 4e-1 : 1e-4;
  if (dtype != DType::kUInt8) return test;
  test.op = "hussar.QuantizedMatMul";
  test.inputs[0].tensor = random_tensor(dtype, {m, k}, 0, 255);
  Tensor weights = random_tensor(DType::kInt8, {k, n}, -128, 127);
  auto* w = reinterpret_cast<int8_t*>(weights.raw());
  for (int64_t i = 0; std::string(kernel).starts_with("cuda_product_sparse") && i < k * n; ++i) {
    if (i / n % 4 >= 2) w[i] = 0;
  }
  test.inputs[1] = {weights, true};
  test.inputs.push_back({random_tensor(DType::kFloat32, {n}, 1e-4, 2e-4), true});
  test.inputs.push_back({});
  test.attributes = attributes({{"x_scale", 0.01F}, {"x_zero_point", int64_t{100}}});
  return test;
}

// In every tile that there is, for any number of rows.
void expect_products_agree(const char* kernel, DType dtype) {
  const std::pair<std::array<int64_t, 3>, Ints> cases[] = {
      {{77, 72, 256}, {0, 25, 77}}, {{700, 1024, 512}, {1, 233, 700}}, {{4096, 512, 1024}, {1365}}};
  for (const auto& [shape, counts] : cases) {
    const auto& [m, n, k] = shape;
    for (int64_t needed : counts) {
      expect_kernel_agrees(in_part(product_case(kernel, dtype, m, n, k), m, needed, false));
      if (testing::Test::HasFailure()) return;
    }
  }
}

bool has_kernel(const char* kernel, DType dtype) { return !refusal_of(product_case(kernel, dtype, 64, 64, 64)); }

TEST(CudaPacked, Products) {
  if (!has_kernel("cuda_product", DType::kFloat16)) GTEST_SKIP() << "skipped: needs tensor cores";
  for (DType dtype : {DType::kFloat16, DType::kBFloat16}) expect_products_agree("cuda_product", dtype);
}

TEST(CudaPacked, ProductsOnHopper) {
  if (!has_kernel("cuda_product_hopper", DType::kFloat16)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (DType dtype : {DType::kFloat16, DType::kBFloat16}) expect_products_agree("cuda_product_hopper", dtype);
}

TEST(CudaPacked, ProductsOfBytes) {
  if (!has_kernel("cuda_product_hopper", DType::kUInt8)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  expect_products_agree("cuda_product_hopper", DType::kUInt8);
}

TEST(CudaPacked, SparseProducts) {
  if (!has_kernel("cuda_product_sparse", DType::kUInt8)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  expect_products_agree("cuda_product_sparse", DType::kUInt8);
}

TEST(CudaPacked, SparseProductsOnAmpere) {
  const char* kernel = "cuda_product_sparse_ampere";
  if (!has_kernel(kernel, DType::kUInt8)) GTEST_SKIP() << "skipped: needs tensor cores";
  expect_products_agree(kernel, DType::kUInt8);
}

// Starts that no order of tokens has, as a damaged plan may have them, lead nowhere.
TEST(CudaPacked, StrangeStarts) {
  for (const Ints& starts : {Ints{-5, 3, 2, 100}, {7, 7, -1, 4}, {2147483647, -2147483647, 5, 0}}) {
    KernelCase test = attention_case("cuda_attention_simple", DType::kFloat32, {{3, 3, 3}, 4, 1, 1, 8});
    test.inputs[4] = {integers(starts, DType::kInt32)};
    EXPECT_EQ(run_error_of(test), "");
  }
}

TEST(PackedAttention, RefusesStartsThatCannotBe) {
  auto message = [](const Ints& starts) {
    KernelCase test = attention_case("reference", DType::kFloat32, {{3, 3, 3}, 4, 1, 1, 8});
    Node node;
    std::vector<Tensor> inputs;
    Value present;
    for (const Argument& argument : test.inputs) {
      inputs.push_back(argument.tensor);
      node.inputs.push_back(argument.tensor.valid() ? &present : nullptr);
    }
    inputs[4] = integers(starts, DType::kInt32);
    node.op = "hussar.Attention";
    node.attributes = test.attributes;
    node.outputs = {&present};
    auto results = evaluate_node(node, inputs);
    return results ? "" : results.error().message;
  };
  EXPECT_EQ(message({0, 4, 8, 12}), "");
  EXPECT_NE(message({0, 4, 8, 13}).find("sequence 2 cannot lie in the rows 8 to 13 of 12"), std::string::npos);
  EXPECT_NE(message({0, 4, 3, 12}).find("sequence 1"), std::string::npos);
  EXPECT_NE(message({-1, 4, 8, 12}).find("sequence 0"), std::string::npos);
  EXPECT_NE(message({0, 4, 12}).find("dimension"), std::string::npos) << message({0, 4, 12});
}

}  // namespace
}  // namespace hussar
