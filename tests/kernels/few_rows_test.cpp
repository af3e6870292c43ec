// Products of few rows with a right side that is not packed.
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/kernels/tile/tile_limits.h"
#include "compile/freeze.h"
#include "runtime/session.h"
#include "tactics/choose.h"
#include "tactics/problem_grammar.h"
#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

KernelCase product(const Shape& a, const Shape& b, bool trans_a, bool trans_b) {
  KernelCase test;
  test.kernel = "matmul_tile";
  test.op = trans_a || trans_b ? "com.microsoft.FusedMatMul" : "MatMul";
  test.inputs.push_back({random_tensor(DType::kFloat32, a, -1, 1)});
  test.inputs.push_back({random_tensor(DType::kFloat32, b, -1, 1)});
  if (trans_a) test.attributes.set("transA", int64_t{1});
  if (trans_b) test.attributes.set("transB", int64_t{1});
  if (trans_b && a[0] % 2 == 0) test.attributes.set("alpha", 0.5F);
  const int64_t k = a[a.rank() - (trans_a ? 2 : 1)];
  test.tolerance = 2e-6 + 3e-7 * static_cast<double>(k);
  return test;
}

TEST(FewRows, GridOfShapes) {
  for (int64_t m : {1, 2, 3, 4, 5}) {
    for (int64_t n : {1, 3, 8, 16, 17, 40, 129, 2100}) {
      for (int64_t k : {1, 2, 7, 8, 9, 31, 64, 130}) {
        const bool trans_a = (m + n + k) % 3 == 0;
        const Shape a = trans_a ? Shape{k, m} : Shape{m, k};
        expect_kernel_agrees(product(a, {k, n}, trans_a, false));
        expect_kernel_agrees(product(a, {n, k}, trans_a, true));
        if (testing::Test::HasFatalFailure()) return;
      }
    }
  }
  expect_kernel_agrees(product({1, 1024}, {1024, 4096}, false, false));
  expect_kernel_agrees(product({2, 1024}, {1000, 1024}, false, true));
}

// Decoding attention (one matrix per head), broadcast batches of either side, vectors.
TEST(FewRows, Batches) {
  for (int64_t m : {1, 3}) {
    expect_kernel_agrees(product({12, m, 64}, {12, 64, 100}, false, false));
    expect_kernel_agrees(product({12, m, 64}, {12, 100, 64}, false, true));
    expect_kernel_agrees(product({2, 12, m, 33}, {1, 12, 33, 20}, false, false));
    expect_kernel_agrees(product({2, 1, m, 33}, {5, 20, 33}, false, true));
    expect_kernel_agrees(product({1, 4, m, 16}, {3, 1, 16, 50}, false, false));
  }
  expect_kernel_agrees(product({50}, {50, 70}, false, false));
  expect_kernel_agrees(product({50}, {3, 50, 70}, false, false));
  expect_kernel_agrees(product({3, 50}, {50}, false, false));
  expect_kernel_agrees(product({7, 3, 50}, {50}, false, false));
}

// Every matrix of a batch that broadcasts in two directions has rows of its own in what is fused.
TEST(FewRows, FusedOperandsOfUnevenBatches) {
  for (const char* m : {"3", "9"}) {
    const std::string rows = m;
    const std::string text =
        "MatMul x0=2x1x" + rows + "x8 x1=1x5x8x6:float32 x2=2x5x" + rows + "x6 y0=2x5x" + rows + "x6 fuse=";
    for (const char* program : {"add(x2);relu", "mul(x2)"}) {
      std::vector<Tensor> inputs = {random_tensor(DType::kFloat32, {2, 1, std::stoi(rows), 8}),
                                    random_tensor(DType::kFloat32, {1, 5, 8, 6}),
                                    random_tensor(DType::kFloat32, {2, 5, std::stoi(rows), 6})};
      std::vector<Tensor> results;
      for (bool by_reference : {true, false}) {
        auto problem = parse_problem(text + program);
        ASSERT_TRUE(problem.has_value()) << problem.error().message;
        ASSERT_TRUE(problem->graph.sort().has_value());
        auto plan = freeze(problem->graph, Target{static_cast<int>(cpu::active_isa()), 2}, [&](const Problem& asked) {
          Choice choice = choose(asked);
          if (by_reference) choice.chosen = -1;
          return choice;
        });
        ASSERT_TRUE(plan.has_value()) << plan.error().message;
        auto session = Session::create(std::make_shared<Plan>(std::move(*plan)));
        ASSERT_TRUE(session.has_value()) << session.error().message;
        auto outputs = (*session)->run_in_order(inputs);
        ASSERT_TRUE(outputs.has_value()) << outputs.error().message;
        results.push_back((*outputs)[0].clone());
      }
      for (int64_t i = 0; i < results[0].elements(); ++i) {
        ASSERT_NEAR(results[1].data<float>()[i], results[0].data<float>()[i], 1e-4) << text << program << " at " << i;
      }
    }
  }
}

}  // namespace

