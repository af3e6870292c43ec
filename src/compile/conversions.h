// Steps that only change how numbers are laid out or how exact they are: the edges between work that wants different
// ones.
#pragma once
#include "plan/plan.h"

namespace hussar {

enum class Conversion : uint8_t { kNone, kLayout, kPrecision };

// kPrecision: from one floating-point type to another, to bytes and from them. Conversions that a kernel makes while it
// reads or writes are no steps.
Conversion conversion_of(const PlanGraph& graph, const PlanStep& step);

struct ConversionCount {
  int64_t steps = 0;
  int64_t views = 0;        // of these, that move no byte
  double microseconds = 0;  // of all of them
};

// The conversions of a plan, and what they take of its time.
struct Conversions {
  ConversionCount layout, precision;
  double microseconds = 0;  // of all steps, also of others

  void add(Conversion kind, bool is_view, double microseconds_of_step);
  // Of all steps; 0 where no time is known.
  double share(const ConversionCount& count) const;
};
// Those of the graph and of bodies, with the times that the plan states: measured where rivals were, else predicted.
Conversions expected_conversions(const PlanGraph& graph);

}  // namespace hussar
