// The equation of an Einsum, taken apart.
#pragma once
#include <optional>
#include <string>
#include <vector>

namespace hussar {

// A label names a dimension: a letter, or 0, 1, ... for those of an ellipsis, from the right.
using Labels = std::vector<int>;

struct Equation {
  std::vector<Labels> inputs;
  Labels output;
};

// nullopt: the equation is malformed or does not fit the ranks.
std::optional<Equation> parse_equation(std::string text, const std::vector<int>& ranks);

}  // namespace hussar
