// Every method for every tensor, in parallel.
#include "quantize/method_ranges.h"

#include <algorithm>
#include <cmath>

#include "base/thread_pool.h"

namespace hussar {

std::vector<Method> methods_in_order() {
  std::vector<Method> methods;
  const std::string names = all_method_names();
  for (size_t begin = 0; begin < names.size();) {
    const size_t end = std::min(names.find(", ", begin), names.size());
    auto method = method_from_name(std::string_view(names).substr(begin, end - begin));
    if (method && *method != Method::kAuto) methods.push_back(*method);
    begin = end + 2;
  }
  return methods;
}

std::vector<TensorRanges> ranges_of_all_methods(const Calibration& calibration) {
  const std::vector<Method> methods = methods_in_order();
  std::vector<TensorRanges> list;
  std::vector<const Statistics*> statistics;
  for (const auto& [name, tensor] : calibration.tensors) {
    const bool is_counted = tensor.statistics.elements() > 0;
    list.push_back({name, std::vector<Range>(is_counted ? methods.size() : 0)});
    statistics.push_back(&tensor.statistics);
  }
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease lease(pool, pool.cores());
  lease.run(static_cast<int>(list.size()), [&](int index) {
    TensorRanges& entry = list[static_cast<size_t>(index)];
    for (size_t i = 0; i < entry.ranges.size(); ++i) {
      entry.ranges[i] = choose_range(*statistics[static_cast<size_t>(index)], methods[i], DType::kUInt8);
    }
  });
  return list;
}

Bars bars_of(const Statistics& statistics, size_t most) {
  Bars bars;
  const double least = statistics.min(), greatest = statistics.max();
  if (statistics.finite() == 0 || most == 0) return bars;
  bars.begin = least;
  bars.counts.resize(greatest > least ? most : 1);
  bars.width = greatest > least ? (greatest - least) / static_cast<double>(most) : 0;
  auto add = [&](double value, double count) {
    const double place = bars.width > 0 ? (value - least) / bars.width : 0;
    const double last = static_cast<double>(bars.counts.size() - 1);
    bars.counts[static_cast<size_t>(std::clamp(std::floor(place), 0.0, last))] += count;
  };
  const double bin = std::ldexp(1.0, statistics.exponent());
  auto add_side = [&](std::span<const uint64_t> counts, double sign) {
    for (size_t i = 0; i < counts.size(); ++i) {
      if (counts[i] > 0) add(sign * (static_cast<double>(i) + 0.5) * bin, static_cast<double>(counts[i]));
    }
  };
  add_side(statistics.positive(), 1);
  add_side(statistics.negative(), -1);
  if (statistics.zeros() > 0) add(0, static_cast<double>(statistics.zeros()));
  return bars;
}

}  // namespace hussar
