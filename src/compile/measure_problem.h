// Times every way to do one piece of work that is given as text (tactics/problem_grammar.h).
#pragma once
#include <string>
#include <vector>

#include "hussar/status.h"
#include "tactics/choose.h"

namespace hussar {

struct ProblemTime {
  std::string name;                 // Rival::name, or "reference" for the evaluator of the operator
  Refusal refusal;                  // why it cannot
  std::optional<double> predicted;  // microseconds, as are the next two
  std::optional<double> median;
  double least = 0;
  bool is_choice = false;  // what would be chosen without measuring
};

struct ProblemTimes {
  std::string problem;  // as it was understood, spelled in full
  double flops = 0;
  // Of all inputs and outputs as the problem states them. Not as a rival packs its weights: then whoever makes them
  // larger would seem to be nearer to the roofline, and shares could not be compared.
  double bytes = 0;
  DType multiplies_in = DType::kUndefined;  // Kernel::multiplies_in of the first rival
  std::vector<ProblemTime> rivals;
};

// Visits the rivals in turn for `seconds`, at least five times each; the reference evaluator five times. Their inputs
// were written just before. On a GPU those that tuning would look at are measured, as tune_device does it.
Result<ProblemTimes> measure_problem(const std::string& text, const Target& target, double seconds);

}  // namespace hussar
