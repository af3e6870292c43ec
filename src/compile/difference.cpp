// Measuring differences, in double precision and in one sweep per figure.
#include "compile/difference.h"

#include <cmath>
#include <limits>
#include <vector>

#include "tensor/convert.h"

namespace hussar {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();
// Two candidates for the largest element that lie closer than this share of the range are a tie.
constexpr double kTie = 1e-3;

size_t argmax(const double* row, int64_t count) {
  size_t best = 0;
  for (int64_t i = 1; i < count; ++i) {
    if (row[i] > row[best]) best = static_cast<size_t>(i);
  }
  return best;
}

void compare_rows(const std::vector<double>& a, const std::vector<double>& b, int64_t width, Difference& result) {
  for (size_t first = 0; first + static_cast<size_t>(width) <= a.size(); first += static_cast<size_t>(width)) {
    double best = a[first + argmax(&a[first], width)];
    double other = a[first + argmax(&b[first], width)];
    ++result.rows;
    if (best - other <= kTie * result.range || best == other) ++result.rows_agreeing;
  }
}

}  // namespace

double Difference::relative() const {
  if (!incomparable.empty() || non_finite_apart > 0) return kInfinity;
  if (max_absolute == 0) return 0;
  return range > 0 ? max_absolute / range : max_absolute;
}

double Difference::error() const {
  if (!incomparable.empty() || non_finite_apart > 0) return kInfinity;
  if (floating) return relative();
  return elements == 0 ? 0 : static_cast<double>(different) / static_cast<double>(elements);
}

Difference difference(const Tensor& reference, const Tensor& other) {
  Difference result;
  result.elements = reference.elements();
  result.floating = is_floating(reference.dtype());
  if (reference.dtype() != other.dtype()) {
    result.incomparable =
        std::string(dtype_name(reference.dtype())) + " against " + std::string(dtype_name(other.dtype()));
  } else if (!(reference.shape() == other.shape())) {
    result.incomparable = "shape " + reference.shape().to_string() + " against " + other.shape().to_string();
  }
  if (!result.incomparable.empty()) return result;
  std::vector<double> a = to_doubles(reference), b = to_doubles(other);
  double low = kInfinity, high = -kInfinity, noise = 0, power_a = 0, power_b = 0, dot = 0, magnitude = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    bool equal = a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]));
    if (!equal) ++result.different;
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      if (!equal) ++result.non_finite_apart;
      continue;
    }
    low = std::min(low, a[i]);
    high = std::max(high, a[i]);
    magnitude = std::max(magnitude, std::abs(a[i]));
    double apart = std::abs(a[i] - b[i]);
    result.max_absolute = std::max(result.max_absolute, apart);
    noise += apart * apart;
    power_a += a[i] * a[i];
    power_b += b[i] * b[i];
    dot += a[i] * b[i];
  }
  result.range = high > low ? high - low : magnitude;
  if (power_a > 0 || power_b > 0) result.cosine = dot / std::sqrt(power_a) / std::sqrt(power_b);
  if (!(power_a > 0 && power_b > 0) && (power_a > 0 || power_b > 0)) result.cosine = 0;
  result.sqnr_db = noise > 0 ? 10 * std::log10(power_a / noise) : kInfinity;
  int rank = reference.shape().rank();
  int64_t width = rank > 0 ? reference.shape()[rank - 1] : 1;
  if (width > 1) compare_rows(a, b, width, result);
  return result;
}

}  // namespace hussar
