// What `hussar build` prints about a plan.
#pragma once
#include <string>

#include "compile/self_check.h"
#include "plan/plan.h"
#include "tools/cli/json.h"

namespace hussar::cli {

struct BuildReport {
  std::string output;
  const Plan& plan;
  CompileReport compile;
  SelfCheckReport check;
  int64_t plan_bytes = 0;
};

// The passes with their times, rewrites, and nodes left.
std::string pass_table(const CompileReport& report);
// Says which steps went back to FP32, if any did.
void warn_about_kept(const SelfCheckReport& check);
std::string summary(const BuildReport& report);
Json to_json(const BuildReport& report);

// Steps by the dtype of their first output, views left out: {"float32": 53, "int64": 2}.
Json precision_counts(const PlanGraph& graph);
// How many steps the reference evaluators run.
int64_t reference_steps(const PlanGraph& graph);

}  // namespace hussar::cli
