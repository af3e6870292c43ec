// Steps that go back to FP32: which, and that they do. Models whose errors add up in known ways stand in for plans.
#include "compile/keep_fp32.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/isa.h"
#include "compile/compile.h"
#include "compile/precision.h"
#include "onnx/import.h"
#include "tests/support/onnx_writer.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

constexpr int kMostTrials = 8;

struct Outcome {
  Kept kept;
  double error = 0;
  int trials = 0;
  int64_t count() const { return std::count(kept.begin(), kept.end(), true); }
};

// Independent errors: their squares add up.
Outcome choose_for(const std::vector<double>& errors, double tolerance) {
  Outcome outcome;
  auto error_of = [&](const Kept& kept) {
    double sum = 0;
    for (size_t i = 0; i < errors.size(); ++i) sum += kept[i] ? 0 : errors[i] * errors[i];
    return std::sqrt(sum);
  };
  auto trial = [&](const Kept& kept) -> Result<double> {
    ++outcome.trials;
    return error_of(kept);
  };
  auto kept = choose_kept(errors.size(), tolerance, kMostTrials, trial);
  EXPECT_TRUE(kept.has_value());
  outcome.kept = kept.value_or(Kept(errors.size(), false));
  outcome.error = error_of(outcome.kept);
  return outcome;
}

TEST(PassKeepFp32, WhatIsAmplifiedMost) {
  // Every step makes the same error, and all later ones amplify it.
  std::vector<double> errors(48);
  for (size_t i = 0; i < errors.size(); ++i) errors[i] = 1e-2 * std::pow(0.95, static_cast<double>(i));
  Outcome outcome = choose_for(errors, 2e-2);
  EXPECT_LE(outcome.error, 2e-2);
  EXPECT_LE(outcome.trials, kMostTrials);
  EXPECT_TRUE(outcome.kept.front());
  EXPECT_LE(outcome.count(), 12);
  std::reverse(errors.begin(), errors.end());
  outcome = choose_for(errors, 2e-2);
  EXPECT_LE(outcome.error, 2e-2);
  EXPECT_TRUE(outcome.kept.back());
  EXPECT_LE(outcome.count(), 12);
}

TEST(PassKeepFp32, SingleSteps) {
  constexpr double kInfinite = std::numeric_limits<double>::infinity();
  for (size_t bad : {0U, 5U, 9U, 15U}) {
    std::vector<double> errors(16, 1e-4);
    errors[bad] = kInfinite;
    Outcome outcome = choose_for(errors, 1e-2);
    EXPECT_TRUE(outcome.kept[bad]);
    EXPECT_EQ(outcome.count(), 1) << bad;
  }
  // Two that lie apart, and a model of one step.
  std::vector<double> errors(16, 1e-4);
  errors[3] = errors[12] = kInfinite;
  Outcome outcome = choose_for(errors, 1e-2);
  EXPECT_LE(outcome.error, 1e-2);
  EXPECT_LE(outcome.trials, kMostTrials);
  EXPECT_LT(outcome.count(), 16);
  EXPECT_EQ(choose_for({1}, 1e-2).count(), 1);
}

TEST(PassKeepFp32, AllWhereNothingLessHelps) {
  Outcome outcome = choose_for(std::vector<double>(32, 1), 1e-2);
  EXPECT_EQ(outcome.error, 0);
  EXPECT_LE(outcome.trials, kMostTrials);
  auto broken = [](const Kept&) -> Result<double> { return fail(ErrorCode::kRunFailed, "out of plans"); };
  EXPECT_FALSE(choose_kept(4, 1e-2, kMostTrials, broken).has_value());
}

TEST(PassKeepFp32, ByTheirOutputs) {
  std::vector<float> weights(64 * 64, 0.01F);
  Message bytes = model(graph(
      {{node("MatMul", {"x", "a"}, {"m"}), node("Relu", {"m"}, {"r"}), node("MatMul", {"r", "b"}, {"y"})},
       {value("x", {8, 64})},
       {any_shape("y")},
       {tensor_of("a", DType::kFloat32, {64, 64}, weights), tensor_of("b", DType::kFloat32, {64, 64}, weights)}}));
  CompileOptions options;
  options.isa = static_cast<int>(cpu::Isa::kAvx512Fp16);
  options.fp16 = true;
  auto compiled = [&] {
    auto imported = onnx::import_bytes(bytes.bytes(), nullptr, "");
    EXPECT_TRUE(imported.has_value());
    auto plan = compile_graph(std::move(imported->graph), options);
    EXPECT_TRUE(plan.has_value()) << (plan ? "" : plan.error().message);
    return std::move(*plan);
  };
  std::vector<HalfStep> steps = half_steps(compiled().graph, DType::kFloat16);
  ASSERT_EQ(steps.size(), 2U);
  options.inexact_in_half = {steps[1].output};
  Plan plan = compiled();
  ASSERT_EQ(half_steps(plan.graph, DType::kFloat16).size(), 1U);
  EXPECT_EQ(half_steps(plan.graph, DType::kFloat16)[0].output, steps[0].output);
  const PlanStep& last = plan.graph.steps.back();
  EXPECT_NE(last.report.find("matmul_fp16: refused, kept in FP32: FP16 would exceed the tolerance"), std::string::npos)
      << last.report;
}

}  // namespace
}  // namespace hussar
