// Bisection over the steps, by what keeping them does to the outputs. The error that a step makes itself says little:
// most of what arrives at the outputs is what later steps have made of it.
#include "compile/keep_fp32.h"

namespace hussar {

Result<Kept> choose_kept(size_t count, double tolerance, int most_trials, const Trial& trial) {
  // Keeping `base` and all of [begin, end) is known, or taken, to be enough.
  Kept base(count, false);
  size_t begin = 0, end = count;
  auto with = [&base](size_t from, size_t to) {
    Kept kept = base;
    for (size_t i = from; i < to; ++i) kept[i] = true;
    return kept;
  };
  for (int trials = 0; end - begin > 1 && trials + 2 <= most_trials; ++trials) {
    const size_t middle = begin + (end - begin) / 2;
    const double front = HUSSAR_TRY(trial(with(begin, middle)));
    if (front <= tolerance) {
      end = middle;
      continue;
    }
    ++trials;
    const double back = HUSSAR_TRY(trial(with(middle, end)));
    if (back <= tolerance) {
      begin = middle;
    } else if (front <= back) {
      // Both halves are needed: all of the one that does more, and a part of the other.
      base = with(begin, middle);
      begin = middle;
    } else {
      base = with(middle, end);
      end = middle;
    }
  }
  return with(begin, end);
}

}  // namespace hussar
