// Reading seeds, and looking at loops.
#include "tests/support/seeds.h"

#include <algorithm>
#include <cstring>
#include <filesystem>

#include "base/file.h"

namespace hussar::tests {

std::vector<std::string> seed_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(HUSSAR_TESTS "/bad_input/seeds")) {
    if (entry.path().extension() == ".onnx") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

std::vector<std::byte> seed_bytes(const std::string& name) {
  auto file = MappedFile::open(HUSSAR_TESTS "/bad_input/seeds/" + name + ".onnx");
  if (!file) return {};
  auto bytes = (*file)->bytes();
  return {bytes.begin(), bytes.end()};
}

bool ends_soon(const PlanGraph& graph, std::span<const std::byte> constants) {
  for (const PlanStep& step : graph.steps) {
    if (step.op == "Loop") {
      if (step.inputs.empty() || step.inputs[0] < 0) return false;
      const PlanValue& trips = graph.values[step.inputs[0]];
      if (trips.storage != Storage::kConstant || trips.dtype != DType::kInt64) return false;
      int64_t count = 0;
      if (trips.constant_offset + sizeof(count) > constants.size()) return false;
      std::memcpy(&count, constants.data() + trips.constant_offset, sizeof(count));
      if (count > 100) return false;
    }
    for (const auto& [name, body] : step.bodies) {
      if (!ends_soon(*body, constants)) return false;
    }
  }
  return true;
}

}  // namespace hussar::tests
