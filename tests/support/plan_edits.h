// Single changes of a plan, each of which leaves it well-formed enough to be written.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace hussar::tests {

struct Edit {
  std::string name;  // "value 3 dtype int64"
  // Applies to any plan with the graph that edits_of() has seen, changed by other edits or not.
  std::function<void(Plan&)> apply;
};

// Every edit of every value and step, bodies included.
std::vector<Edit> edits_of(const Plan& plan);

}  // namespace hussar::tests
