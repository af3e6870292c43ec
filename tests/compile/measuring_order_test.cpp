// What is measured in which order, and what is known when time ends: contests whose true times and whose clock are
// written down.
#include "compile/measuring_order.h"

#include <gtest/gtest.h>

#include <set>

namespace hussar {
namespace {

Contender usual(double predicted, int kernel = 0) { return {predicted, kernel, true, false, false, {}}; }
Contender tile(double predicted, int kernel = 0) { return {predicted, kernel, false, false, false, {}}; }
Contender sparse(double predicted, int kernel) { return {predicted, kernel, true, true, false, {}}; }

// A contest, and what its contenders take.
struct Scripted {
  WorkContest contest;
  std::vector<double> times;
};

Scripted scripted(std::vector<Contender> contenders, std::vector<double> times, double count = 1, double least = 0) {
  return {{std::move(contenders), 0, count, least}, std::move(times)};
}

struct Outcome {
  std::vector<MeasuringOrder::Visit> visits;
  std::vector<WorkContest> contests;
  double seconds = 0;

  std::set<std::pair<size_t, size_t>> measured() const {
    std::set<std::pair<size_t, size_t>> all;
    for (size_t i = 0; i < contests.size(); ++i) {
      for (size_t k = 0; k < contests[i].contenders.size(); ++k) {
        if (contests[i].contenders[k].measured) all.emplace(i, k);
      }
    }
    return all;
  }
};

// Every contender of a visit takes a second by the clock, until `budget` seconds are over.
Outcome run(const std::vector<Scripted>& script, double budget, bool everything = false) {
  std::vector<WorkContest> contests;
  for (const Scripted& entry : script) contests.push_back(entry.contest);
  MeasuringOrder order(std::move(contests), everything);
  Outcome outcome;
  while (outcome.seconds < budget) {
    const auto visits = order.visits();
    if (visits.empty()) break;
    const auto& next = visits.front();
    for (size_t contender : next.contenders) {
      order.record(next.contest, contender, script[next.contest].times[contender]);
      outcome.seconds += 1;
    }
    outcome.visits.push_back(next);
  }
  outcome.contests = order.contests();
  return outcome;
}

constexpr double kEnough = 1e9;

// What the model takes with the fastest that is known of each contest, with the predicted winner where nothing is.
double model_time(const std::vector<Scripted>& script, const Outcome& outcome) {
  double sum = 0;
  for (size_t i = 0; i < script.size(); ++i) {
    const WorkContest& contest = outcome.contests[i];
    sum += contest.count * script[i].times[contest.best().value_or(contest.first)];
  }
  return sum;
}

// Work of all sizes, each with two kernels of six tiles: predictions err by up to a third, differently for each.
std::vector<Scripted> network() {
  std::vector<Scripted> script;
  for (int i = 0; i < 20; ++i) {
    const double size = 5 + 7 * (i % 6);
    std::vector<Contender> contenders;
    std::vector<double> times;
    for (int kernel = 0; kernel < 2; ++kernel) {
      for (int k = 0; k < 6; ++k) {
        contenders.push_back({size * (1 + 0.2 * kernel + 0.1 * k), kernel, k == 0, false, false, {}});
        times.push_back(contenders.back().predicted * (1 + (i * 31 + kernel * 17 + k * 47) % 67 / 100.0));
      }
    }
    script.push_back(scripted(std::move(contenders), std::move(times), 1 + i % 3));
  }
  return script;
}

TEST(MeasuringOrder, BreadthFirstByPredictedTimeOfAllSteps) {
  const std::vector<Scripted> script = {scripted({usual(10), tile(9), tile(8)}, {10, 9, 8}),
                                        scripted({usual(6), tile(5)}, {6, 5}, 4),
                                        scripted({usual(12), tile(11)}, {12, 11})};
  const Outcome outcome = run(script, 3);
  ASSERT_EQ(outcome.visits.size(), 3U);
  const size_t expected[] = {1, 2, 0};  // 24, 12, 10 us
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(outcome.visits[i].contest, expected[i]);
    EXPECT_EQ(outcome.visits[i].contenders, std::vector<size_t>{0});
  }
}

// The largest gain times the number of steps comes first, and what was the fastest is measured again with it.
TEST(MeasuringOrder, ThenTheLargestExpectedGain) {
  const std::vector<Scripted> script = {scripted({usual(20), tile(18)}, {20, 18}),
                                        scripted({usual(10), tile(7)}, {10, 7}, 5),
                                        scripted({usual(30), tile(29)}, {30, 29})};
  const Outcome outcome = run(script, kEnough);
  ASSERT_GE(outcome.visits.size(), 6U);
  const size_t expected[] = {1, 0, 2};
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(outcome.visits[3 + i].contest, expected[i]);
    EXPECT_EQ(outcome.visits[3 + i].contenders, (std::vector<size_t>{0, 1}));
    EXPECT_LE(outcome.visits[3 + i].gain, outcome.visits[3].gain);
  }
}

// A work that was measured to take longer than predicted is worth more.
TEST(MeasuringOrder, MeasuredTimesReplacePredictedOnes) {
  const std::vector<Scripted> script = {scripted({usual(20), tile(19)}, {20, 19}),
                                        scripted({usual(10), tile(9.5)}, {60, 50})};
  const Outcome outcome = run(script, kEnough);
  ASSERT_GE(outcome.visits.size(), 3U);
  EXPECT_EQ(outcome.visits[0].contest, 0U);
  EXPECT_EQ(outcome.visits[2].contest, 1U);
}

