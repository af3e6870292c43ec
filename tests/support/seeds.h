// The small models in tests/bad_input/seeds, and what keeps tests with damaged ones from running for ever.
#pragma once
#include <cstddef>
#include <span>
#include <string>
#include <vector>

#include "plan/plan.h"

namespace hussar::tests {

// Without ".onnx", sorted.
std::vector<std::string> seed_names();
std::vector<std::byte> seed_bytes(const std::string& name);
// Loops run as often as the plan says: true when every one says a small constant.
bool ends_soon(const PlanGraph& graph, std::span<const std::byte> constants);

}  // namespace hussar::tests
