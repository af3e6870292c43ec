// The methods.
#include "quantize/range.h"

#include <algorithm>
#include <array>
#include <cfloat>
#include <cmath>
#include <limits>
#include <numeric>

#include "quantize/cells.h"
#include "quantize/entropy.h"

namespace hussar {
namespace {

struct NamedMethod {
  Method method;
  std::string_view name;
};
constexpr NamedMethod kMethods[] = {
    {Method::kAuto, "auto"},
    {Method::kEntropy, "entropy"},
    {Method::kMinMax, "minmax"},
    {Method::kPercentile999, "percentile99.9"},
    {Method::kPercentile9999, "percentile99.99"},
    {Method::kPercentile99999, "percentile99.999"},
    {Method::kMse, "mse"},
};

struct Bounds {
  double low = 0, high = 0;
};

Bounds extremes(const Statistics& statistics) {
  return {std::min<double>(statistics.min(), 0), std::max<double>(statistics.max(), 0)};
}

Bounds cut(const Bounds& bounds, double threshold) {
  return {std::max(bounds.low, -threshold), std::min(bounds.high, threshold)};
}

// Where the counts from the top bin down reach `wanted`, in bins; within a bin as if its elements were evenly spread.
double upper_tail(std::span<const double> counts, double wanted) {
  for (size_t i = counts.size(); i-- > 0;) {
    if (counts[i] >= wanted && counts[i] > 0) return static_cast<double>(i + 1) - wanted / counts[i];
    wanted -= counts[i];
  }
  return 0;
}

std::vector<double> counts_of(std::span<const uint64_t> side) { return {side.begin(), side.end()}; }

std::vector<double> magnitudes_of(const Statistics& statistics) {
  std::vector<double> magnitudes = counts_of(statistics.positive());
  auto negative = statistics.negative();
  for (size_t i = 0; i < negative.size(); ++i) magnitudes[i] += static_cast<double>(negative[i]);
  return magnitudes;
}

// Of asymmetric ranges each tail gives half of what is clipped, the only one all of it.
Bounds percentile(const Statistics& statistics, double clipped_share, bool is_symmetric) {
  const Bounds all = extremes(statistics);
  const double width = std::ldexp(1.0, statistics.exponent());
  const double clipped = clipped_share * static_cast<double>(statistics.finite());
  if (is_symmetric || all.low == 0 || all.high == 0) {
    return cut(all, width * upper_tail(magnitudes_of(statistics), clipped));
  }
  return {std::max(all.low, -width * upper_tail(counts_of(statistics.negative()), clipped / 2)),
          std::min(all.high, width * upper_tail(counts_of(statistics.positive()), clipped / 2))};
}

// Integers of 8 bits: how many steps a range has.
constexpr double kStepsAsymmetric = 255, kStepsSymmetric = 127;

Range as_range(const Bounds& bounds) {
  return {static_cast<float>(bounds.low), static_cast<float>(bounds.high), Method::kMse, ""};
}

// Least squared error along one line of ranges: coarse steps first, as there may be several minima, then fine ones.
template <class RangeAt>
double search(const Cells& cells, DType dtype, RangeAt&& range_at) {
  double least = std::numeric_limits<double>::infinity(), best = 1;
  auto look_at = [&](double factor) {
    double error = cells.squared_error(params_of(as_range(range_at(factor)), dtype), least);
    // The wider range unless clipping pays.
    if (error < least) {
      least = error;
      best = factor;
    }
  };
  for (int eighth = 0; eighth <= 80; ++eighth) look_at(std::exp2(-eighth / 8.0));
  const double coarse = best;
  for (int part = -10; part <= 10; ++part) look_at(std::min(1.0, coarse * std::exp2(part / 80.0)));
  return best;
}

Bounds least_squares(const Statistics& statistics, DType dtype) {
  const Cells cells(statistics);
  const Bounds all = extremes(statistics);
  if (dtype == DType::kInt8 || all.low == 0 || all.high == 0) {
    double factor = search(cells, dtype, [&](double it) {
      double threshold = it * std::max(-all.low, all.high);
      return dtype == DType::kInt8 ? Bounds{-threshold, threshold} : cut(all, threshold);
    });
    return cut(all, factor * std::max(-all.low, all.high));
  }
  // One end after the other; from both ends clipped alike and from the full range, as a long tail hides its opposite.
  const double magnitude = std::max(-all.low, all.high);
  double alike = search(cells, dtype, [&](double it) { return cut(all, it * magnitude); });
  Bounds best = all;
  double least = std::numeric_limits<double>::infinity();
  for (Bounds bounds : {all, cut(all, alike * magnitude)}) {
    for (int round = 0; round < 2; ++round) {
      const Bounds before = bounds;
      bounds.high = all.high * search(cells, dtype, [&](double it) { return Bounds{before.low, all.high * it}; });
      bounds.low = all.low * search(cells, dtype, [&](double it) { return Bounds{all.low * it, bounds.high}; });
      if (bounds.low == before.low && bounds.high == before.high) break;
    }
    double error = cells.squared_error(params_of(as_range(bounds), dtype));
    if (error < least) {
      least = error;
      best = bounds;
    }
  }
  return best;
}

bool is_constant(const Statistics& statistics) {
  return statistics.min() == statistics.max() && statistics.infinities() == 0 && statistics.nans() == 0;
}

}  // namespace

std::string_view method_name(Method method) {
  for (const NamedMethod& entry : kMethods) {
    if (entry.method == method) return entry.name;
  }
  return "unknown";
}

std::optional<Method> method_from_name(std::string_view name) {
  if (name == "percentile") return Method::kPercentile9999;
  for (const NamedMethod& entry : kMethods) {
    if (entry.name == name) return entry.method;
  }
  return std::nullopt;
}

std::string all_method_names() {
  std::string names;
  for (const NamedMethod& entry : kMethods) names += (names.empty() ? "" : ", ") + std::string(entry.name);
  return names;
}

Range choose_range(const Statistics& statistics, Method method, DType dtype) {
  const bool is_symmetric = dtype == DType::kInt8;
  if (method == Method::kAuto) method = Method::kMse;
  Bounds bounds = extremes(statistics);
  std::string note;
  if (statistics.finite() == 0) {
    note = statistics.elements() == 0 ? "no element was seen" : "no finite element was seen";
  } else if (statistics.positive().empty()) {
    note = "all elements are zero";
  } else if (is_constant(statistics)) {
    note = "all elements are equal";
  } else if (method == Method::kEntropy) {
    double threshold = entropy_threshold(magnitudes_of(statistics));
    if (threshold > 0)
      bounds = cut(bounds, std::ldexp(threshold, statistics.exponent()));
    else
      note = "too few different values for entropy";
  } else if (method == Method::kMse) {
    bounds = least_squares(statistics, dtype);
  } else if (method != Method::kMinMax) {
    double clipped = method == Method::kPercentile999 ? 1e-3 : method == Method::kPercentile9999 ? 1e-4 : 1e-5;
    bounds = percentile(statistics, clipped, is_symmetric);
    if (bounds.low == bounds.high) {
      bounds = extremes(statistics);
      note = "nearly all elements are zero";
    }
  }
  Range range = as_range(bounds);
  range.method = note.empty() ? method : Method::kMinMax;
  range.note = std::move(note);
  if (is_symmetric) range.high = std::max(-range.low, range.high), range.low = -range.high;
  return range;
}

QuantParams params_of(const Range& range, DType dtype) {
  QuantParams params;
  params.dtype = dtype;
  double low = std::min<double>(range.low, 0), high = std::max<double>(range.high, 0);
  double scale = dtype == DType::kInt8 ? std::max(-low, high) / kStepsSymmetric : (high - low) / kStepsAsymmetric;
  if (scale == 0) return params;
  params.scale = std::max(static_cast<float>(scale), FLT_MIN);
  if (dtype == DType::kInt8) return params;
  double zero = std::nearbyint(-low / params.scale);
  params.zero_point = static_cast<int32_t>(std::clamp(zero, 0.0, kStepsAsymmetric));
  return params;
}

double mean_squared_error(const Statistics& statistics, const QuantParams& params) {
  if (statistics.finite() == 0) return 0;
  return Cells(statistics).squared_error(params) / static_cast<double>(statistics.finite());
}

double sqnr_db(const Statistics& statistics, const QuantParams& params) {
  const Cells cells(statistics);
  double noise = cells.squared_error(params);
  return noise > 0 ? 10 * std::log10(cells.power() / noise) : std::numeric_limits<double>::infinity();
}

}  // namespace hussar
