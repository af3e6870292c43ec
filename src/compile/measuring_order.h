// MeasuringOrder: what a GPU's tuner measures next, when its time may end at any moment.
//
// First every piece of work in the hands of the rival that is predicted to win, the most expensive work first: that is
// what the plan takes if time ends then. From there on it is always the rival with the largest expected gain: how much
// less than the fastest so far it may take, by its prediction and how far predictions were off for its kernel, times
// the steps that do this work. What is too slow even if nothing but the memory and the multipliers' rate bounded it,
// and what would gain next to nothing of the model, is left out.
#pragma once
#include <cstddef>
#include <map>
#include <optional>
#include <vector>

namespace hussar {

// One way to do a piece of work. The usual way of a kernel stands before its configurations.
struct Contender {
  double predicted = 0;        // microseconds
  int kernel = 0;              // the same number: the same kernel, in all contests
  bool is_usual = true;        // not in a configuration
  bool two_of_four = false;    // multiplies 2:4 weights, and must win against a dense one
  bool is_impossible = false;  // the device does not take it after all
  std::optional<double> measured;
};

// A piece of work and who could do it.
struct WorkContest {
  std::vector<Contender> contenders;
  size_t first = 0;  // the contender that is predicted to win, in its usual way
  double count = 1;  // of the steps of the model that do this work
  double least = 0;  // microseconds that no kernel goes below

  // The fastest that is known; nullopt: none.
  std::optional<size_t> best() const;
};

class MeasuringOrder {
 public:
  // Contenders of one contest that are measured together, in turn. What is known to be the fastest so far is the first
  // of them, so that the others' times can be brought to the scale of its known one.
  struct Visit {
    size_t contest = 0;
    std::vector<size_t> contenders;
    double gain = 0;  // microseconds of the model that may be expected; 0: the first visit
    double part = 1;  // the same as a part of the time of all contests; 1: the first visit
  };

  // everything: all contenders are measured, those of a contest together.
  explicit MeasuringOrder(std::vector<WorkContest> contests, bool everything = false);

  // What to measure, the next visit first; what is behind it may change by what it shows. Empty: nothing is worth it.
  std::vector<Visit> visits() const;
  void record(size_t contest, size_t contender, double microseconds);
  void rule_out(size_t contest, size_t contender);
  const std::vector<WorkContest>& contests() const { return contests_; }

 private:
  Visit first_visit(const WorkContest& contest, size_t index) const;
  Visit refinement(const WorkContest& contest, size_t index, double worthwhile) const;
  double expected_gain(const WorkContest& contest, const Contender& contender, double best) const;
  std::optional<double> usual_error(int kernel) const;

  std::vector<WorkContest> contests_;
  // By kernel, as far as it was asked for since the last measurement.
  mutable std::map<int, std::optional<double>> usual_errors_;
  bool everything_;
};

}  // namespace hussar
