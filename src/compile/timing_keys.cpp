// Names of machines, rivals and problems.
#include "compile/timing_keys.h"

#include <fmt/format.h>

#include <map>
#include <mutex>

#include "backends/cpu/cpu_identity.h"
#include "backends/cpu/isa.h"
#include "compile/compile.h"
#include "plan/device.h"
#include "plan/kernel.h"

namespace hussar {
namespace {

// Opening a device takes a tenth of a second.
std::string device_identity(const std::string& target) {
  static std::mutex mutex;
  static std::map<std::string, std::string> known;
  std::lock_guard lock(mutex);
  auto [it, is_new] = known.emplace(target, "");
  if (is_new) {
    if (auto device = open_device(target, 0)) it->second = (*device)->identity();
  }
  return it->second;
}

bool has_symbols(const Node& node) {
  for (const auto* list : {&node.inputs, &node.outputs}) {
    for (const Value* value : *list) {
      if (value != nullptr && value->dims && !value->static_shape()) return true;
    }
  }
  return false;
}

}  // namespace

std::string machine_of(const Target& target) {
  if (target.place == Place::kDevice)
    return device_identity(target_name(target)) + (target.no_tf32.empty() ? " tf32" : "");
  return fmt::format("{} {} threads={}", cpu::cpu_identity(), cpu::isa_name(static_cast<cpu::Isa>(target.isa)),
                     target.threads);
}

std::string rival_key(const Rival& rival, const Target& target) {
  const Kernel* kernel = find_kernel(rival.tactic->kernel);
  const std::string library = rival.tactic->vendor_library != nullptr ? " " + rival.tactic->vendor_library() : "";
  return fmt::format("{}@{}{}", rival.name(target), kernel != nullptr ? kernel->version : 0, library);
}

// What the bytes of a step stand for is no question of time: steps that differ in nothing else are measured once.
static std::string without_meanings(std::string text) {
  for (std::string_view name :
       {" x_scale=", " y_scale=", " y_zero_point=", " operand_scale=", " operand_zero_point="}) {
    const size_t begin = text.find(name);
    if (begin != std::string::npos) text.erase(begin, text.find(' ', begin + 1) - begin);
  }
  return text;
}

std::string problem_key(const Problem& problem, const NamedShapes& shapes) {
  std::string key = without_meanings(problem.to_string());
  return has_symbols(problem.node) ? key + " at " + spell_shapes(shapes) : key;
}

std::string timing_key(const std::string& problem, const Rival& rival) {
  std::string key = problem;
  if (rival.tactic->place != Place::kDevice || rival.tactic->two_of_four) return key;
  constexpr std::string_view kMark = ":2:4";
  for (size_t begin = key.find(kMark); begin != std::string::npos; begin = key.find(kMark, begin))
    key.erase(begin, key.find_first_of(" :", begin + kMark.size()) - begin);
  return key;
}

}  // namespace hussar
