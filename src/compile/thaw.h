// thaw: Plan -> the Graph that it was frozen from, weights unpacked. The passes have run on it; only the choice of
// kernels is open again.
#pragma once
#include "graph/graph.h"
#include "plan/plan.h"

namespace hussar {

// Constants that were not packed are views of the plan's, which they keep alive.
Result<Graph> thaw(const Plan& plan);

}  // namespace hussar
