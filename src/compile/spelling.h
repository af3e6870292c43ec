// How ranges of shapes, targets and times are spelled on the command line and in the options of the C interface.
#pragma once
#include <string_view>

#include "hussar/status.h"
#include "plan/shapes.h"
#include "tensor/place.h"

namespace hussar {

// The range of shapes that a plan is built for.
struct ShapeRange {
  NamedShapes minimum, optimum, maximum;
};
// Dimensions that are equal in all three are fixed to that number, the others are left free. Fails when the three do
// not name the same inputs with the same ranks in rising order.
Result<NamedShapes> shapes_of_range(const ShapeRange& range);

// "cpu", "cpu:scalar", "cpu:avx2", ...; "cuda" and "cuda:1" for a GPU of this machine, "cuda:sm_90a" for any.
struct TargetName {
  int isa = -1;  // cpu::Isa as an integer; -1: the best of this machine
  Place place = Place::kHost;
  int sm = 0;  // of a device: its compute capability, 90 for 9.0
};
Result<TargetName> parse_target(std::string_view text);

// Seconds: "60s", "1.5", "2m".
Result<double> parse_duration(std::string_view text);
// How long `hussar build` and the public interfaces tune unless told otherwise.
inline constexpr const char* kUsualBudget = "10s";

}  // namespace hussar
