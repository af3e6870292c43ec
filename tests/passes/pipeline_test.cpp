// The order of the passes.
#include <gtest/gtest.h>

#include <algorithm>

#include "passes/pass.h"

namespace hussar {
namespace {

TEST(Pipeline, EveryPassHasOnePlace) {
  auto order = pipeline_order();
  EXPECT_EQ(order.size(), all_passes().size());
  for (const Pass* pass : all_passes()) {
    EXPECT_EQ(std::count(order.begin(), order.end(), pass->name), 1) << pass->name;
    EXPECT_FALSE(pass->summary.empty()) << pass->name;
    if (pass->after.empty()) continue;
    auto place = std::find(order.begin(), order.end(), pass->name);
    EXPECT_NE(std::find(order.begin(), place, pass->after), place) << pass->name << " runs before " << pass->after;
  }
}

}  // namespace
}  // namespace hussar
