// Plans that somebody has written on purpose: well-formed, with checksums that fit, and with any dtype, layout,
// storage, shape, operand, attribute, operator or kernel changed. They may be refused or run, but never touch foreign
// memory.
//
// HUSSAR_FORGERIES (default 2400) is the number of random forgeries over all seeds; HUSSAR_FORGERY=SEED:NUMBER repeats
// one of them, HUSSAR_FORGERY=SEED:EDIT the single edit of that name. SEED_reference: the plan of reference evaluators.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>

#include "plan/kernel.h"
#include "tactics/tactic.h"
#include "tests/support/pipeline.h"
#include "tests/support/plan_edits.h"
#include "tests/support/seeds.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

constexpr time_t kSecondsPerPlan = 60;  // of CPU time
constexpr double kMostElements = 1e5;

char current[300];  // what to repeat, printed when the process dies

void on_signal(int number) {
  (void)!::write(2, current, std::char_traits<char>::length(current));
  (void)!::write(2, number == SIGVTALRM ? " took too long\n" : " crashed\n", number == SIGVTALRM ? 15 : 9);
  std::signal(number, SIG_DFL);
  ::raise(number == SIGVTALRM ? SIGABRT : number);
}

void set_limit(time_t seconds) {
  itimerval limit{{0, 0}, {seconds, 0}};
  ::setitimer(ITIMER_VIRTUAL, &limit, nullptr);
}

// A seed, and whether its plan has reference evaluators instead of kernels.
using Subject = std::tuple<std::string, bool>;

std::string name_of(const Subject& subject) {
  return std::get<0>(subject) + (std::get<1>(subject) ? "_reference" : "");
}

class BadPlanForged : public ::testing::TestWithParam<Subject> {
 protected:
  void SetUp() override {
    for (int number : {SIGVTALRM, SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) std::signal(number, on_signal);
#if !defined(__SANITIZE_ADDRESS__)
    rlimit limit{rlim_t{1} << 30, rlim_t{1} << 30};  // sanitizers have an option for it
    ::setrlimit(RLIMIT_AS, &limit);
#endif
    CompileOptions options;
    options.threads = 1;
    options.reference_only = std::get<1>(GetParam());
    options.fp16 = true;  // where the level has it, its kernels are attacked; the lower levels attack those of FP32
    auto plan = build(seed_bytes(std::get<0>(GetParam())), options);
    ASSERT_TRUE(plan) << plan.error().message;
    bytes_ = encode_plan(**plan);
    edits_ = edits_of(**plan);
  }

  // Returns whether the forged plan ran to its end.
  bool try_edits(const std::vector<const Edit*>& edits) {
    auto plan = std::const_pointer_cast<Plan>(*decode(bytes_));
    for (const Edit* edit : edits) edit->apply(*plan);
    auto forged = decode(encode_plan(*plan));
    if (!forged) return false;
    if (!(largest_value((*forged)->graph, 3) < kMostElements) || !ends_soon((*forged)->graph, (*forged)->constants))
      return false;
    auto inputs = make_inputs(**forged, 1, 3, static_cast<int64_t>(kMostElements));
    if (!inputs) return false;
    auto session = Session::create(*forged, {.threads = 1});
    if (!session) return false;
    set_limit(kSecondsPerPlan);
    bool ran = static_cast<bool>((*session)->run_in_order(*inputs));
    // What was learnt about the first inputs must not be trusted with the next.
    (void)(*session)->run_in_order(*make_inputs(**forged, 2, 3, static_cast<int64_t>(kMostElements)));
    set_limit(0);
    return ran;
  }

  static Result<std::shared_ptr<const Plan>> decode(std::span<const std::byte> bytes) {
    auto [aligned, owner] = aligned_copy(bytes);
    return decode_plan(aligned, owner);
  }

  // What is to be repeated should the process die.
  static void note(const std::string& name) {
    std::snprintf(current, sizeof(current), "HUSSAR_FORGERY=%s:%s", name_of(GetParam()).c_str(), name.c_str());
  }

  // Whether HUSSAR_FORGERY asks for this one, or for nothing in particular; notes it.
  static bool is_wanted(const std::string& name) {
    note(name);
    const char* only = std::getenv("HUSSAR_FORGERY");
    return only == nullptr || name_of(GetParam()) + ":" + name == only;
  }

  std::vector<std::byte> bytes_;
  std::vector<Edit> edits_;
};

TEST_P(BadPlanForged, EverySingleEdit) {
  size_t ran = 0;
  EXPECT_TRUE(try_edits({})) << "the plan itself must run";
  for (const Edit& edit : edits_) {
    if (is_wanted(edit.name)) ran += try_edits({&edit}) ? 1 : 0;
  }
  std::printf("%zu edits, %zu plans ran\n", edits_.size(), ran);
}

// Edits that a plan survives alone come further together than any others. Which these are is found out as they are
// drawn: EverySingleEdit tries them all.
TEST_P(BadPlanForged, RandomEdits) {
  constexpr size_t kMostDraws = 100000;
  const char* wanted = std::getenv("HUSSAR_FORGERIES");
  int total = wanted != nullptr ? std::atoi(wanted) : 2400;
  auto count = static_cast<size_t>(total) / seed_names().size() + 1;
  std::map<const Edit*, bool> is_harmless;
  auto draw_harmless = [&](std::mt19937& random) -> const Edit* {
    for (size_t draw = 0; draw < kMostDraws; ++draw) {
      const Edit* edit = &edits_[random() % edits_.size()];
      auto [it, is_new] = is_harmless.try_emplace(edit);
      if (is_new) {
        note(edit->name);
        it->second = try_edits({edit});
      }
      if (it->second) return edit;
    }
    return nullptr;
  };
  size_t ran = 0;
  for (size_t number = 0; number < count; ++number) {
    if (!is_wanted(std::to_string(number))) continue;
    std::mt19937 random(static_cast<uint32_t>(number));
    std::vector<const Edit*> chosen;
    for (size_t i = 1 + random() % 3; i > 0; --i) {
      chosen.push_back(draw_harmless(random));
      ASSERT_NE(chosen.back(), nullptr) << "no edit is harmless";
    }
    if (random() % 2 == 0) chosen.push_back(&edits_[random() % edits_.size()]);
    note(std::to_string(number));
    ran += try_edits(chosen) ? 1 : 0;
  }
  std::printf("%zu forgeries, %zu plans ran\n", count, ran);
}

INSTANTIATE_TEST_SUITE_P(Seeds, BadPlanForged, ::testing::Combine(::testing::ValuesIn(seed_names()), ::testing::Bool()),
                         [](const auto& info) { return name_of(info.param); });

// A kernel whose weights are packed is not asked about its operands when a plan is opened, so it must look itself. For
// devices packing adds code, and weights keep a form that the operator knows: there the tactic is asked.
TEST(BadPlan, KernelsOfPackedWeightsCheckTheirOperands) {
  for (const Tactic* tactic : all_tactics()) {
    const Kernel* kernel = find_kernel(tactic->kernel);
    ASSERT_NE(kernel, nullptr) << tactic->kernel;
    EXPECT_TRUE(tactic->pack == nullptr || tactic->place == Place::kDevice || kernel->checks_shapes) << tactic->kernel;
  }
}

}  // namespace
}  // namespace hussar
