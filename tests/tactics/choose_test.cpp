// Choosing between rivals, and what is said of those that lost.
#include "tactics/choose.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "backends/cpu/isa.h"
#include "tactics/problem_grammar.h"

namespace hussar {
namespace {

constexpr std::string_view kContested = "conv x=1x32x16x16 w=32x32x3x3 pads=1,1,1,1";

std::string line_of(const std::string& report, const std::string& rival) {
  const size_t begin = ("\n" + report).find("\n" + rival + ": ");
  if (begin == std::string::npos) return "";
  return report.substr(begin, report.find('\n', begin) - begin);
}

struct Contest {
  ProblemGraph graph;
  Problem problem;
  std::vector<std::string> order;  // names of rivals that can, by predicted time

  explicit Contest(std::string_view text, int threads = 2)
      : graph(std::move(*parse_problem(text))), problem{*graph.node, Target{0, threads}} {
    Choice choice = choose(problem);
    std::vector<size_t> indices = contenders(choice, 100);
    for (size_t index : indices) order.push_back(choice.rivals[index].name(problem.target));
  }
  // With the measured microseconds of some.
  std::string report(const std::map<std::string, double>& measured) const {
    return describe(choose(problem, [&](const Problem&, const Rival& rival) -> std::optional<double> {
      auto it = measured.find(rival.name(problem.target));
      return it == measured.end() ? std::nullopt : std::optional(it->second);
    }));
  }
};

TEST(Choose, SaysWhoWasSlower) {
  Contest contest(kContested);
  ASSERT_GE(contest.order.size(), 2U);
  const std::string &first = contest.order[0], &second = contest.order[1];
  std::string report = contest.report({{first, 100}, {second, 120}});
  EXPECT_EQ(line_of(report, first).rfind(first + ": chosen, measured 100.0 us, predicted", 0), 0U) << report;
  EXPECT_EQ(line_of(report, second).rfind(second + ": slower, measured 120.0 us", 0), 0U) << report;
  report = contest.report({{first, 120}, {second, 100}});
  EXPECT_EQ(line_of(report, second).rfind(second + ": chosen", 0), 0U) << report;
  EXPECT_EQ(line_of(report, first).rfind(first + ": slower", 0), 0U) << report;
}

TEST(Choose, WhatItSaysIsReadBack) {
  Contest contest(kContested);
  const std::string &first = contest.order[0], &second = contest.order[1];
  const std::string report = contest.report({{first, 100.5}, {second, 120}});
  const std::vector<RivalLine> lines = read_description(report);
  ASSERT_EQ(static_cast<long>(lines.size()), std::count(report.begin(), report.end(), '\n') + 1);
  int refused = 0, chosen = 0;
  for (const RivalLine& line : lines) {
    refused += line.is_refused ? 1 : 0;
    EXPECT_NE(line.is_refused, line.predicted.has_value()) << line.name;
    if (line.verdict != "chosen") continue;
    ++chosen;
    EXPECT_EQ(line.name, first);
    EXPECT_EQ(line.measured, 100.5);
  }
  EXPECT_EQ(chosen, 1);
  EXPECT_GE(refused, 2);
}

TEST(Choose, SaysWhoWasTooCloseToWin) {
  Contest contest(kContested);
  ASSERT_GE(contest.order.size(), 2U);
  const std::string &first = contest.order[0], &second = contest.order[1];
  const std::string report = contest.report({{first, 100}, {second, 99}});
  EXPECT_EQ(line_of(report, first).rfind(first + ": chosen", 0), 0U) << report;
  EXPECT_EQ(line_of(report, second).rfind(second + ": within 2 % of the predicted winner, measured 99.0 us", 0), 0U)
      << report;
}

TEST(Choose, SaysWhoWasNotMeasured) {
  Contest contest("conv x=1x32x12x12 w=32x1x3x3 pads=1,1,1,1 group=32");
  const Choice choice = choose(contest.problem);
  const std::string report = contest.report({{contest.order[0], 100}});
  int pruned = 0;
  for (const Rival& rival : choice.rivals) {
    const std::string name = rival.name(contest.problem.target);
    if (rival.refusal || name == contest.order[0]) continue;
    const bool contends = std::count(contest.order.begin(), contest.order.end(), name) > 0;
    const std::string wanted = contends ? ": not measured, predicted" : ": not measured: predicted ";
    EXPECT_EQ(line_of(report, name).rfind(name + wanted, 0), 0U) << report;
    const bool says_how_far = line_of(report, name).find(" times the best, predicted ") != std::string::npos;
    EXPECT_EQ(says_how_far, !contends) << report;
    pruned += contends ? 0 : 1;
  }
  EXPECT_GT(pruned, 0) << report;
}

// Products of few rows wait for their weights, which are as large in either form: the vector units take them, unless
// measuring says otherwise. Conv 1x1 on one pixel is such a product, too.
TEST(Choose, MatrixUnitIsForManyRows) {
  const std::pair<std::string, std::string> cases[] = {{"matmul m=1 n=4096 k=9216", "matmul_tile"},
                                                       {"matmul m=4 n=1000 k=4096", "matmul_tile"},
                                                       {"matmul m=128 n=768 k=3072", "matmul_amx"},
                                                       {"conv x=1x2048x1x1 w=1000x2048x1x1", "conv_tile"},
                                                       {"conv x=1x64x56x56 w=256x64x1x1", "conv_amx"}};
  for (const auto& [text, expected] : cases) {
    for (int threads : {1, 2}) {
      ProblemGraph graph = std::move(*parse_problem(text));
      const Problem problem{*graph.node, Target{static_cast<int>(cpu::Isa::kAmx), threads}};
      const Choice choice = choose(problem);
      ASSERT_NE(choice.rival(), nullptr);
      EXPECT_EQ(choice.tactic()->kernel, expected) << text << '\n' << describe(choice);
      bool measures_both = false;
      for (size_t index : contenders(choice, 100)) {
        measures_both |= choice.rivals[index].tactic->kernel != expected;
      }
      // The other way is measured, where predictions are close.
      EXPECT_TRUE(measures_both || graph.node->op == "Conv") << text << '\n' << describe(choice);
    }
  }
}

// The names of a kernel's rivals in other configurations than the usual one.
std::vector<std::string> configured(const Contest& contest, const std::string& kernel) {
  std::vector<std::string> names;
  for (const Rival& rival : choose(contest.problem).rivals) {
    if (rival.tactic->kernel == kernel && !rival.configuration.empty()) {
      names.push_back(rival.name(contest.problem.target));
    }
  }
  return names;
}

TEST(Choose, ConfigurationsWinOnlyWhenMeasured) {
  Contest contest("matmul m=300 n=256 k=512");
  const std::vector<std::string> names = configured(contest, "matmul_tile");
  ASSERT_FALSE(names.empty());
  EXPECT_EQ(names[0].rfind("matmul_tile:", 0), 0U) << names[0];
  const Choice choice = choose(contest.problem);
  EXPECT_EQ(choice.rival()->configuration, "");
  for (const std::string& name : names) {
    EXPECT_EQ(line_of(describe(choice), name).rfind(name + ": not measured: ", 0), 0U) << describe(choice);
  }
  for (const std::string& name : contest.order) EXPECT_EQ(name.find(':'), std::string::npos) << name;
  const std::string usual = contest.order[0];
  std::string report = contest.report({{usual, 100}, {names[0], 96}});
  EXPECT_EQ(line_of(report, names[0]).rfind(names[0] + ": chosen, measured 96.0 us", 0), 0U) << report;
  report = contest.report({{usual, 100}, {names[0], 97.5}});
  EXPECT_EQ(line_of(report, usual).rfind(usual + ": chosen", 0), 0U) << report;
  EXPECT_EQ(line_of(report, names[0]).rfind(names[0] + ": ahead by less than 3 %", 0), 0U) << report;
  report = contest.report({{names[0], 1}});
  EXPECT_EQ(line_of(report, usual).rfind(usual + ": chosen", 0), 0U) << report;
}

TEST(Choose, SaysWhyConfigurationsWereNotMeasured) {
  Contest contest("conv x=1x64x30x30 w=64x64x3x3 pads=1,1,1,1");
  const Choice choice = choose(contest.problem);
  const std::string by_prediction = describe(choice), kernel(choice.tactic()->kernel);
  const std::string tuned = contest.report({{contest.order[0], 100}, {contest.order[1], 90}});
  const std::vector<RivalLine> lines = read_description(by_prediction);
  ASSERT_EQ(lines.size(), choice.rivals.size());
  std::set<std::string> reasons;
  for (size_t i = 0; i < lines.size(); ++i) {
    if (choice.rivals[i].configuration.empty()) continue;
    const bool is_far = lines[i].verdict.find(" times the best") != std::string::npos;
    EXPECT_TRUE(is_far || lines[i].verdict == "not measured: taken only when measured to be faster") << by_prediction;
    EXPECT_TRUE(lines[i].predicted.has_value()) << by_prediction;
    reasons.insert(read_description(tuned)[i].verdict);
  }
  // Of what could have been measured, only the winner's are.
  EXPECT_EQ(reasons.count("not measured: taken only when measured to be faster"), 0U) << tuned;
  EXPECT_GE(reasons.size(), 1U) << tuned;
}

// What is chosen by luck among many must not be: it counts how far it is ahead of its own kernel's usual way.
TEST(Choose, ConfigurationsMustBeatTheirOwnUsualOne) {
  Contest contest("conv x=1x64x30x30 w=64x64x3x3 pads=1,1,1,1");
  ASSERT_GE(contest.order.size(), 2U);
  const std::string &first = contest.order[0], &second = contest.order[1];
  const std::vector<std::string> names = configured(contest, second.substr(0, second.find('/')));
  ASSERT_FALSE(names.empty()) << second;
  std::string report = contest.report({{first, 100}, {second, 97.5}, {names[0], 96}});
  EXPECT_EQ(line_of(report, second).rfind(second + ": chosen", 0), 0U) << report;
  report = contest.report({{first, 100}, {second, 99}, {names[0], 96}});
  EXPECT_EQ(line_of(report, names[0]).rfind(names[0] + ": chosen", 0), 0U) << report;
}

TEST(Choose, ConfigurationsWorthMeasuringBeginWithTheUsualOne) {
  Contest contest("matmul m=300 n=256 k=512");
  const Choice choice = choose(contest.problem);
  const std::vector<size_t> order = configurations_of(choice, 3);
  ASSERT_GE(order.size(), 2U);
  EXPECT_LE(order.size(), 3U);
  EXPECT_EQ(order[0], static_cast<size_t>(choice.chosen));
  for (size_t i = 1; i < order.size(); ++i) {
    const Rival& rival = choice.rivals[order[i]];
    EXPECT_EQ(rival.tactic, choice.tactic());
    EXPECT_NE(rival.configuration, "");
    EXPECT_TRUE(i == 1 || choice.rivals[order[i - 1]].predicted <= rival.predicted);
  }
}

// 2:4 weights on a GPU: a dense kernel keeps what was not measured, and what 2:4 is not clearly faster at.
TEST(Choose, TwoOfFourMustWinClearly) {
  auto graph = parse_problem("matmul x=4096x1024:float16 w=1024x4096:float16");
  ASSERT_TRUE(graph) << graph.error().message;
  Target target;
  target.place = Place::kDevice;
  target.sm = 90;
  target.no_fp16 = {};
  Tensor& weights = *graph->node->inputs[1]->constant;
  auto* numbers = reinterpret_cast<uint16_t*>(weights.raw());
  for (int64_t i = 0; i < weights.elements(); ++i) {
    if (i / 4096 % 4 < 2) numbers[i] = 0;
  }
  auto chosen = [&](bool is_measured, std::map<std::string, double> measured) {
    target.is_measured = is_measured;
    const Choice choice =
        choose(Problem{*graph->node, target}, [&](const Problem&, const Rival& rival) -> std::optional<double> {
          auto it = measured.find(rival.name(target));
          return it == measured.end() ? std::nullopt : std::optional(it->second);
        });
    return choice.rival() == nullptr ? "" : std::string(choice.tactic()->kernel);
  };
  const std::string sparse = "cuda_product_sparse", dense = "cuda_product_hopper";
  EXPECT_EQ(chosen(false, {}), sparse);
  EXPECT_EQ(chosen(true, {}), dense);
  EXPECT_EQ(chosen(true, {{dense, 10}}), dense);
  EXPECT_EQ(chosen(true, {{sparse, 9.9}, {dense, 10}}), dense);
  EXPECT_EQ(chosen(true, {{sparse, 9.5}, {dense, 10}}), sparse);
  EXPECT_EQ(chosen(true, {{sparse, 10.1}, {dense, 10}}), dense);
}

TEST(Choose, ListsOneThread) {
  Contest contest("matmul m=8 n=16 k=16");
  const std::string report = contest.report({});
  const Choice choice = choose(contest.problem);
  int alone = 0;
  for (const Rival& rival : choice.rivals) {
    if (rival.threads != 1) continue;
    ++alone;
    EXPECT_NE(line_of(report, rival.name(contest.problem.target)), "") << report;
  }
  EXPECT_GT(alone, 0) << report;
}

}  // namespace
}  // namespace hussar
