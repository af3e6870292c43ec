// Equations of Einsum: labels of every operand and of the output.
#include "ops/einsum.h"

#include <algorithm>
#include <cctype>
#include <map>
#include <string_view>

#include "hussar/tensor.h"

namespace hussar {
namespace {

// Splits one term into labels. An ellipsis takes `ellipsis` dimensions.
std::optional<Labels> parse_term(std::string_view term, int ellipsis, bool& has_ellipsis) {
  Labels labels;
  for (size_t i = 0; i < term.size(); ++i) {
    if (std::isalpha(static_cast<unsigned char>(term[i])) != 0) {
      labels.push_back(term[i]);
      continue;
    }
    if (term.substr(i, 3) != "..." || has_ellipsis || ellipsis < 0) return std::nullopt;
    has_ellipsis = true;
    for (int k = ellipsis - 1; k >= 0; --k) labels.push_back(k);
    i += 2;
  }
  return labels;
}

Labels implicit_output(const std::vector<Labels>& inputs, int ellipsis) {
  std::map<int, int> uses;
  for (const Labels& labels : inputs) {
    for (int label : labels) ++uses[label];
  }
  Labels output;
  for (int k = ellipsis - 1; k >= 0; --k) output.push_back(k);
  for (auto [label, count] : uses) {
    if (label >= kMaxRank && count == 1) output.push_back(label);
  }
  return output;
}

}  // namespace

std::optional<Equation> parse_equation(std::string text, const std::vector<int>& ranks) {
  std::erase(text, ' ');
  size_t arrow = text.find("->");
  std::string_view left = std::string_view(text).substr(0, arrow);
  Equation equation;
  int widest = 0;
  for (size_t begin = 0; begin <= left.size();) {
    size_t end = std::min(left.find(',', begin), left.size());
    std::string_view term = left.substr(begin, end - begin);
    if (equation.inputs.size() >= ranks.size()) return std::nullopt;
    int rank = ranks[equation.inputs.size()];
    bool dotted = term.find("...") != std::string_view::npos;
    int ellipsis = dotted ? rank - static_cast<int>(term.size()) + 3 : 0;
    bool seen = false;
    auto labels = parse_term(term, ellipsis, seen);
    if (!labels || static_cast<int>(labels->size()) != rank) return std::nullopt;
    widest = std::max(widest, ellipsis);
    equation.inputs.push_back(std::move(*labels));
    begin = end + 1;
  }
  if (equation.inputs.size() != ranks.size()) return std::nullopt;
  if (arrow == std::string::npos) {
    equation.output = implicit_output(equation.inputs, widest);
    return equation;
  }
  bool seen = false;
  auto labels = parse_term(std::string_view(text).substr(arrow + 2), widest, seen);
  if (!labels) return std::nullopt;
  equation.output = std::move(*labels);
  return equation;
}

}  // namespace hussar
