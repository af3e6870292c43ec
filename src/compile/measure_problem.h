// Times every way to do one piece of work that is given as text (tactics/problem_grammar.h).
#pragma once
#include <string>
#include <vector>

#include "hussar/status.h"
#include "tactics/choose.h"

namespace hussar {

struct ProblemTime {
  Rival rival;             // with the refusal, or with the median time in `measured`
  std::string name;        // Rival::name
  double least = 0;        // microseconds of the fastest run
  bool is_choice = false;  // what would be chosen without measuring
};

struct ProblemTimes {
  std::string problem;  // as it was understood, spelled in full
  double flops = 0;
  double bytes = 0;  // of all inputs and outputs, constants as they are stored for the first rival
  std::vector<ProblemTime> rivals;
};

// Visits the rivals in turn for `seconds`, at least five times each. Their inputs were written just before.
Result<ProblemTimes> measure_problem(const std::string& text, const Target& target, double seconds);

}  // namespace hussar
