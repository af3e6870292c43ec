// Cache files: what is written is read, files merge, damage is named.
#include "tactics/timing_cache.h"

#include <gtest/gtest.h>

namespace hussar {
namespace {

TEST(TimingCache, WrittenAndRead) {
  TimingCache cache;
  cache.record("cpu", "MatMul x0=1x2", "matmul_tile@1", 12.5);
  cache.record("cpu", "MatMul x0=1x2", "matmul_amx@3", 7);
  TimingCache again;
  ASSERT_TRUE(again.merge(cache.to_string()));
  EXPECT_EQ(again.size(), 2U);
  EXPECT_EQ(again.find("cpu", "MatMul x0=1x2", "matmul_tile@1"), 12.5);
  EXPECT_EQ(again.find("cpu", "MatMul x0=1x2", "matmul_tile@2"), std::nullopt);
  EXPECT_EQ(again.find("other", "MatMul x0=1x2", "matmul_tile@1"), std::nullopt);
  EXPECT_EQ(again.to_string(), cache.to_string());
}

TEST(TimingCache, FilesMergeByConcatenation) {
  TimingCache one, two, both, swapped;
  one.record("cpu", "a", "k@1", 5);
  one.record("cpu", "b", "k@1", 6);
  two.record("cpu", "a", "k@1", 4);
  ASSERT_TRUE(both.merge(one.to_string() + two.to_string()));
  ASSERT_TRUE(swapped.merge(two.to_string()));
  ASSERT_TRUE(swapped.merge(one.to_string()));
  EXPECT_EQ(both.size(), 2U);
  EXPECT_EQ(both.find("cpu", "a", "k@1"), 4);
  EXPECT_EQ(both.to_string(), swapped.to_string());
}

TEST(TimingCache, DamageIsNamed) {
  const std::string head = "# hussar timing cache 1\n";
  TimingCache cache;
  EXPECT_TRUE(cache.merge(""));
  EXPECT_TRUE(cache.merge(head + "\n# a comment\n"));
  EXPECT_FALSE(cache.merge("cpu\ta\tk@1\t5\n"));
  for (const char* line : {"cpu\ta\tk@1\n", "cpu\ta\tk@1\tfast\n", "cpu\ta\tk@1\t-1\n", "cpu\ta\tk@1\t0\n",
                           "cpu\ta\tk@1\tnan\n", "cpu\ta\tk@1\t5 \n", "cpu a k@1 5\n", "x\tcpu\ta\tk@1\t5\n"}) {
    auto status = cache.merge(head + line);
    ASSERT_FALSE(status) << line;
    EXPECT_NE(status.error().message.find("line 2"), std::string::npos) << status.error().message;
  }
  EXPECT_EQ(cache.size(), 0U);
}

}  // namespace
}  // namespace hussar
