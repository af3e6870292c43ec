// The check that ends every build: the plan against a slower plan of the same model, on samples of the user's or
// made-up inputs.
#pragma once
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "hussar/status.h"

namespace hussar {

enum class SelfCheck {
  kOff,
  kQuick,  // at most a few seconds: a big model is checked against a faster reference, or not at all
  kFull,   // whatever it takes
};
// "off", "quick", "full"
Result<SelfCheck> parse_self_check(std::string_view text);

struct SelfCheckOptions {
  SelfCheck level = SelfCheck::kQuick;
  // Of Difference::error(); by default what suits the precisions that are allowed (compile/precision.h).
  std::optional<double> tolerance;
  uint64_t seed = 1;
  NamedShapes shapes;  // at which shapes to run where the plan leaves them open
  // Inputs of runs, in the order of the model's: a quick check takes as many as it has time for, and one at least.
  // Empty: one run on made-up inputs.
  std::vector<std::vector<Tensor>> samples;
  // Told how much of all runs is done, 0 to 1.
  std::function<void(double fraction)> progress;
};

struct SelfCheckReport {
  bool done = false;
  std::string skipped;    // why it was not done
  std::string reference;  // what the plan was compared with: "no passes, scalar code"
  std::string shapes;     // of the inputs of the first run
  size_t samples = 0;     // that were run; 0: made-up inputs
  double error = 0;       // the largest Difference::error() of all outputs
  double tolerance = 0;   // what was allowed
  std::string output;     // the output that has it
  // Outside the tolerance of INT8: the root mean square of the difference in parts of that of what INT8 itself costs,
  // of the output where that is most. Up to a half it is what rounding does to any two plans.
  std::optional<double> of_rounding;
  bool is_rounding() const { return of_rounding && *of_rounding <= 0.5; }
  // Steps that went back to FP32 because the plan was outside the tolerance with all candidates in FP16, or BF16.
  std::vector<std::string> kept_in_fp32;
  std::string_view half = "FP16";  // or "BF16"
  size_t half_candidates = 0;
  double error_in_half = 0;  // of the plan with all candidates in it, where any step went back
  double seconds = 0;
  // "max relative error 3.1e-07 of the output range (0.001 allowed), against ...", "skipped: ..."
  std::string to_string() const;
};

// compile_file, or compile_plan when `path` is a plan, then the check; the figure goes into Plan::meta["self_check"].
// Outside the tolerance of FP16 or BF16, steps go back to FP32 until the plan holds it. Fails with kAccuracy where that
// is not enough, where neither is allowed, or when only the plan fails to run; the message names the first step that
// went wrong.
Result<std::shared_ptr<Plan>> compile_checked(const std::string& path, const CompileOptions& options,
                                              const SelfCheckOptions& check, CompileReport* report = nullptr,
                                              SelfCheckReport* check_report = nullptr);

}  // namespace hussar