// 2:4 weights that are predicted to win are never measured without their dense rival, nor the other way round chosen
// unmeasured.
TEST(MeasuringOrder, SparseWithItsDenseRival) {
  const std::vector<Scripted> script = {scripted({sparse(5, 0), tile(4, 0), usual(8, 1), usual(7, 2)}, {9, 8, 8, 7}),
                                        scripted({usual(4, 2)}, {4})};
  const Outcome outcome = run(script, 1);
  ASSERT_EQ(outcome.visits.size(), 1U);
  EXPECT_EQ(outcome.visits[0].contenders, (std::vector<size_t>{0, 3}));
  EXPECT_EQ(outcome.contests[0].best(), 3U);
}

// A configuration must win against its kernel's usual way, so that comes first.
TEST(MeasuringOrder, UsualWayBeforeConfigurations) {
  const std::vector<Scripted> script = {
      scripted({usual(10, 0), tile(9, 0), usual(11, 1), tile(4, 1)}, {10, 10, 11, 4}, 3)};
  const Outcome outcome = run(script, kEnough);
  EXPECT_TRUE(outcome.measured().contains({0, 3}));
  std::set<size_t> seen;
  for (const auto& visit : outcome.visits) {
    for (size_t contender : visit.contenders) {
      EXPECT_TRUE(contender != 3 || seen.contains(2));
    }
    seen.insert(visit.contenders.begin(), visit.contenders.end());
  }
}

// Nothing is gained where memory or multipliers are the bound, nor by what would still be slower.
TEST(MeasuringOrder, LeavesOutWhatCannotWin) {
  const std::vector<Scripted> script = {scripted({usual(10), tile(9)}, {10, 9}, 100, 9.9),
                                        scripted({usual(10), tile(19)}, {10, 19}, 1, 1),
                                        scripted({usual(10), tile(9)}, {10, 9}, 1, 1)};
  const Outcome outcome = run(script, kEnough);
  const std::set<std::pair<size_t, size_t>> expected = {{0, 0}, {1, 0}, {2, 0}, {2, 1}};
  EXPECT_EQ(outcome.measured(), expected);
  const Outcome all = run(script, kEnough, true);
  EXPECT_EQ(all.measured().size(), 6U);
}

// Work that is next to nothing of the model is measured once, not refined.
TEST(MeasuringOrder, LeavesOutNegligibleGains) {
  const std::vector<Scripted> script = {scripted({usual(1000), tile(900)}, {1000, 900}, 40),
                                        scripted({usual(2), tile(1.9)}, {2, 1.9})};
  const std::set<std::pair<size_t, size_t>> expected = {{0, 0}, {0, 1}, {1, 0}};
  EXPECT_EQ(run(script, kEnough).measured(), expected);
}

// How far off a kernel is predicted is learned from other work.
TEST(MeasuringOrder, LearnsHowFarPredictionsAreOff) {
  std::vector<Scripted> script;
  for (int i = 0; i < 3; ++i) script.push_back(scripted({usual(10, 0), usual(9, 1)}, {10, 40}, 3 - i));
  for (Scripted& entry : script) entry.contest.first = 0;
  const Outcome outcome = run(script, kEnough);
  EXPECT_TRUE(outcome.measured().contains({0, 1}));
  EXPECT_FALSE(outcome.measured().contains({2, 1}));
}

// What the device turns out not to take leaves the first place to another.
TEST(MeasuringOrder, ImpossibleContenders) {
  MeasuringOrder order({scripted({usual(10, 0), tile(9, 0), usual(12, 1)}, {}).contest});
  order.rule_out(0, 0);
  auto visits = order.visits();
  ASSERT_EQ(visits.size(), 1U);
  EXPECT_EQ(visits[0].contenders, std::vector<size_t>{2});
  order.rule_out(0, 2);
  EXPECT_TRUE(order.visits().empty());
}

// When the budget ends early all work has been measured that there was time for, nothing is ever worse for more time,
// and one third of the time that everything takes gets nearly all of it.
TEST(MeasuringOrder, BudgetsDegradeGracefully) {
  const std::vector<Scripted> script = network();
  const Outcome everything = run(script, kEnough, true);
  const double best = model_time(script, everything), unmeasured = model_time(script, run(script, 0));
  double before = unmeasured;
  for (double budget : {5.0, 20.0, 40.0, 80.0, 160.0, kEnough}) {
    const Outcome outcome = run(script, budget);
    std::set<size_t> contests;
    for (const auto& [contest, contender] : outcome.measured()) contests.insert(contest);
    EXPECT_GE(contests.size(), std::min<size_t>(static_cast<size_t>(budget), script.size())) << budget;
    const double time = model_time(script, outcome);
    EXPECT_LE(time, before) << budget;
    before = time;
  }
  EXPECT_EQ(everything.measured().size(), 240U);
  const double third = model_time(script, run(script, everything.seconds / 3));
  EXPECT_LE(third - best, 0.1 * (unmeasured - best));
}

// The same knowledge gives the same order.
TEST(MeasuringOrder, IsDeterministic) {
  const std::vector<Scripted> script = network();
  const Outcome one = run(script, 90), other = run(script, 90);
  ASSERT_EQ(one.visits.size(), other.visits.size());
  for (size_t i = 0; i < one.visits.size(); ++i) {
    EXPECT_EQ(one.visits[i].contest, other.visits[i].contest);
    EXPECT_EQ(one.visits[i].contenders, other.visits[i].contenders);
  }
  // A part of it is taken up where it ended.
  std::vector<Scripted> rest = script;
  for (size_t i = 0; i < rest.size(); ++i) rest[i].contest = one.contests[i];
  const Outcome later = run(rest, kEnough), whole = run(script, kEnough);
  EXPECT_EQ(later.measured(), whole.measured());
}

}  // namespace
}  // namespace hussar
