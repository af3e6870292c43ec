// What the whole plan decides between kernels, by scripted times: who is challenged, who wins, what a cache knows of
// it.
#include "compile/plan_contests.h"

#include <gtest/gtest.h>

#include "tests/support/emulated_device.h"

namespace hussar::tests {
namespace {

// ---- one contest

struct Held {
  std::optional<Duel> duel;
  std::string order;  // "icci": incumbent, challenger, ...
};

// The incumbent takes 1000 us; the challenger, in its pairs, these parts of that.
Held hold(const std::vector<double>& ratios, size_t most_pairs = 100) {
  Held held;
  size_t pair = 0;
  auto time_left = [&] { return ++pair < most_pairs; };
  auto incumbent = [&]() -> Result<double> {
    held.order += 'i';
    return 1000.0;
  };
  auto challenger = [&]() -> Result<double> {
    held.order += 'c';
    return 1000 * ratios[std::min(pair, ratios.size() - 1)];
  };
  auto duel = hold_duel(incumbent, challenger, time_left);
  EXPECT_TRUE(duel);
  if (duel) held.duel = *duel;
  return held;
}

TEST(CudaPlanContests, WhatIsPlainTakesFivePairsInTurn) {
  const Held ahead = hold({0.9}), behind = hold({1.001});
  EXPECT_EQ(ahead.order, "icciicciic");
  EXPECT_EQ(behind.order, "icciicciic");
  ASSERT_TRUE(ahead.duel && behind.duel);
  EXPECT_TRUE(is_won(*ahead.duel));
  EXPECT_NEAR(ahead.duel->challenger, 900, 1e-9);
  EXPECT_FALSE(is_won(*behind.duel));
}

TEST(CudaPlanContests, SmallLeadsTakeMorePairsAndMustBeClear) {
  const Held clear = hold({0.992}), noise = hold({0.998});
  EXPECT_EQ(clear.order.size(), 30U);
  EXPECT_EQ(noise.order.size(), 30U);
  ASSERT_TRUE(clear.duel && noise.duel);
  EXPECT_TRUE(is_won(*clear.duel));
  EXPECT_FALSE(is_won(*noise.duel));
}

// The median is ahead by 1.2 %, but 6 of 15 pairs are lost.
TEST(CudaPlanContests, LuckIsNoLead) {
  const Held held =
      hold({0.988, 0.988, 1.01, 0.988, 1.01, 0.988, 1.01, 0.988, 0.988, 1.01, 0.988, 1.01, 0.988, 1.01, 0.988});
  ASSERT_TRUE(held.duel);
  EXPECT_FALSE(is_won(*held.duel));
}

TEST(CudaPlanContests, NothingIsDecidedByFewPairs) {
  EXPECT_FALSE(hold({0.9}, 4).duel);
  EXPECT_EQ(hold({0.9}, 4).order.size(), 8U);
  EXPECT_TRUE(hold({0.992}, 6).duel);
}

// ---- those of a plan

std::string library_version() { return "somebody's 1.0"; }
const Tactic kOwn{.kernel = "own", .place = Place::kDevice}, kOther{.kernel = "other", .place = Place::kDevice},
    kThird{.kernel = "third", .place = Place::kDevice},
    kLibrary{.kernel = "library", .place = Place::kDevice, .vendor_library = library_version};

struct Time {
  const Tactic* tactic;
  double measured;
};

class CudaInPlan : public ::testing::Test {
 protected:
  void SetUp() override {
    use_test_device();
    target_.place = Place::kDevice;
  }
  // Steps with one problem; the first of the rivals has won by itself.
  void add(int64_t size, int count, const std::vector<Time>& times) {
    for (int i = 0; i < count; ++i) {
      Value* x = graph_.add_value(graph_.unique_name("x"), DType::kFloat32, Dims{Dim(size)});
      Value* y = graph_.add_value(graph_.unique_name("y"), DType::kFloat32, Dims{Dim(size)});
      graph_.add_node("Sin", graph_.unique_name("node"), {x}, {y});
    }
    times_[size] = times;
  }
  Choice choose(const Problem& problem) const {
    Choice choice{problem.target, {}, 0, {}};
    for (const Time& time : times_.at(problem.input(0)->dims->front().value()))
      choice.rivals.push_back({time.tactic, 1, {}, std::nullopt, time.measured, time.measured});
    return choice;
  }
  PlanContests contests() {
    return {graph_, target_, [this](const Problem& problem) { return choose(problem); }, {}, cache_};
  }
  // `parts`: by challenger, of the incumbent's time; "" after which nothing more is held.
  PlanDecisions decide(const std::map<std::string, double>& parts, int most = 100) {
    PlanContests all = contests();
    held_.clear();
    adopted_.clear();
    auto decisions = all.decide(
        [&](const PlanContest& contest) -> Result<std::optional<Duel>> {
          if (static_cast<int>(held_.size()) >= most) return std::optional<Duel>();
          held_.push_back(std::string(contest.challenger.tactic->kernel));
          const double part = parts.at(held_.back());
          return std::optional<Duel>({1000, part >= kImpossible ? kImpossible : 1000 * part});
        },
        [&](const PlanContest& contest) -> Status {
          adopted_.push_back(std::string(contest.challenger.tactic->kernel));
          return {};
        });
    EXPECT_TRUE(decisions);
    return decisions ? *decisions : PlanDecisions();
  }
  std::string chosen(size_t node, const PlanDecisions& decisions) const {
    const Problem problem{*graph_.nodes()[node], target_};
    return std::string(with_decisions(choose(problem), problem, {}, decisions).tactic()->kernel);
  }

