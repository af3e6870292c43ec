// From ONNX bytes to outputs in one call, as a user's program goes: import, compile, encode, decode, run.
#pragma once
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "compile/compile.h"
#include "hussar/status.h"
#include "runtime/session.h"

namespace hussar::tests {

// Through the file form of the plan.
Result<std::shared_ptr<const Plan>> build(std::span<const std::byte> model, const CompileOptions& options = {});
Result<std::shared_ptr<const Plan>> reload(const Plan& plan);
// Bytes as decode_plan wants them: aligned, and kept alive by the owner.
std::pair<std::span<const std::byte>, std::shared_ptr<const void>> aligned_copy(std::span<const std::byte> bytes);

// An input for every plan input: random but the same for the same seed, symbols set to `symbol`. nullopt when that
// would take more than `max_elements`.
std::optional<std::vector<Tensor>> make_inputs(const Plan& plan, uint32_t seed, int64_t symbol, int64_t max_elements);
// The most elements that any value of the plan has when symbols are `symbol`; what is not known counts as nothing.
double largest_value(const PlanGraph& graph, int64_t symbol);

}  // namespace hussar::tests
