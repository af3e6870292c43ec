// Steps of which not all rows are needed (kRowCountAttribute in plan/kernel.h).
#pragma once
#include <cstdint>

#include "plan/plan.h"

namespace hussar {

// The value whose last element counts them; -1: all are needed, or what the step says makes no sense.
int32_t row_count_value(const PlanGraph& graph, const PlanStep& step);
// The dimensions in front that count the rows of its outputs.
int row_count_axes(const PlanStep& step);

}  // namespace hussar
