// The sizes of open dimensions that a plan was built for.
#pragma once
#include <span>
#include <vector>

#include "hussar/status.h"
#include "plan/plan.h"

namespace hussar {

struct SizeBound {
  size_t input, axis;
  int64_t least, most;
};

// From Plan::meta["shapes_min"] and ["shapes_max"]; none where a plan says nothing. Fails when they cannot be read.
Result<std::vector<SizeBound>> size_bounds(const Plan& plan);

// The inputs are in plan order. Numbers of inputs and ranks are left to others.
Status check_sizes(const std::vector<SizeBound>& bounds, const PlanGraph& graph, std::span<const Tensor> inputs);

}  // namespace hussar
