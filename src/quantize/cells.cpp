// Errors of rounding and clipping, integrated over the histogram.
#include "quantize/cells.h"

#include <algorithm>
#include <cmath>

namespace hussar {
namespace {

// To the nearest integer, ties to even, for |x| < 2^51; an instruction where std::nearbyint would be a call.
double nearest(double x) {
  constexpr double kMagic = 6755399441055744.0;  // 1.5 * 2^52
  return (x + kMagic) - kMagic;
}

// The integral of (x - nearest(x))^2 from 0 to x.
double rounding_integral(double x) {
  double whole = nearest(x), rest = x - whole;
  return whole / 12 + rest * rest * rest / 3;
}

struct Limits {
  int least, greatest;
};

Limits limits_of(DType dtype) { return dtype == DType::kInt8 ? Limits{-128, 127} : Limits{0, 255}; }

}  // namespace

Cells::Cells(const Statistics& statistics) {
  const double width = std::ldexp(1.0, statistics.exponent());
  const auto negative = statistics.negative(), positive = statistics.positive();
  for (size_t i = negative.size(); i-- > 0;) {
    add(-static_cast<double>(i + 1) * width, -static_cast<double>(i) * width, negative[i]);
  }
  for (size_t i = 0; i < positive.size(); ++i) {
    add(static_cast<double>(i) * width, static_cast<double>(i + 1) * width, positive[i]);
  }
  if (cells_.empty()) return;
  cells_.front().begin = std::max<double>(cells_.front().begin, statistics.min());
  cells_.back().end = std::min<double>(cells_.back().end, statistics.max());
  sums_.emplace_back();
  for (const Cell& cell : cells_) {
    Sums sums = sums_.back();
    double middle = (cell.begin + cell.end) / 2;
    sums.count += cell.count;
    sums.first += cell.count * middle;
    sums.second += cell.count * (middle * middle + cell.width() * cell.width() / 12);
    sums_.push_back(sums);
  }
}

void Cells::add(double begin, double end, uint64_t count) {
  if (count > 0) cells_.push_back({begin, end, static_cast<double>(count)});
}

double Cells::power() const { return sums_.empty() ? 0 : sums_.back().second; }

double Cells::clipped(size_t from, size_t to, double edge) const {
  if (from >= to) return 0;
  double count = sums_[to].count - sums_[from].count, first = sums_[to].first - sums_[from].first;
  double second = sums_[to].second - sums_[from].second;
  return std::max(0.0, second - 2 * edge * first + edge * edge * count);
}

double Cells::squared_error(double step, double low, double high, double enough) const {
  if (cells_.empty()) return 0;
  auto first = std::partition_point(cells_.begin(), cells_.end(), [&](const Cell& it) { return it.end <= low; });
  auto last = std::partition_point(first, cells_.end(), [&](const Cell& it) { return it.begin < high; });
  auto index = [&](auto it) { return static_cast<size_t>(it - cells_.begin()); };
  double error = clipped(0, index(first), low) + clipped(index(last), cells_.size(), high);
  const double inverse = 1 / step;
  double edge = 0, edge_integral = 0;
  for (auto it = first; it != last && error < enough; ++it) {
    double begin = std::max(it->begin, low), end = std::min(it->end, high), width = it->width();
    if (width <= 0) {
      double rest = it->begin * inverse - nearest(it->begin * inverse);
      error += it->count * rest * rest * step * step;
      continue;
    }
    if (begin != edge) edge_integral = rounding_integral(begin * inverse);
    double end_integral = rounding_integral(end * inverse), density = it->count / width;
    error += density * (end_integral - edge_integral) * step * step * step;
    // What sticks out is clipped.
    if (it->begin < low) error += density * std::pow(low - it->begin, 3) / 3;
    if (it->end > high) error += density * std::pow(it->end - high, 3) / 3;
    edge = end;
    edge_integral = end_integral;
  }
  return error;
}

double Cells::clipping_error(double low, double high) const {
  if (cells_.empty()) return 0;
  auto first = std::partition_point(cells_.begin(), cells_.end(), [&](const Cell& it) { return it.end <= low; });
  auto last = std::partition_point(first, cells_.end(), [&](const Cell& it) { return it.begin < high; });
  auto index = [&](auto it) { return static_cast<size_t>(it - cells_.begin()); };
  double error = clipped(0, index(first), low) + clipped(index(last), cells_.size(), high);
  if (first == last) return error;
  // What sticks out of the cells at the edges.
  const Cell &lowest = *first, &highest = *(last - 1);
  if (lowest.begin < low) error += lowest.count / lowest.width() * std::pow(low - lowest.begin, 3) / 3;
  if (highest.end > high) error += highest.count / highest.width() * std::pow(highest.end - high, 3) / 3;
  return error;
}

double Cells::squared_error(const QuantParams& params, double enough) const {
  const Limits limits = limits_of(params.dtype);
  const double step = params.scale;
  return squared_error(step, (limits.least - params.zero_point) * step, (limits.greatest - params.zero_point) * step,
                       enough);
}

}  // namespace hussar
