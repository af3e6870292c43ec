// hussar bench --problem: all ways to do one piece of work, timed.
#pragma once
#include "compile/compile.h"
#include "hussar/status.h"
#include "tools/cli/command.h"

namespace hussar::cli {

struct ProblemArguments {
  std::string text;
  int threads = 0;  // 0: one per core
  double seconds = 1;
  CompileOptions options;  // whose target and permissions count
};
Status bench_problem(const ProblemArguments& arguments, const Command& command);

}  // namespace hussar::cli
