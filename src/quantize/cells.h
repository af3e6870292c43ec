// Cells: a histogram prepared for questions about errors.
#pragma once
#include <limits>
#include <vector>

#include "quantize/statistics.h"
#include "tensor/quant_params.h"

namespace hussar {

// The non-empty bins from the least element to the greatest, cut off at both; zeros are left out. Within a cell the
// elements are taken to be spread evenly.
class Cells {
 public:
  explicit Cells(const Statistics& statistics);

  // The sum of squared errors when elements are rounded to multiples of `step` within [low, high], both of which are
  // multiples, and clipped to it. From `enough` on it may be any number that is not less.
  double squared_error(double step, double low, double high, double enough = kAll) const;
  double squared_error(const QuantParams& params, double enough = kAll) const;
  // What clipping to [low, high] alone makes.
  double clipping_error(double low, double high) const;
  // Sum of squares.
  double power() const;
  bool empty() const { return cells_.empty(); }

 private:
  static constexpr double kAll = std::numeric_limits<double>::infinity();
  struct Cell {
    double begin, end, count;
    double width() const { return end - begin; }
  };
  // Sums over the first i cells of count, of elements, and of their squares.
  struct Sums {
    double count = 0, first = 0, second = 0;
  };
  void add(double begin, double end, uint64_t count);
  // Of the elements beyond `edge` of all cells in [from, to): the sum of (x - edge) squared.
  double clipped(size_t from, size_t to, double edge) const;

  std::vector<Cell> cells_;
  std::vector<double> begins_, ends_, densities_;  // of the cells
  std::vector<Sums> sums_;
};

}  // namespace hussar