  Graph graph_;
  Target target_;
  std::map<int64_t, std::vector<Time>> times_;
  TimingCache cache_;
  std::vector<std::string> held_, adopted_;
};

using Names = std::vector<std::string>;

// A library's kernel may be a quarter slower alone, another of our own 8 %; of either kind the best, in two turns. What
// takes less than a hundredth of the plan is not asked.
TEST_F(CudaInPlan, WhoChallenges) {
  add(10, 2, {{&kOwn, 100}, {&kLibrary, 124}, {&kOther, 107}, {&kThird, 109}});
  add(20, 1, {{&kLibrary, 300}, {&kOwn, 370}, {&kOther, 380}});
  add(30, 1, {{&kOwn, 5}, {&kOther, 5}});
  add(40, 1, {{&kOwn, 100}, {&kThird, 109}, {&kLibrary, 126}});
  const PlanContests all = contests();
  Names names;
  for (const PlanContest& contest : all.contests()) names.push_back(std::string(contest.challenger.tactic->kernel));
  EXPECT_EQ(names, (Names{"own", "other", "library"}));
  EXPECT_EQ(all.contests()[1].nodes, (std::vector<size_t>{0, 1}));
  EXPECT_EQ(all.contests()[1].weight, 200);
}

// The kernel that is faster by itself loses its steps, and `hussar inspect` says to whom and why.
TEST_F(CudaInPlan, FasterAloneAndSlowerInThePlan) {
  add(10, 2, {{&kLibrary, 80}, {&kOwn, 95}});
  add(20, 1, {{&kOwn, 100}, {&kLibrary, 105}});
  const PlanDecisions decisions = decide({{"own", 0.95}, {"library", 1.05}});
  EXPECT_EQ(held_, (Names{"own", "library"}));
  EXPECT_EQ(adopted_, Names{"own"});
  EXPECT_EQ(decisions.problems.size(), 2U);
  EXPECT_EQ(decisions.changed(), 1);
  EXPECT_NEAR(decisions.gain, 0.05, 1e-9);
  EXPECT_FALSE(decisions.is_open);
  for (size_t node = 0; node < 3; ++node) EXPECT_EQ(chosen(node, decisions), "own");
  const Problem problem{*graph_.nodes()[0], target_};
  EXPECT_EQ(describe(with_decisions(choose(problem), problem, {}, decisions)),
            "library: not faster in the whole plan, measured 80.0 us, predicted 80.0 us\n"
            "own: chosen, measured 95.0 us, predicted 95.0 us");
}

// A second challenger meets who won the first contest.
TEST_F(CudaInPlan, WinnersAreChallengedInTurn) {
  add(10, 1, {{&kOwn, 100}, {&kOther, 101}, {&kLibrary, 110}});
  EXPECT_EQ(chosen(0, decide({{"other", 0.99}, {"library", 0.98}})), "library");
  EXPECT_EQ(held_, (Names{"other", "library"}));
  EXPECT_NE(cache_.to_string().find("library@0 somebody's 1.0 against other@0\t980"), std::string::npos);
}

// With the cache the same is decided again and nothing is held, in memory as from a file.
TEST_F(CudaInPlan, CacheDecides) {
  add(10, 1, {{&kOwn, 100}, {&kOther, 101}});
  add(20, 2, {{&kOwn, 100}, {&kLibrary, 101}});
  const PlanDecisions first = decide({{"other", 0.99}, {"library", kImpossible}});
  const std::string known = cache_.to_string();
  TimingCache read;
  ASSERT_TRUE(read.merge(known));
  for (int turn = 0; turn < 2; ++turn) {
    const PlanDecisions again = decide({});
    EXPECT_TRUE(held_.empty());
    EXPECT_EQ(adopted_, Names{"other"});
    EXPECT_EQ(again.gain, first.gain);
    EXPECT_EQ(again.problems.size(), 1U);  // the library had no chance
    EXPECT_FALSE(again.is_open);
    EXPECT_EQ(cache_.to_string(), known);
    cache_ = read;
  }
  // What is decided in one plan says nothing of another.
  times_[20][0].tactic = &kThird;
  EXPECT_TRUE(decide({}, 0).is_open);
  EXPECT_EQ(chosen(0, decide({}, 0)), "own");
}

// Time may end anywhere: what is decided counts, and the rest is taken up again.
TEST_F(CudaInPlan, EndsAnywhere) {
  add(10, 1, {{&kOwn, 100}, {&kOther, 101}});
  add(20, 3, {{&kOwn, 100}, {&kThird, 101}});
  const PlanDecisions part = decide({{"third", 0.99}}, 1);
  EXPECT_EQ(held_, Names{"third"});
  EXPECT_TRUE(part.is_open);
  EXPECT_EQ(part.changed(), 1);
  const PlanDecisions all = decide({{"other", 0.98}});
  EXPECT_EQ(held_, Names{"other"});
  EXPECT_EQ(adopted_, (Names{"third", "other"}));
  EXPECT_FALSE(all.is_open);
  EXPECT_NEAR(all.gain, 1 - 0.99 * 0.98, 1e-9);
}

}  // namespace
}  // namespace hussar::tests
