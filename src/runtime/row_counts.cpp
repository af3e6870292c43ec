#include "runtime/row_counts.h"

#include "plan/kernel.h"

namespace hussar {

int32_t row_count_value(const PlanGraph& graph, const PlanStep& step) {
  const Ints* hint = step.attributes.find<Ints>(kRowCountAttribute);
  if (hint == nullptr || hint->size() != 2) return -1;
  const int64_t index = (*hint)[0];
  if (index < 0 || index >= static_cast<int64_t>(graph.values.size())) return -1;
  const PlanValue& value = graph.values[static_cast<size_t>(index)];
  const bool fits = value.dtype == DType::kInt32 && value.storage == Storage::kArena && value.dims->size() == 1;
  return fits ? static_cast<int32_t>(index) : -1;
}

int row_count_axes(const PlanStep& step) {
  const Ints* hint = step.attributes.find<Ints>(kRowCountAttribute);
  return hint != nullptr && hint->size() == 2 && (*hint)[1] > 0 && (*hint)[1] <= kMaxRank ? static_cast<int>((*hint)[1])
                                                                                          : 0;
}

}  // namespace hussar
