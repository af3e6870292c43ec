// keep_fp32: which steps of a plan that computes in FP16, or BF16, go back to FP32 so that it holds its tolerance.
#pragma once
#include <functional>
#include <string_view>
#include <vector>

#include "hussar/status.h"

namespace hussar {

// What `hussar inspect` says of such steps.
inline constexpr std::string_view kTooInexact = "kept in FP32: FP16 would exceed the tolerance",
                                  kTooInexactInBf16 = "kept in FP32: BF16 would exceed the tolerance";

// One entry per step that may compute in FP16 or BF16, in the order of execution: whether it stays in FP32.
using Kept = std::vector<bool>;
// The error of the outputs with these steps in FP32.
using Trial = std::function<Result<double>(const Kept&)>;

// For `count` steps that miss the tolerance when all of them compute in it. Goes by halves and tries at most
// `most_trials` plans. The result has held the tolerance in a trial, or it is all steps, which are not tried.
Result<Kept> choose_kept(size_t count, double tolerance, int most_trials, const Trial& trial);

}  // namespace hussar
