// Reading and checking bounds.
#include "runtime/size_bounds.h"

#include <algorithm>

#include "base/error.h"
#include "plan/shapes.h"

namespace hussar {

static Result<NamedShapes> shapes_in_meta(const Plan& plan, const std::string& key) {
  auto found = plan.meta.find(key);
  if (found == plan.meta.end()) return NamedShapes();
  auto shapes = parse_shapes(found->second);
  HUSSAR_CHECK(shapes.has_value(), ErrorCode::kPlanIncompatible, "the plan's {} are damaged: {}", key,
               shapes.error().message);
  return shapes;
}

Result<std::vector<SizeBound>> size_bounds(const Plan& plan) {
  const NamedShapes minimum = HUSSAR_TRY(shapes_in_meta(plan, "shapes_min"));
  const NamedShapes maximum = HUSSAR_TRY(shapes_in_meta(plan, "shapes_max"));
  std::vector<SizeBound> bounds;
  for (size_t input = 0; input < plan.graph.inputs.size(); ++input) {
    const std::string& name = plan.graph.values[plan.graph.inputs[input]].name;
    auto low = minimum.find(name), high = maximum.find(name);
    if (low == minimum.end() || high == maximum.end()) continue;
    for (size_t axis = 0; axis < std::min(low->second.size(), high->second.size()); ++axis) {
      const Dim &from = low->second[axis], &to = high->second[axis];
      // Those that are equal are fixed in the graph.
      if (!from.is_constant() || !to.is_constant() || from == to) continue;
      bounds.push_back({input, axis, from.value(), to.value()});
    }
  }
  return bounds;
}

Status check_sizes(const std::vector<SizeBound>& bounds, const PlanGraph& graph, std::span<const Tensor> inputs) {
  for (const SizeBound& bound : bounds) {
    if (bound.input >= inputs.size() || bound.axis >= static_cast<size_t>(inputs[bound.input].shape().rank())) continue;
    const int64_t size = inputs[bound.input].shape()[static_cast<int>(bound.axis)];
    HUSSAR_CHECK(size >= bound.least && size <= bound.most, ErrorCode::kUsage,
                 "dimension {} of input '{}' is {}; the plan was built for {} to {}: build it with other --min-shapes "
                 "and --max-shapes",
                 bound.axis, graph.values[graph.inputs[bound.input]].name, size, bound.least, bound.most);
  }
  return {};
}

}  // namespace hussar
