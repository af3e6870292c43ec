// Sessions that are used with several shapes in turn: what was prepared for one is there when it comes again.
#include <gtest/gtest.h>

#include <cstring>

#include "tests/support/allocations.h"
#include "tests/support/device_models.h"

namespace hussar::tests {
namespace {

// A session, and for each size an input and what a session that has seen no other size makes of it.
struct Sizes {
  std::shared_ptr<const Plan> plan;
  std::unique_ptr<Session> session;
  std::vector<std::vector<Tensor>> inputs, expected;

  Sizes(const Message& model, const CompileOptions& options, std::initializer_list<int64_t> sizes) {
    auto built = build(model.bytes(), options);
    EXPECT_TRUE(built) << built.error().message;
    plan = *built;
    session = *Session::create(plan);
    for (int64_t size : sizes) {
      inputs.push_back(*make_inputs(*plan, static_cast<uint32_t>(size), size, 100000));
      auto fresh = *Session::create(plan);
      auto outputs = fresh->run_in_order(inputs.back());
      EXPECT_TRUE(outputs) << outputs.error().message;
      expected.emplace_back();
      for (const Tensor& output : *outputs) expected.back().push_back(output.clone());
    }
  }
  void run(size_t index) {
    auto outputs = session->run_in_order(inputs[index]);
    ASSERT_TRUE(outputs) << outputs.error().message;
    for (size_t i = 0; i < outputs->size(); ++i) {
      ASSERT_EQ((*outputs)[i].shape(), expected[index][i].shape());
      EXPECT_EQ(std::memcmp((*outputs)[i].raw(), expected[index][i].raw(), (*outputs)[i].bytes()), 0)
          << "size " << index << ", output " << i;
    }
  }
};

// Shapes that only the data decide, behind steps that depend on shapes alone.
Message dynamic_model() {
  return model(graph({{node("Sin", {"x"}, {"a"}), node("NonZero", {"a"}, {"b"}),
                       node("Cast", {"b"}, {"c"}, {attribute("to", static_cast<int64_t>(DType::kFloat32))}),
                       node("Cos", {"c"}, {"y"})},
                      {value("x", {"N", 3})},
                      {any_shape("y")},
                      {}}));
}

// A shape that the elements of a settled value decide: what the first run leaves must outlast runs with other shapes.
Message settled_positions_model() {
  return model(graph({{node("Shape", {"x"}, {"s"}),
                       node("ConstantOfShape", {"s"}, {"ones"},
                            {tensor_attribute("value", tensor_of("", DType::kInt64, {1}, std::vector<int64_t>{1}))}),
                       node("NonZero", {"ones"}, {"p"}),
                       node("Cast", {"p"}, {"f"}, {attribute("to", static_cast<int64_t>(DType::kFloat32))}),
                       node("Cos", {"f"}, {"y"}), node("Sin", {"x"}, {"z"})},
                      {value("x", {"N", 3})},
                      {any_shape("y"), any_shape("z")},
                      {}}));
}

// A reference step with an output that nobody takes, of another shape each time.
Message untaken_model() {
  return model(graph({{node("TopK", {"x", "k"}, {"", "p"}),
                       node("Cast", {"p"}, {"f"}, {attribute("to", static_cast<int64_t>(DType::kFloat32))}),
                       node("Cos", {"f"}, {"y"})},
                      {value("x", {"N", 3})},
                      {any_shape("y")},
                      {tensor_of("k", DType::kInt64, {1}, std::vector<int64_t>{2})}}));
}

TEST(CudaBindings, SwitchingRecordsNothing) {
  for (const Message& model : {conv_model(), dense_model(), settled_model(), host_between_model()}) {
    // The largest comes last, so that memory moves under what was recorded.
    Sizes sizes(model, for_device(), {3, 5, 8});
    for (int round = 0; round < 4; ++round) {
      for (size_t i = 0; i < 3; ++i) sizes.run(i);
    }
    const DeviceCounts before = device_counts();
    for (size_t i : {0, 2, 0, 1, 1, 2, 0}) sizes.run(i);
    EXPECT_EQ(device_counts().recordings, before.recordings);
    EXPECT_EQ(device_counts().allocations, before.allocations);
  }
}

// One recording for each shape, and one more for those whose memory has moved since.
TEST(CudaBindings, RecordOncePerShape) {
  if (!is_emulated(use_test_device())) GTEST_SKIP() << "only the emulated device counts";
  Sizes sizes(settled_model(), for_device(), {8, 5});
  const DeviceCounts before = device_counts();
  for (int round = 0; round < 5; ++round) {
    sizes.run(0);
    sizes.run(1);
  }
  EXPECT_EQ(device_counts().recordings - before.recordings, 2);
}

// More shapes than are kept: right results, and the latest are kept.
TEST(CudaBindings, TheOldestIsForgotten) {
  Sizes sizes(settled_model(), for_device(), {12, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  for (int round = 0; round < 2; ++round) {
    for (size_t i = 0; i < sizes.inputs.size(); ++i) {
      sizes.run(i);
      sizes.run(i);
    }
  }
  const DeviceCounts before = device_counts();
  for (size_t i = 2; i < sizes.inputs.size(); ++i) sizes.run(i);
  EXPECT_EQ(device_counts().recordings, before.recordings);
  sizes.run(0);
  sizes.run(0);
  if (is_emulated(use_test_device())) EXPECT_EQ(device_counts().recordings, before.recordings + 1);
}

// Also when a binding between fails.
TEST(CudaBindings, ARefusedShapeForgetsNothing) {
  Sizes sizes(settled_model(), for_device(), {3, 2});
  for (size_t i : {0, 1, 0, 1, 0, 1}) sizes.run(i);
  const DeviceCounts before = device_counts();
  const std::vector<Tensor> wrong = {Tensor(DType::kFloat32, {2, 2, 2, 2, 2})};
  ASSERT_FALSE(sizes.session->run_in_order(wrong));
  for (size_t i : {0, 1, 0, 1}) sizes.run(i);
  EXPECT_EQ(device_counts().recordings, before.recordings);
}

TEST(Bindings, UntakenOutputsAreOfReferenceSteps) {
  const Sizes sizes(untaken_model(), {}, {3});
  const PlanStep& step = sizes.plan->graph.steps.front();
  EXPECT_EQ(step.kernel, kReferenceKernel);
  ASSERT_FALSE(step.outputs.empty());
  EXPECT_LT(step.outputs.front(), 0);
}

TEST(Bindings, ShapesInTurnGiveTheSameResults) {
  for (const Message& model : {conv_model(), dense_model(), control_model(), settled_model(), dynamic_model(),
                               identity_model(), host_between_model(), settled_positions_model(), untaken_model()}) {
    CompileOptions options;
    options.threads = 1;
    Sizes sizes(model, options, {3, 1, 8, 2, 4, 5, 6, 7, 9, 10});
    for (int round = 0; round < 3; ++round) {
      for (size_t i : {0, 1, 0, 2, 3, 3, 1, 4, 5, 6, 7, 8, 9, 0, 2, 1}) sizes.run(i);
    }
  }
}

// What was prepared before finds its memory again when other shapes have asked for more than there is.
void expect_kept_after_too_large_a_shape(const CompileOptions& options) {
  Sizes sizes(conv_model(), options, {3, 8});
  for (size_t i : {0, 1, 0, 1}) sizes.run(i);
  const std::vector<Tensor> huge = {Tensor::view(DType::kFloat32, {1, 3, 1 << 20, 1 << 20}, sizes.inputs[0][0].raw())};
  ASSERT_FALSE(sizes.session->run_in_order(huge));
  for (size_t i : {0, 1, 0, 1}) sizes.run(i);
}

TEST(Bindings, TooLargeAShapeForgetsNothing) { expect_kept_after_too_large_a_shape({}); }
TEST(CudaBindings, TooLargeAShapeForgetsNothing) { expect_kept_after_too_large_a_shape(for_device()); }

TEST(Bindings, SwitchingAllocatesNothing) {
  if (!can_count_allocations()) GTEST_SKIP() << "a sanitizer counts them";
  CompileOptions options;
  options.threads = 1;
  for (const Message& model :
       {conv_model(), control_model(), dynamic_model(), settled_model(), settled_positions_model()}) {
    Sizes sizes(model, options, {3, 8});
    for (size_t i : {0, 1, 0, 1}) sizes.run(i);
    for (size_t i : {0, 1, 0}) {
      const int64_t before = allocation_count();
      auto outputs = sizes.session->run_in_order(sizes.inputs[i]);
      EXPECT_EQ(allocation_count(), before) << sizes.plan->graph.steps.front().name;
      ASSERT_TRUE(outputs);
    }
  }
}

}  // namespace
}  // namespace hussar::tests
