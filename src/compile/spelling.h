// How ranges of shapes, targets and times are spelled on the command line and in the options of the C interface.
#pragma once
#include <string_view>

#include "hussar/status.h"
#include "plan/shapes.h"

namespace hussar {

// The range of shapes that a plan is built for.
struct ShapeRange {
  NamedShapes minimum, optimum, maximum;
};
// Dimensions that are equal in all three are fixed to that number, the others are left free. Fails when the three do
// not name the same inputs with the same ranks in rising order.
Result<NamedShapes> shapes_of_range(const ShapeRange& range);

// "cpu", "cpu:scalar", "cpu:avx2", "cpu:avx512", ... -> cpu::Isa as an integer; -1 for plain "cpu".
Result<int> parse_target(std::string_view text);

// Seconds: "60s", "1.5", "2m".
Result<double> parse_duration(std::string_view text);
// How long `hussar build` and the public interfaces tune unless told otherwise.
inline constexpr const char* kUsualBudget = "10s";

}  // namespace hussar
