// Several sessions of one plan in several threads, each with its own inputs, all with the right results.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "compile/calibration_run.h"
#include "tests/support/pipeline.h"
#include "tests/support/small_models.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

std::vector<Tensor> run_copy(Session& session, const std::vector<Tensor>& inputs) {
  auto outputs = session.run_in_order(inputs);
  EXPECT_TRUE(outputs) << outputs.error().message;
  std::vector<Tensor> copies;
  if (outputs) {
    for (const Tensor& output : *outputs) copies.push_back(output.clone());
  }
  return copies;
}

bool equal(const std::vector<Tensor>& a, const std::vector<Tensor>& b) {
  if (a.size() != b.size()) return false;
  for (size_t i = 0; i < a.size(); ++i) {
    if (!(a[i].shape() == b[i].shape()) || std::memcmp(a[i].raw(), b[i].raw(), a[i].bytes()) != 0) return false;
  }
  return true;
}

void expect_right_in_threads(const Message& model, int callers, int rounds) {
  CompileOptions options;
  options.threads = 2;
  auto plan = build(model.bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  // Every caller has its own inputs, of its own shape; the expected results come from a session without rivals.
  std::vector<std::vector<Tensor>> inputs, expected;
  for (int caller = 0; caller < callers; ++caller) {
    inputs.push_back(*make_inputs(**plan, static_cast<uint32_t>(caller), 3 + caller, 1 << 20));
    auto session = Session::create(*plan);
    ASSERT_TRUE(session);
    expected.push_back(run_copy(**session, inputs.back()));
  }
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (int caller = 0; caller < callers; ++caller) {
    threads.emplace_back([&, caller] {
      auto session = Session::create(*plan);
      if (!session) {
        ++wrong;
        return;
      }
      for (int round = 0; round < rounds; ++round) {
        if (!equal(run_copy(**session, inputs[caller]), expected[caller])) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
}

TEST(Threads, ConvolutionSessionsShareAPlan) { expect_right_in_threads(conv_model(), 4, 25); }
TEST(Threads, DenseSessionsShareAPlan) { expect_right_in_threads(dense_model(), 4, 50); }
TEST(Threads, ControlFlowSessionsShareAPlan) { expect_right_in_threads(control_model(), 4, 25); }

// Samples are counted by several threads at a time, to the same counts as one after another.
TEST(Threads, CalibrationCountsInThreads) {
  CompileOptions options;
  options.threads = 4;
  auto plan = build(conv_model().bytes(), options);
  ASSERT_TRUE(plan) << plan.error().message;
  std::vector<DataRun> samples;
  for (uint32_t seed = 0; seed < 24; ++seed)
    samples.push_back({*make_inputs(**plan, seed, 3 + seed % 3, 1 << 20), 1, "sample", seed});
  auto together = CalibrationRun::create(*plan), apart = CalibrationRun::create(*plan);
  ASSERT_TRUE(together && apart);
  std::vector<CalibrationRun::Task> tasks;
  for (const DataRun& sample : samples) {
    tasks.push_back({&sample});
    ASSERT_TRUE((*apart)->run(sample));
  }
  ASSERT_TRUE((*together)->run(tasks));
  EXPECT_GT((*together)->statistics().size(), 1U);
  EXPECT_EQ((*together)->statistics(), (*apart)->statistics());
}

TEST(Threads, ModelsCompileAtTheSameTime) {
  std::atomic<int> failed{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      if (!build(conv_model().bytes())) ++failed;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failed.load(), 0);
}

}  // namespace
}  // namespace hussar
