// What is expected of steps that need not compute all rows of their outputs (Run::row_count), while a plan is made.
#pragma once
#include <string_view>

#include "tensor/attributes.h"

namespace hussar {

// Of a node: the part of the rows that is needed, as a rule. A float, which no plan keeps.
inline constexpr std::string_view kTokenPartAttribute = "hussar_token_part";
inline double expected_rows(const Attributes& attributes) {
  return double{attributes.get_float(kTokenPartAttribute, 1)};
}

}  // namespace hussar
