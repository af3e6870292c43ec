// Mutations of ONNX models through import, inference, passes, compilation and a run: errors are fine, crashes are not.
//
// HUSSAR_MUTATIONS (default 2400) is the number over all seeds; HUSSAR_MUTATION=SEED:NUMBER repeats one and
// keeps the model in the temporary folder.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "onnx/import.h"
#include "tests/support/mutate.h"
#include "tests/support/pipeline.h"
#include "tests/support/seeds.h"

namespace hussar {
namespace {

using namespace tests;  // NOLINT

constexpr unsigned kSecondsPerModel = 60;
constexpr double kMostElements = 1e6;
constexpr uint32_t kBatch = 100;  // mutations of one Mutator, so that any one can be repeated quickly

char current[200];  // what to repeat, printed when the process dies

void on_signal(int number) {
  static const char kSlow[] = "\ntook too long: ", kCrash[] = "\ncrashed: ";
  if (number == SIGALRM)
    (void)!::write(2, kSlow, sizeof(kSlow) - 1);
  else
    (void)!::write(2, kCrash, sizeof(kCrash) - 1);
  (void)!::write(2, current, std::char_traits<char>::length(current));
  (void)!::write(2, "\n", 1);
  std::signal(number, SIG_DFL);
  ::raise(number == SIGALRM ? SIGABRT : number);
}

// Returns how far the model came: 0 refused, 1 compiled, 2 run.
int try_model(std::span<const std::byte> model, uint32_t seed) {
  CompileOptions options;
  options.threads = 1;
  auto plan = build(model, options);
  if (!plan) {
    EXPECT_FALSE(plan.error().message.empty());
    return 0;
  }
  const PlanGraph& graph = (*plan)->graph;
  if (!(largest_value(graph, 2) < kMostElements) || !ends_soon(graph, (*plan)->constants)) return 1;
  auto inputs = make_inputs(**plan, seed, 2, static_cast<int64_t>(kMostElements));
  if (!inputs) return 1;
  SessionOptions session_options;
  session_options.threads = 1;
  auto session = Session::create(*plan, session_options);
  if (!session) return 1;
  return (*session)->run_in_order(*inputs) ? 2 : 1;
}

class BadInput : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    for (int number : {SIGALRM, SIGSEGV, SIGBUS, SIGFPE, SIGABRT}) std::signal(number, on_signal);
#if !defined(__SANITIZE_ADDRESS__)
    rlimit limit{rlim_t{6} << 30, rlim_t{6} << 30};  // sanitizers have an option for it
    ::setrlimit(RLIMIT_AS, &limit);
#endif
  }
};

TEST_P(BadInput, TheSeedItselfRuns) {
  auto bytes = seed_bytes(GetParam());
  EXPECT_EQ(print_tree(parse_tree(bytes)), std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size()));
  EXPECT_EQ(try_model(bytes, 1), 2);
}

TEST_P(BadInput, MutationsDoNotCrash) {
  auto bytes = seed_bytes(GetParam());
  const char* wanted = std::getenv("HUSSAR_MUTATIONS");
  const char* only = std::getenv("HUSSAR_MUTATION");
  int total = wanted != nullptr ? std::atoi(wanted) : 2400;
  auto count = static_cast<uint32_t>((static_cast<size_t>(total) + seed_names().size() - 1) / seed_names().size());
  int reached[3] = {};
  for (uint32_t batch = 0; batch * kBatch < count; ++batch) {
    Mutator mutator(bytes, batch);
    for (uint32_t i = batch * kBatch; i < std::min(count, (batch + 1) * kBatch); ++i) {
      std::string model = mutator.next();
      std::snprintf(current, sizeof(current), "HUSSAR_MUTATION=%s:%u", GetParam().c_str(), i);
      if (only != nullptr && std::string_view(current).substr(16) != only) continue;
      if (only != nullptr) {
        auto path = std::filesystem::temp_directory_path() / "mutation.onnx";
        std::ofstream(path, std::ios::binary) << model;
        std::printf("written to %s\n", path.c_str());
      }
      ::alarm(kSecondsPerModel);
      ++reached[try_model(std::as_bytes(std::span(model)), i)];
      ::alarm(0);
    }
  }
  if (only != nullptr) return;
  std::printf("%u mutations: %d refused, %d compiled, %d run\n", count, reached[0], reached[1], reached[2]);
  EXPECT_GT(reached[2], 0) << "no mutation reached the end: the mutations are too coarse";
}

TEST_P(BadInput, EveryCutIsRefusedOrFine) {
  auto bytes = seed_bytes(GetParam());
  for (size_t length = 0; length < bytes.size(); ++length) {
    std::snprintf(current, sizeof(current), "%s cut to %zu bytes", GetParam().c_str(), length);
    ::alarm(kSecondsPerModel);
    std::vector<std::byte> cut(bytes.begin(), bytes.begin() + static_cast<long>(length));
    (void)onnx::import_bytes(cut, nullptr, "");
    ::alarm(0);
  }
}

INSTANTIATE_TEST_SUITE_P(Seeds, BadInput, ::testing::ValuesIn(seed_names()),
                         [](const auto& info) { return info.param; });

}  // namespace
}  // namespace hussar
