// Writing a node in the problem grammar.
#include <fmt/format.h>

#include "ops/op_def.h"
#include "tactics/problem_grammar.h"
#include "tactics/tactic.h"
#include "tensor/convert.h"
#include "tensor/program_text.h"

namespace hussar {
namespace {

// A float that reads back as a float.
std::string spell(float number) {
  std::string text = fmt::format("{}", number);
  return text.find_first_of(".en") == std::string::npos ? text + ".0" : text;
}

template <class Number>
std::string spell(const std::vector<Number>& list) {
  std::string text;
  for (Number number : list) {
    text += text.empty() ? "" : ",";
    if constexpr (std::is_same_v<Number, float>)
      text += spell(number);
    else
      text += fmt::format("{}", number);
  }
  return list.size() == 1 ? text + "," : text;
}

// Lengths, axes, scales and bounds; not weights.
std::string spell_elements(const Tensor& tensor) {
  constexpr int64_t kMostIntegers = 16, kMostReals = 4;
  const char type = compute_type(tensor.dtype());
  auto list = [&](auto number, int64_t most) -> std::string {
    if (tensor.elements() > most) return "";
    std::vector<decltype(number)> numbers(static_cast<size_t>(tensor.elements()));
    load_elements(tensor, 0, tensor.elements(), numbers.data());
    return fmt::format(":{{{}}}", fmt::join(numbers, ","));
  };
  if (type == 'i' || type == 'u') return list(int64_t{}, kMostIntegers);
  return type == '-' ? "" : list(double{}, kMostReals);
}

std::string spell_value(const Node& node, const Value& value) {
  std::string text = value.dims ? to_string(*value.dims) : "?";
  if (value.dims && value.dims->empty()) text = "scalar";
  text += fmt::format(":{}", dtype_name(value.dtype));
  if (value.layout == Layout::kChannelsLast)
    text += ":nhwc";
  else if (works_on_images(node.op) && value.rank() >= 3 && !value.is_constant())
    text += ":nchw";
  if (!value.is_constant()) return text;
  return text + ":const" + spell_elements(*value.constant);
}

}  // namespace

// What the kernels for sparse weights go by.
static std::string spell_sparsity(const Node& node) {
  // Small constants are spelled out.
  const bool is_spelled =
      node.input(1) != nullptr && node.input(1)->is_constant() && node.inputs[1]->constant->elements() <= 16;
  const int64_t columns = is_spelled ? 0 : shared_columns(node);
  return columns == 0 ? "" : columns == 1 ? ":2:4" : fmt::format(":2:4x{}", columns);
}

std::string spell_problem(const Node& node) {
  std::string text = node.op;
  auto operands = [&](char prefix, const std::vector<Value*>& values) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (values[i] == nullptr) continue;
      text += fmt::format(" {}{}={}", prefix, i, spell_value(node, *values[i]));
      if (prefix == 'x' && i == 1) text += spell_sparsity(node);
    }
  };
  operands('x', node.inputs);
  operands('y', node.outputs);
  for (const auto& [name, attribute] : node.attributes.all()) {
    text += fmt::format(" {}=", name);
    if (const auto* number = std::get_if<int64_t>(&attribute))
      text += fmt::format("{}", *number);
    else if (const auto* real = std::get_if<float>(&attribute))
      text += spell(*real);
    else if (const auto* word = std::get_if<std::string>(&attribute))
      text += fmt::format("\"{}\"", *word);
    else if (const auto* ints = std::get_if<Ints>(&attribute))
      text += spell(*ints);
    else if (const auto* floats = std::get_if<Floats>(&attribute))
      text += spell(*floats);
    else
      text += "?";
  }
  if (node.program) text += " fuse=" + spell_program(*node.program, node.program_inputs);
  return text;
}

}  // namespace hussar
