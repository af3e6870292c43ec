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

// The sum of rounding_integral(end) - rounding_integral(begin) of cells, times their densities. Once for all x86-64 and
// once for those with AVX2, neither with fused multiply-adds: the same bits.
__attribute__((always_inline)) inline double integrate(const double* begins, const double* ends,
                                                       const double* densities, size_t count, double inverse) {
  using Vector = double __attribute__((vector_size(32), aligned(8), may_alias));
  constexpr size_t kWidth = 4;
  constexpr double kMagic = 6755399441055744.0;  // as nearest()
  Vector sum = {};
  size_t i = 0;
  for (; i + kWidth <= count; i += kWidth) {
    const Vector begin = *reinterpret_cast<const Vector*>(begins + i) * inverse;
    const Vector end = *reinterpret_cast<const Vector*>(ends + i) * inverse;
    const Vector begin_whole = (begin + kMagic) - kMagic, end_whole = (end + kMagic) - kMagic;
    const Vector begin_rest = begin - begin_whole, end_rest = end - end_whole;
    const Vector wholes = (end_whole - begin_whole) * (1.0 / 12);
    const Vector rests = (end_rest * end_rest * end_rest - begin_rest * begin_rest * begin_rest) * (1.0 / 3);
    sum += *reinterpret_cast<const Vector*>(densities + i) * (wholes + rests);
  }
  double total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (; i < count; ++i)
    total += densities[i] * (rounding_integral(ends[i] * inverse) - rounding_integral(begins[i] * inverse));
  return total;
}

double integrate_anywhere(const double* begins, const double* ends, const double* densities, size_t count,
                          double inverse) {
  return integrate(begins, ends, densities, count, inverse);
}
#ifdef __x86_64__
__attribute__((target("avx2"))) double integrate_avx2(const double* begins, const double* ends, const double* densities,
                                                      size_t count, double inverse) {
  return integrate(begins, ends, densities, count, inverse);
}
const auto kIntegrate = __builtin_cpu_supports("avx2") != 0 ? integrate_avx2 : integrate_anywhere;
#else
const auto kIntegrate = integrate_anywhere;
#endif

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
    begins_.push_back(cell.begin);
    ends_.push_back(cell.end);
    densities_.push_back(cell.width() > 0 ? cell.count / cell.width() : 0);
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

// Of a cell that may be cut off, or have no width.
static double edge_error(double begin, double end, double count, double step, double low, double high) {
  const double width = end - begin, inverse = 1 / step;
  if (width <= 0) {
    const double rest = begin * inverse - nearest(begin * inverse);
    return count * rest * rest * step * step;
  }
  const double density = count / width, inner = std::max(begin, low), outer = std::min(end, high);
  const double integral = rounding_integral(outer * inverse) - rounding_integral(inner * inverse);
  double error = density * integral * step * step * step;
  // What sticks out is clipped.
  if (begin < low) error += density * std::pow(low - begin, 3) / 3;
  if (end > high) error += density * std::pow(end - high, 3) / 3;
  return error;
}

double Cells::squared_error(double step, double low, double high, double enough) const {
  if (cells_.empty()) return 0;
  auto first_cell = std::partition_point(cells_.begin(), cells_.end(), [&](const Cell& it) { return it.end <= low; });
  auto last_cell = std::partition_point(first_cell, cells_.end(), [&](const Cell& it) { return it.begin < high; });
  const auto first = static_cast<size_t>(first_cell - cells_.begin());
  const auto last = static_cast<size_t>(last_cell - cells_.begin());
  double error = clipped(0, first, low) + clipped(last, cells_.size(), high);
  if (first == last) return error;
  auto edge = [&](const Cell& cell) { return edge_error(cell.begin, cell.end, cell.count, step, low, high); };
  error += edge(cells_[first]);
  if (last - first > 1) error += edge(cells_[last - 1]);
  constexpr size_t kTogether = 256;
  for (size_t at = first + 1; at + 1 < last && error < enough; at += kTogether) {
    const size_t count = std::min(kTogether, last - 1 - at);
    error += kIntegrate(begins_.data() + at, ends_.data() + at, densities_.data() + at, count, 1 / step) * step * step *
             step;
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
