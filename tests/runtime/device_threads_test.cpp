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
  std::vector<float> numbers(100 * 7);
  for (size_t i = 0; i < numbers.size(); ++i) numbers[i] = 0.01F * static_cast<float>(static_cast<int>(i % 97) - 48);
  return model(graph({{node("Add", {"x", "c"}, {"a"}), node("Relu", {"a"}, {"b"}), node("Mul", {"b", "c"}, {"y"})},
                      {value("x", {"N", 100, 7})},
                      {any_shape("y")},
                      {tensor_of("c", DType::kFloat32, {100, 7}, numbers)}}));
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
  std::atomic<int64_t> given{0};
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
        given += static_cast<int64_t>(inputs[index][0].bytes());
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong.load(), 0);
  if (!is_emulated(use_test_device())) return;
  // The constants have been copied to the device once, by the session that was there before.
  EXPECT_EQ(device_counts().bytes_in - before.bytes_in, given.load());
}

}  // namespace
}  // namespace hussar::tests
