// What every method makes of the tensors of a calibration, side by side.
#pragma once
#include <string>
#include <vector>

#include "quantize/calibration.h"

namespace hussar {

// All but auto, which stands for one of them.
std::vector<Method> methods_in_order();

struct TensorRanges {
  std::string name;
  std::vector<Range> ranges;  // by methods_in_order(), for uint8; none where nothing was counted
};

// In the order of the calibration.
std::vector<TensorRanges> ranges_of_all_methods(const Calibration& calibration);

// A histogram in at most `most` bars of equal width, from the least element to the greatest.
struct Bars {
  double begin = 0, width = 0;
  std::vector<double> counts;
};
Bars bars_of(const Statistics& statistics, size_t most);

}  // namespace hussar
