// The whole pipeline on the small models in tests/bad_input/seeds: with every pass, without each of them, and without
// any, a plan computes what the imported graph does.
#include <gtest/gtest.h>

#include "compile/difference.h"
#include "onnx/import.h"
#include "ops/evaluate.h"
#include "tests/support/pipeline.h"
#include "tests/support/seeds.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

constexpr double kTolerance = 1e-4;

class PassPipeline : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    model_ = seed_bytes(GetParam());
    auto [bytes, owner] = aligned_copy(model_);
    auto imported = onnx::import_bytes(bytes, owner, "");
    ASSERT_TRUE(imported) << imported.error().message;
    auto plan = build(model_);
    ASSERT_TRUE(plan) << plan.error().message;
    auto inputs = make_inputs(**plan, 1, 2, 100000);
    ASSERT_TRUE(inputs);
    inputs_ = std::move(*inputs);
    auto outputs = evaluate_graph(imported->graph, inputs_);
    ASSERT_TRUE(outputs) << outputs.error().message;
    for (const Tensor& output : *outputs) expected_.push_back(output.clone());
  }

  void expect_same_without(const std::vector<std::string>& disabled) {
    CompileOptions options;
    options.threads = 2;
    options.disabled_passes = disabled;
    auto plan = build(model_, options);
    ASSERT_TRUE(plan) << plan.error().message;
    auto session = Session::create(*plan);
    ASSERT_TRUE(session) << session.error().message;
    auto outputs = (*session)->run_in_order(inputs_);
    ASSERT_TRUE(outputs) << outputs.error().message;
    ASSERT_EQ(outputs->size(), expected_.size());
    for (size_t i = 0; i < expected_.size(); ++i) {
      Difference apart = difference(expected_[i], (*outputs)[i]);
      EXPECT_LE(apart.error(), kTolerance) << "output " << i << " " << apart.incomparable;
    }
  }

  std::vector<std::byte> model_;
  std::vector<Tensor> inputs_, expected_;
};

TEST_P(PassPipeline, WithoutEachPass) {
  for (std::string_view pass : pipeline_order()) {
    SCOPED_TRACE(pass);
    expect_same_without({std::string(pass)});
  }
}

TEST_P(PassPipeline, WithAllAndWithNone) {
  expect_same_without({});
  expect_same_without({"all"});
}

// What --verify-passes does.
TEST_P(PassPipeline, EveryPassKeepsTheOutputs) {
  auto [bytes, owner] = aligned_copy(model_);
  auto imported = onnx::import_bytes(bytes, owner, "");
  ASSERT_TRUE(imported) << imported.error().message;
  CompileOptions options;
  options.verify_passes = true;
  options.verify_tolerance = kTolerance;
  CompileReport report;
  auto plan = compile_graph(std::move(imported->graph), options, &report);
  ASSERT_TRUE(plan) << plan.error().message;
  for (const PassRecord& pass : report.passes) EXPECT_EQ(pass.error.has_value(), pass.rewrites > 0) << pass.name;
}

INSTANTIATE_TEST_SUITE_P(Seeds, PassPipeline, ::testing::ValuesIn(seed_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hussar
