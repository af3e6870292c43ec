// What is known of integers that a model takes: the rows of the tables that they are indices of.
#include "compile/index_bounds.h"

#include <algorithm>

#include "compile/compile.h"
#include "compile/quantization.h"
#include "compile/sample.h"
#include "tests/passes/pass_case.h"
#include "tests/support/device_models.h"
#include "tests/support/encoder_model.h"

namespace hussar {
namespace {

using Bounds = std::vector<std::optional<int64_t>>;

// Of a graph with one input, [2, 6] int64.
std::optional<int64_t> bound(const std::function<void(GraphCase&, Value*)>& build) {
  GraphCase test;
  build(test, test.input({2, 6}, DType::kInt64));
  auto inferred = infer_graph(test.graph);
  EXPECT_TRUE(inferred) << inferred.error().message;
  return index_bounds(test.graph).at(0);
}
Value* gather(GraphCase& test, Value* ids, int64_t rows) { return test.make("Gather", {test.weights({rows, 4}), ids}); }
Attributes to(DType dtype) { return with({{"to", static_cast<int64_t>(dtype)}}); }

TEST(IndexBounds, TheShortestTable) {
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) {
              test.output(gather(test, ids, 900));
              test.output(gather(test, ids, 70));
              test.output(gather(test, ids, 800));
            }),
            70);
}

TEST(IndexBounds, ThroughWhatMovesThem) {
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) {
              Value* moved = test.transpose(test.make("Cast", {ids}, to(DType::kInt32)), {1, 0});
              Value* both = test.make("Concat", {moved, moved}, with({{"axis", int64_t{0}}}));
              test.output(gather(test, test.reshape(both, {-1}), 90));
            }),
            90);
}

TEST(IndexBounds, AlongTheAxis) {
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) {
              test.output(test.make("Gather", {test.weights({4, 50}), ids}, with({{"axis", int64_t{-1}}})));
            }),
            50);
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) {
              test.output(test.make("GatherElements", {test.weights({2, 31}), ids}, with({{"axis", int64_t{1}}})));
            }),
            31);
}

// Comparing them, or making numbers of them, leaves them what they are.
TEST(IndexBounds, BesideMasks) {
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) {
              test.output(test.make("Equal", {ids, test.number(1, DType::kInt64)}));
              test.output(test.make("Cast", {ids}, to(DType::kFloat32)));
              test.output(test.make("Shape", {ids}));
              test.output(gather(test, ids, 90));
            }),
            90);
}

TEST(IndexBounds, UnknownWhereTheyAreNoIndices) {
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) { test.output(test.make("Cast", {ids}, to(DType::kFloat32))); }),
            std::nullopt);
}

// The sum may be an index of a shorter table.
TEST(IndexBounds, UnknownWhereIntegersAreComputed) {
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) {
              test.output(gather(test, ids, 90));
              test.output(gather(test, test.make("Add", {ids, test.number(2, DType::kInt64)}), 8));
            }),
            std::nullopt);
  EXPECT_EQ(bound([](GraphCase& test, Value* ids) {
              test.output(gather(test, ids, 90));
              test.output(test.make("ScatterElements", {test.weights({2, 6}), ids, test.weights({2, 6})}));
            }),
            std::nullopt);
}

// By the names of the inputs of small encoders, 1100 words.
void expect_facts(const std::vector<InputFacts>& facts) {
  ASSERT_EQ(facts.size(), 2U);
  for (const InputFacts& input : facts) EXPECT_EQ(input.below, input.name == "ids" ? 1100 : 2) << input.name;
}

TEST(IndexBounds, OfPlans) {
  tests::EncoderForm form;
  form.width = 64;
  form.words = 1100;
  form.layers = 1;
  const tests::Message model = tests::encoder_model(form);
  for (const bool on_device : {false, true}) {
    for (const bool int8 : {false, true}) {
      CompileOptions options = on_device ? tests::for_device() : CompileOptions{};
      options.threads = 1;
      if (on_device && int8 && options.sm == 0) options.sm = 80;  // of the emulated one
      if (int8) {
        options.quantization = dynamic_quantization({}, on_device);
        options.chooses_int8 = false;
      }
      auto plan = tests::build(model.bytes(), options);
      ASSERT_TRUE(plan) << plan.error().message;
      const auto& steps = (*plan)->graph.steps;
      const bool has_bytes = std::any_of(steps.begin(), steps.end(), [](const PlanStep& step) {
        return step.op == "hussar.GatherBytes" || step.op == "hussar.EmbeddingNorm";
      });
      EXPECT_EQ(has_bytes, on_device || int8);
      expect_facts(input_facts((*plan)->graph));
    }
  }
}

std::vector<int64_t> made_up(const InputFacts& input, uint64_t seed) {
  const Tensor tensor = random_input(input, {4, 250}, seed);
  return {tensor.data<int64_t>(), tensor.data<int64_t>() + tensor.elements()};
}

TEST(IndexBounds, InputsAreDrawnOverTheTable) {
  InputFacts input;
  input.name = "ids";
  input.dtype = DType::kInt64;
  for (const int64_t below : {1, 2, 3, 30522}) {
    input.below = below;
    const std::vector<int64_t> numbers = made_up(input, 1);
    const auto [least, most] = std::minmax_element(numbers.begin(), numbers.end());
    EXPECT_GE(*least, 0);
    EXPECT_LT(*most, below);
    // A thousand of them come close to both ends.
    EXPECT_LE(*least, below / 20);
    EXPECT_GE(*most, below - 1 - below / 20);
    EXPECT_EQ(numbers, made_up(input, 1));
    EXPECT_EQ(numbers == made_up(input, 2), below == 1);
  }
}

}  // namespace
}  // namespace hussar
