// Several sessions of one plan on one device, each in a thread of its own with its own stream, sharing the constants.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

// No step whose threads wait for each other: the emulated device makes them fibers, which the thread sanitizer does not
// know.
Message model_with_constants() {
  std::vector<float> table(1000 * 7);
  for (size_t i = 0; i < table.size(); ++i) table[i] = 0.01F * static_cast<float>(i % 97);
  return model(graph({{node("Sin", {"x"}, {"a"}), node("Gather", {"table", "rows"}, {"t"}),
                       node("Add", {"a", "t"}, {"b"}), node("Cos", {"b"}, {"y"})},
                      {value("x", {"N", 7}), value("rows", {"N"}, DType::kInt64)},
                      {any_shape("y")},
                      {tensor_of("table", DType::kFloat32, {1000, 7}, table)}}));
}

TEST(CudaThreads, SessionsShareAPlanAndADevice) {
  auto plan = build(model_with_constants().bytes(), for_device());
  ASSERT_TRUE(plan) << plan.error().message;
  constexpr size_t kCallers = 4;
  // Each caller has two shapes of its own.
  std::vector<std::vector<Tensor>> inputs;
  std::vector<Tensor> expected;
  auto alone = Session::create(*plan);
  ASSERT_TRUE(alone) << alone.error().message;
  for (size_t i = 0; i < 2 * kCallers; ++i) {
    inputs.push_back(*make_inputs(**plan, static_cast<uint32_t>(i), 3 + static_cast<int64_t>(i), 100000));
    auto outputs = (*alone)->run_in_order(inputs.back());
    ASSERT_TRUE(outputs) << outputs.error().message;
    expected.push_back((*outputs)[0].clone());
  }
  const DeviceCounts before = device_counts();
  std::atomic<int> wrong{0};
  std::vector<std::thread> threads;
  for (size_t caller = 0; caller < kCallers; ++caller) {
    threads.emplace_back([&, caller] {
      auto session = Session::create(*plan);
      if (!session) {
        ++wrong;
        return;
      }
      for (size_t round = 0; round < 12; ++round) {
        const size_t index = 2 * caller + round % 2;
        auto outputs = (*session)->run_in_order(inputs[index]);
        const bool ok = outputs && (*outputs)[0].shape() == expected[index].shape() &&
                        std::memcmp((*outputs)[0].raw(), expected[index].raw(), expected[index].bytes()) == 0;
        if (!ok) ++wrong;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  if (!is_emulated(use_test_device())) return;
  // The table has been copied to the device once, by the session that was there before: what the four copied is less.
  EXPECT_LT(device_counts().bytes_in - before.bytes_in, 1000 * 7 * 4);
}

}  // namespace
}  // namespace hussar::tests