namespace cpu {
namespace {

TEST(FewRows, EpiloguesAndShares) {
  Program program{};
  program.step_count = 2;
  program.operand_count = 2;
  program.steps[0] = {ProgramOp::kMul, 0, 0, ProgramSource::kOperand, 0, {}, 0, 0};
  program.steps[1] = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, 1, {}, 0, 0};
  for (int64_t m = 1; m <= kFewRows; ++m) {
    for (int kind = 0; kind < 8; ++kind) {
      const int64_t batch = 3, n = 150, k = 37, c_pitch = n + 5;
      const bool transposed = kind >= 4;
      const std::vector<float> a = random_floats(batch * m * k), b = random_floats(batch * k * n);
      const std::vector<float> bias = random_floats(n), scale = random_floats(n),
                               residual = random_floats(batch * m * n);
      const ProgramOperand operands[] = {{scale.data(), 0, 1}, {residual.data(), n, 1}};
      std::vector<float> panels(batch * panel_floats(k, n));
      const int64_t row_stride = transposed ? 1 : n, column_stride = transposed ? k : 1;
      for (int64_t i = 0; i < batch; ++i) {
        pack_panels(b.data() + i * k * n, k, n, row_stride, column_stride, panels.data() + i * panel_floats(k, n));
      }
      GemmArgs args;
      args.batch = batch, args.m = m, args.n = n, args.k = k;
      args.a = a.data(), args.a_batch_stride = m * k, args.a_row_stride = k;
      args.c_batch_stride = m * c_pitch, args.c_row_stride = c_pitch;
      Epilogue& e = args.epilogue;
      if (kind % 4 >= 1) e.bias = bias.data(), e.low = -0.5f, e.high = 1.5f;
      if (kind % 4 == 2) e.residual = residual.data(), e.residual_pitch = n, e.hard_swish = true, e.shift = 0.5f;
      if (kind % 4 == 3) e.program = &program, e.operands = operands;
      for (Isa isa : available_levels()) {
        const TileTable& table = select_tile_table(isa);
        std::vector<float> expected(batch * m * c_pitch, 7.0f), scratch(tile_scratch_bytes(k) / 4, NAN), first;
        args.b = panels.data(), args.b_batch_stride = panel_floats(k, n), args.c = expected.data();
        table.gemm(args, {0, 1}, scratch.data());
        for (int shares = 1; shares <= 4; ++shares) {
          std::vector<float> c(expected.size(), 7.0f);
          args.b = b.data(), args.b_batch_stride = k * n, args.c = c.data();
          for (int share = 0; share < shares; ++share) {
            table.few_rows({args, row_stride, column_stride}, {share, shares}, scratch.data());
          }
          if (first.empty()) first = c;
          ASSERT_EQ(c, first) << shares << " shares";
        }
        for (size_t i = 0; i < expected.size(); ++i) {
          ASSERT_NEAR(first[i], expected[i], 2e-5) << isa_name(isa) << " rows " << m << " kind " << kind << " at " << i;
        }
      }
    }
  }
}

}  // namespace
}  // namespace cpu
}  // namespace hussar
