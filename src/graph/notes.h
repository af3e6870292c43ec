// What passes leave on a node for whoever reads the plan: no part of the work.
#pragma once
#include <string_view>

namespace hussar {

// A text attribute: which form a pass that chooses gave the node, and what the forms take. The problem grammar leaves
// it out; freezing moves it into PlanStep::report.
inline constexpr std::string_view kFormNote = "hussar_form";

}  // namespace hussar
