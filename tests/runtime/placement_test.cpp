// What is copied between host and device, and what a device can do alone.
#include "runtime/placement.h"

#include <gtest/gtest.h>

namespace hussar {
namespace {

PlanStep step(std::vector<int32_t> inputs, std::vector<int32_t> outputs) {
  PlanStep step;
  step.inputs = std::move(inputs);
  step.outputs = std::move(outputs);
  return step;
}

std::vector<int32_t> roots(const std::vector<SideCopy>& copies) {
  std::vector<int32_t> list;
  for (const SideCopy& copy : copies) list.push_back(copy.root);
  return list;
}

constexpr StepPlace kHostStep = {Place::kHost, false, false}, kDeviceStep = {Place::kDevice, false, false};

// x -> s0 -> a -> s1 -> b -> s2 -> y
PlanGraph chain() {
  PlanGraph graph;
  graph.values.resize(4);
  graph.values[0].storage = Storage::kInput;
  for (int32_t i = 0; i < 3; ++i) graph.steps.push_back(step({i}, {i + 1}));
  graph.inputs = {0};
  graph.outputs = {3};
  return graph;
}

TEST(Placement, ADeviceAloneGetsInputsAndGivesOutputs) {
  const Placement placement = place_values(chain(), {kDeviceStep, kDeviceStep, kDeviceStep});
  EXPECT_EQ(roots(placement.start), std::vector<int32_t>{0});
  EXPECT_EQ(roots(placement.end), std::vector<int32_t>{3});
  for (const auto& copies : placement.before) EXPECT_TRUE(copies.empty());
  ASSERT_EQ(placement.segments.size(), 1U);
  EXPECT_EQ(placement.segments[0].first, 0U);
  EXPECT_EQ(placement.segments[0].last, 2U);
  EXPECT_EQ(placement.on_host, (std::vector<bool>{true, false, false, true}));
  EXPECT_EQ(placement.on_device, (std::vector<bool>{true, true, true, true}));
}

TEST(Placement, AStepOfTheHostGetsCopiesAndEndsTheSegment) {
  const Placement placement = place_values(chain(), {kDeviceStep, kHostStep, kDeviceStep});
  ASSERT_EQ(roots(placement.before[1]), std::vector<int32_t>{1});
  EXPECT_EQ(placement.before[1][0].to, Place::kHost);
  ASSERT_EQ(roots(placement.before[2]), std::vector<int32_t>{2});
  EXPECT_EQ(placement.before[2][0].to, Place::kDevice);
  ASSERT_EQ(placement.segments.size(), 2U);
  EXPECT_EQ(placement.segments[0].last, 0U);
  EXPECT_EQ(placement.segments[1].first, 2U);
}

// What callers who have an input on the device, or want an output there, need to know.
TEST(Placement, KnowsWhatTheHostReadsAndWhereOutputsAre) {
  Placement placement = place_values(chain(), {kDeviceStep, kDeviceStep, kDeviceStep});
  EXPECT_FALSE(placement.is_read_on_host[0]);
  EXPECT_TRUE(placement.ends_on_device[0]);
  EXPECT_FALSE(placement.has_host_steps);
  placement = place_values(chain(), {kHostStep, kDeviceStep, kHostStep});
  EXPECT_TRUE(placement.is_read_on_host[0]);
  EXPECT_FALSE(placement.ends_on_device[0]);
  EXPECT_TRUE(placement.has_host_steps);
  // A settled step looks at the shape of the input.
  placement = place_values(chain(), {{Place::kHost, false, true}, kDeviceStep, kDeviceStep});
  EXPECT_FALSE(placement.is_read_on_host[0]);
  EXPECT_FALSE(placement.has_host_steps);
  // An output that is the input.
  PlanGraph graph = chain();
  graph.outputs = {0};
  placement = place_values(graph, {kDeviceStep, kDeviceStep, kDeviceStep});
  EXPECT_TRUE(placement.is_read_on_host[0]);
}

TEST(Placement, WhatIsThereIsNotCopiedAgain) {
  PlanGraph graph = chain();
  graph.steps[2] = step({0, 1, 2}, {3});
  const Placement placement = place_values(graph, {kHostStep, kDeviceStep, kDeviceStep});
  EXPECT_EQ(roots(placement.start), std::vector<int32_t>{0});
  EXPECT_EQ(roots(placement.before[1]), std::vector<int32_t>{1});
  EXPECT_TRUE(placement.before[2].empty());
}

TEST(Placement, AWriterOfAPartNeedsTheRest) {
  // Two steps write parts (2 and 3) of value 1, one on each side; a third reads all of it.
  PlanGraph graph;
  graph.values.resize(5);
  graph.values[0].storage = Storage::kInput;
  for (int32_t part : {2, 3}) {
    graph.values[static_cast<size_t>(part)].storage = Storage::kAlias;
    graph.values[static_cast<size_t>(part)].alias_of = 1;
  }
  graph.steps.push_back(step({0}, {2}));
  graph.steps.push_back(step({0}, {3}));
  graph.steps.push_back(step({1}, {4}));
  graph.inputs = {0};
  graph.outputs = {4};
  const Placement placement = place_values(graph, {kDeviceStep, kHostStep, kDeviceStep});
  ASSERT_EQ(roots(placement.before[1]), std::vector<int32_t>{1});
  EXPECT_EQ(placement.before[1][0].to, Place::kHost);
  ASSERT_EQ(roots(placement.before[2]), std::vector<int32_t>{1});
  EXPECT_EQ(placement.before[2][0].to, Place::kDevice);
}

TEST(Placement, WhatDependsOnShapesIsCopiedOnceAndLeavesTheSegmentWhole) {
  StepPlace settled = kHostStep;
  settled.is_settled = true;
  PlanGraph graph = chain();
  graph.steps[1] = step({}, {2});
  graph.steps[2] = step({1, 2}, {3});
  const Placement placement = place_values(graph, {kDeviceStep, settled, kDeviceStep});
  ASSERT_EQ(placement.before[2].size(), 1U);
  EXPECT_TRUE(placement.before[2][0].is_settled);
  ASSERT_EQ(placement.segments.size(), 1U);
  EXPECT_EQ(placement.segments[0].last, 2U);
}

}  // namespace
}  // namespace hussar
