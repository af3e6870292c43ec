// The heuristic choice, and the problem grammar.
#include "tactics/choose.h"

#include <fmt/format.h>

namespace hussar {

double Problem::elements(const Value* value) {
  if (value == nullptr || !value->dims) return 0;
  double total = 1;
  for (const Dim& dim : *value->dims) total *= dim.is_constant() ? static_cast<double>(dim.value()) : 64;
  return total;
}

std::string Problem::to_string() const {
  std::string text = node.op;
  auto operand = [&](const char* prefix, size_t index, const Value* value) {
    if (value == nullptr) return;
    text += fmt::format(" {}{}={}:{}{}", prefix, index, value->dims ? hussar::to_string(*value->dims) : "?",
                        dtype_name(value->dtype), value->layout == Layout::kChannelsLast ? ":nhwc" : "");
  };
  for (size_t i = 0; i < node.inputs.size(); ++i) operand("x", i, node.inputs[i]);
  for (size_t i = 0; i < node.outputs.size(); ++i) operand("y", i, node.outputs[i]);
  for (const auto& [name, attribute] : node.attributes.all()) {
    if (const auto* number = std::get_if<int64_t>(&attribute)) text += fmt::format(" {}={}", name, *number);
    if (const auto* number = std::get_if<float>(&attribute)) text += fmt::format(" {}={:g}", name, *number);
    if (const auto* word = std::get_if<std::string>(&attribute)) text += fmt::format(" {}={}", name, *word);
    if (const auto* list = std::get_if<Ints>(&attribute)) text += fmt::format(" {}={}", name, fmt::join(*list, ","));
  }
  if (node.program) {
    text += " fuse=";
    for (int i = 0; i < node.program->step_count; ++i) {
      text += fmt::format("{}{}", i == 0 ? "" : ",", program_op_name(node.program->steps[i].op));
    }
  }
  return text;
}

Choice choose(const Problem& problem) {
  Choice choice;
  double best = 0;
  for (const Tactic* tactic : all_tactics()) {
    Refusal refusal = tactic->supports(problem);
    if (refusal && *refusal == "op") continue;  // made for another operator: not worth a line in the report
    double cost = refusal ? 0 : tactic->cost(problem);
    choice.rivals.push_back({tactic->kernel, refusal, cost});
    if (refusal || (choice.tactic != nullptr && cost >= best)) continue;
    choice.tactic = tactic;
    best = cost;
  }
  return choice;
}

std::string describe(const Choice& choice) {
  std::string text = choice.tactic == nullptr ? "reference: no kernel takes it" : "";
  for (const Rival& rival : choice.rivals) {
    bool chosen = choice.tactic != nullptr && rival.kernel == choice.tactic->kernel;
    std::string line = chosen          ? fmt::format("{}: chosen, predicted {:.1f} us", rival.kernel, rival.cost)
                       : rival.refusal ? fmt::format("{}: refused, {}", rival.kernel, *rival.refusal)
                                       : fmt::format("{}: slower, predicted {:.1f} us", rival.kernel, rival.cost);
    text += (text.empty() ? "" : "\n") + line;
  }
  return text;
}

}  // namespace hussar
