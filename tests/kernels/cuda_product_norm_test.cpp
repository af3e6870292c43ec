// Products whose rows are normalized in the same step, against the reference: small ones on any machine, where
// tests/support/emulated_hopper.h plays the clusters, larger ones on a GPU.
#include <array>
#include <cmath>

#include "plan/kernel.h"
#include "tensor/convert.h"
#include "tests/kernels/kernel_case.h"
#include "tests/kernels/sparse_case.h"
#include "tests/support/emulated_device.h"

namespace hussar {
namespace {

constexpr DType kHalf = DType::kFloat16, kBrain = DType::kBFloat16, kFloat = DType::kFloat32, kBytes = DType::kUInt8;
constexpr int kHopper = 90;

struct Form {
  DType dtype = kBytes;   // what is multiplied
  DType numbers = kHalf;  // what is added and written
  bool to_bytes = true;
  size_t outputs = 2;
  bool residual = true, bias = true;
  double offset = 0;  // of what is added
};

// Rows of x by weights of [k, n]: 1, 2 of them with a bias of the product, a bias of the norm, a residual.
KernelCase norm_of(const Form& form, const Shape& x, int64_t n) {
  const int64_t k = x[x.rank() - 1];
  KernelCase test{"cuda_product_norm", "hussar.MatMulNorm", {}};
  test.emulated_sm = kHopper;
  test.outputs = form.outputs;
  if (form.dtype == kBytes) {
    test.op = "hussar.QuantizedMatMulNorm";
    const double unit = 1 / (70.0 * 70.0 * std::sqrt(static_cast<double>(k)));
    test.inputs = {{random_tensor(kBytes, x, 0, 255)},
                   {random_tensor(DType::kInt8, {k, n}, -128, 127), true},
                   {random_tensor(kFloat, {n}, 100 * unit, 200 * unit), true},
                   {random_tensor(kFloat, {n}, -1, 1), true}};
    test.attributes.set("x_scale", 0.01F);
    test.attributes.set("x_zero_point", pick(0, 255));
  } else {
    test.inputs = {{random_tensor(form.dtype, x, -1, 1)}, {random_tensor(form.dtype, {k, n}, -1, 1), true}};
  }
  test.inputs.push_back(form.bias ? Argument{random_tensor(form.numbers, {n}, -1, 1), true} : Argument{});
  test.inputs.push_back({random_tensor(form.numbers, {n}, 0.5, 1.5), true});
  if (form.residual) {
    Program program{};
    program.operand_count = 1;
    program.step_count = 1;
    program.steps[0].op = ProgramOp::kAdd;
    program.steps[0].source = ProgramSource::kOperand;
    test.program = program;
    test.program_inputs = static_cast<int32_t>(test.inputs.size());
    Ints dims(x.begin(), x.end());
    dims.back() = n;
    test.inputs.push_back(
        {random_tensor(form.numbers, Shape(std::span<const int64_t>(dims)), form.offset - 1, form.offset + 1)});
  }
  if (form.to_bytes) {
    test.attributes.set("y_scale", 0.03F);
    test.attributes.set("y_zero_point", int64_t{120});
  }
  test.attributes.set("epsilon", 1e-5F);
  test.tolerance = form.numbers == kBrain ? 2e-2 : form.numbers == kHalf ? 3e-3 : 1e-4;
  return test;
}

bool can_run(const KernelCase& test) {
  const auto refusal = refusal_of(test);
  return !refusal || !refusal->starts_with("needs ");
}

bool has_gpu() { return !tests::is_emulated(tests::use_test_device()); }

using Sizes = std::array<int64_t, 3>;  // m, n, k

void expect_agree(const Form& form, std::initializer_list<Sizes> small, std::initializer_list<Sizes> large) {
  if (!can_run(norm_of(form, {8, 64}, 128))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (const auto& [m, n, k] : small) expect_kernel_agrees(norm_of(form, {m, k}, n));
  if (!has_gpu()) return;
  for (const auto& [m, n, k] : large) expect_kernel_agrees(norm_of(form, {m, k}, n));
}

// Bytes by weights of int8, a residual of halves; bytes and halves are written.
TEST(CudaProductNorm, BytesAndHalves) {
  expect_agree({}, {{1, 128, 64}, {70, 384, 144}, {150, 768, 32}, {20, 1024, 272}},
               {{128, 1024, 4096}, {4096, 1024, 1024}, {4095, 768, 3072}, {5000, 2048, 528}});
}

// The same without a residual, whatever else there may be; numbers of all types.
TEST(CudaProductNorm, BytesAndOthers) {
  expect_agree({.residual = false, .bias = false}, {{40, 256, 128}}, {{4096, 1024, 1024}});
  expect_agree({.numbers = kFloat}, {{40, 128, 64}}, {{4096, 1024, 1024}});
  expect_agree({.numbers = kFloat, .to_bytes = false, .outputs = 1}, {{40, 128, 64}}, {{4096, 1024, 1024}});
}
TEST(CudaProductNorm, Halves) {
  expect_agree({.dtype = kHalf, .to_bytes = false, .outputs = 1}, {{1, 128, 64}, {70, 384, 72}},
               {{128, 1024, 4096}, {4096, 1024, 1024}, {4095, 768, 3072}});
  expect_agree({.dtype = kHalf}, {{150, 256, 136}}, {{1000, 512, 512}});
}
TEST(CudaProductNorm, Bf16) {
  expect_agree({.dtype = kBrain, .numbers = kBrain, .to_bytes = false, .outputs = 1}, {{70, 128, 72}},
               {{4096, 1024, 1024}});
}

// With weights of which two of four are zero.
TEST(CudaProductNorm, Sparse) {
  auto sparse = [](const Form& form, const Shape& x, int64_t n) {
    KernelCase test = norm_of(form, x, n);
    test.kernel = "cuda_product_norm_sparse";
    Tensor& weights = test.inputs[1].tensor;
    if (form.dtype == kBytes)
      make_sparse(view_weights(weights.data<int8_t>(), weights.shape(), WeightForm::kMatrix), 1);
    else
      make_sparse(view_weights(weights.data<Half>(), weights.shape(), WeightForm::kMatrix), 1);
    return test;
  };
  if (!can_run(sparse({}, {8, 64}, 128))) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  expect_kernel_agrees(sparse({}, {70, 272}, 256));
  expect_kernel_agrees(sparse({.dtype = kHalf, .to_bytes = false, .outputs = 1}, {40, 136}, 384));
  if (!has_gpu()) return;
  expect_kernel_agrees(sparse({}, {4096, 1024}, 1024));
  expect_kernel_agrees(sparse({}, {4096, 4096}, 1024));
  expect_kernel_agrees(sparse({.dtype = kHalf}, {1000, 1024}, 768));
}

// In the tile that is predicted to be the fastest: batches, what was normalized for others, no mean, rows that nobody
// needs, walks of several tiles.
TEST(CudaProductNorm, Forms) {
  KernelCase batch = norm_of({.outputs = 3}, {3, 40, 64}, 128);
  if (!can_run(batch)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  batch.only_usual = true;
  expect_kernel_agrees(batch);
  KernelCase no_mean = norm_of({.bias = false, .offset = 2}, {40, 64}, 256);
  no_mean.attributes.set("center", int64_t{0});
  no_mean.only_usual = true;
  expect_kernel_agrees(no_mean);
  KernelCase few = norm_of({}, {700, 64}, 128);
  few.only_usual = true;
  few.needed_rows = 90, few.all_rows = 700;
  expect_kernel_agrees(few);
  KernelCase many = norm_of({}, {1300, 64}, 256);
  many.only_usual = true;
  expect_kernel_agrees(many);
}

// Weights of zero and a residual that is the same in all columns leave rows without variance, which are the bias; far
// from zero nothing cancels.
TEST(CudaProductNorm, FarFromZero) {
  Form form{.numbers = kFloat, .to_bytes = false, .outputs = 1};
  KernelCase constant = norm_of(form, {40, 64}, 384);
  if (!can_run(constant)) GTEST_SKIP() << "skipped: needs a GPU of Hopper";
  for (size_t i : {2, 3}) constant.inputs[i].tensor = random_tensor(kFloat, {384}, 0, 0);
  for (int64_t i = 0; i < 40 * 384; ++i)
    constant.inputs.back().tensor.data<float>()[i] = 4096 + static_cast<float>(i / 384);
  constant.only_usual = true;
  expect_kernel_agrees(constant);
  form.offset = 1000;
  KernelCase far = norm_of(form, {40, 64}, 1024);
  far.tolerance = 2e-3;  // what floats of that size have left of numbers between -1 and 1
  far.only_usual = true;
  expect_kernel_agrees(far);
}

}  // namespace
}  // namespace hussar
