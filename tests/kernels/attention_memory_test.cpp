// Attention never holds its scores: working memory and arena stay far below queries x keys, and grow with the length,
// not with its square.
#include <gtest/gtest.h>

#include "backends/cpu/isa.h"
#include "plan/kernel.h"
#include "runtime/session.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/pipeline.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

// One sequence of `length` tokens, 64 numbers per head.
size_t scratch_bytes(const char* kernel_name, int64_t heads, int64_t length, int threads) {
  const Kernel* kernel = find_kernel(kernel_name);
  if (kernel == nullptr) return SIZE_MAX;
  const bool is_int8 = std::string_view(kernel_name) == "attention_int8";
  PlanStep step;
  step.kernel = kernel_name;
  step.op = is_int8 ? "hussar.QuantizedAttention" : "hussar.Attention";
  step.name = "attention";
  for (const char* name : {"heads", "kv_heads"}) step.attributes.set(name, heads);
  for (const char* name : {"head_dim", "v_head_dim"}) step.attributes.set(name, int64_t{64});
  Tensor scales(DType::kFloat32, {heads * 64});
  std::fill_n(scales.data<float>(), scales.elements(), 0.1F);
  const Operand rows{is_int8 ? DType::kUInt8 : DType::kFloat32, {1, length, heads * 64}};
  std::vector<Operand> inputs(3, rows), outputs = {{DType::kFloat32, rows.shape}};
  if (is_int8) {
    for (int64_t count : {heads, heads, heads * 64}) {
      inputs.push_back({DType::kFloat32, {count}, Layout::kPlain, 0, scales.raw()});
    }
  }
  Tensor state(DType::kUInt8, {static_cast<int64_t>(kernel->state_bytes) + 1});
  Prepare prepare{step, inputs, outputs, threads, state.raw()};
  const Status prepared = kernel->prepare(prepare);
  EXPECT_TRUE(prepared.has_value()) << prepared.error().message;
  return prepare.scratch_bytes;
}

TEST(AttentionMemory, ScratchIsBelowOneSquareAndGrowsWithTheLength) {
  for (const char* kernel : {"attention", "attention_int8"}) {
    for (int threads : {1, 2}) {
      for (int64_t heads : {1, 2, 12}) {
        const size_t bytes = scratch_bytes(kernel, heads, 1024, threads);
        // Keys and values are packed, several heads at a time.
        const double squares = std::max(1.0, static_cast<double>(heads) / 8);
        EXPECT_LT(static_cast<double>(bytes), squares * 1024 * 1024 * sizeof(float))
            << kernel << ", " << heads << " heads, " << threads << " threads";
        EXPECT_LT(scratch_bytes(kernel, heads, 4096, threads), 4.2 * static_cast<double>(bytes)) << kernel;
      }
    }
  }
}

// q, k, v [1,2,S,64] -> MatMul, Mul, Softmax, MatMul
TEST(AttentionMemory, ScoresOfAFusedModelAreNotInTheArena) {
  constexpr int64_t kLength = 1024;
  const std::vector<float> scale = {0.125F};
  const std::vector<int64_t> order = {0, 1, 3, 2};
  Message bytes = model(
      graph({{node("Transpose", {"k"}, {"kt"}, {attribute("perm", order)}), node("MatMul", {"q", "kt"}, {"s"}),
              node("Mul", {"s", "scale"}, {"t"}), node("Softmax", {"t"}, {"p"}), node("MatMul", {"p", "v"}, {"y"})},
             {value("q", {1, 2, kLength, 64}), value("k", {1, 2, kLength, 64}), value("v", {1, 2, kLength, 64})},
             {any_shape("y")},
             {tensor_of("scale", DType::kFloat32, {}, scale)}}));
  CompileOptions options;
  options.threads = 1;
  auto plan = build(bytes.bytes(), options);
  ASSERT_TRUE(plan.has_value()) << plan.error().message;
  auto session = Session::create(*plan);
  ASSERT_TRUE(session.has_value()) << session.error().message;
  const Shape rows{1, 2, kLength, 64};
  ASSERT_TRUE((*session)->prepare(std::vector<Shape>{rows, rows, rows}));
  EXPECT_LT((*session)->arena_bytes(), kLength * kLength * sizeof(float));
}

}  // namespace
}  // namespace hussar
