// GrowingPages: what was written stays when they grow.
#include "base/memory.h"

#include <gtest/gtest.h>

#include <cstring>

namespace hussar {
namespace {

TEST(GrowingPages, KeepWhatTheyHave) {
  GrowingPages pages;
  EXPECT_EQ(pages.size(), 0U);
  pages.resize(10);
  std::memcpy(pages.data(), "0123456789", 10);
  for (size_t bytes : {size_t(5000), size_t(1) << 17, size_t(40) << 20}) {
    pages.resize(bytes);
    EXPECT_EQ(pages.size(), bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(pages.data()) % 64, 0U);
    EXPECT_EQ(std::memcmp(pages.data(), "0123456789", 10), 0);
    EXPECT_EQ(pages.data()[bytes - 1], std::byte(0));
  }
  EXPECT_THROW(pages.resize(size_t(1) << 60), std::bad_alloc);
}

}  // namespace
}  // namespace hussar
