// hussar bench --problem: all ways to do one piece of work, timed.
#pragma once
#include "hussar/status.h"
#include "tools/cli/command.h"

namespace hussar::cli {

struct ProblemArguments {
  std::string text;
  int threads = 0;  // 0: one per core
  double seconds = 1;
};
Status bench_problem(const ProblemArguments& arguments, const Command& command);

}  // namespace hussar::cli
