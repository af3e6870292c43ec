// Counting elements, about one per nanosecond.
#include "quantize/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace hussar {
namespace {

constexpr int kBins = Statistics::kBins;
// Elements that are looked at twice, first for their range: few enough to be in the L2 cache the second time.
constexpr size_t kChunk = 65536;
// Equal neighbours, as zeros after a ReLU are, would wait for each other's count in one table.
constexpr int kTables = 4;
constexpr size_t kWorthTables = 8192;
constexpr size_t kBlock = 256;

// The extremes of the bit patterns: as signed integers those of floats without a sign bit are in order, as unsigned
// ones those with it are, too, by magnitude. Integers because compilers vectorise their reductions.
struct BitRange {
  int32_t least_signed = std::numeric_limits<int32_t>::max(), greatest_signed = std::numeric_limits<int32_t>::min();
  uint32_t least = std::numeric_limits<uint32_t>::max(), greatest = 0;

  bool has_positive() const { return greatest_signed >= 0; }
  bool has_negative() const { return least_signed < 0; }
  bool all_finite() const {
    return (!has_positive() || greatest_signed < 0x7f800000) && (!has_negative() || greatest < 0xff800000U);
  }
  static float as_float(uint32_t bits) {
    float value;
    std::memcpy(&value, &bits, sizeof(value));
    return value + 0.0F;  // -0 becomes 0
  }
  float min() const { return as_float(has_negative() ? greatest : static_cast<uint32_t>(least_signed)); }
  float max() const { return as_float(has_positive() ? static_cast<uint32_t>(greatest_signed) : least); }
};

BitRange range_of(std::span<const float> values) {
  BitRange range;
  for (float value : values) {
    int32_t bits;
    std::memcpy(&bits, &value, sizeof(bits));
    range.least_signed = std::min(range.least_signed, bits);
    range.greatest_signed = std::max(range.greatest_signed, bits);
    range.least = std::min(range.least, static_cast<uint32_t>(bits));
    range.greatest = std::max(range.greatest, static_cast<uint32_t>(bits));
  }
  return range;
}

// The bin of every element, zeros in bin 0 of the positive side; gives the number of zeros.
uint32_t indices_of(const float* values, size_t count, float scale, int32_t* indices) {
  uint32_t zeros = 0;
  for (size_t i = 0; i < count; ++i) {
    float value = values[i];
    int32_t side = value < 0 ? kBins : 0;
    indices[i] = static_cast<int32_t>(std::fabs(value) * scale) + side;
    zeros += value == 0 ? 1 : 0;
  }
  return zeros;
}

// The exponent of bins that hold `magnitude`.
int exponent_for(float magnitude) {
  int exponent = 0;
  std::frexp(magnitude, &exponent);
  return std::max(exponent - 11, Statistics::kSmallestExponent);
}

// The bin that the largest element of one side lies in; -1 when the side has none.
int bin_of(float extreme, int exponent) {
  return extreme > 0 ? static_cast<int>(extreme * std::ldexp(1.0F, -exponent)) : -1;
}

int top_bin(std::span<const uint64_t> counts) {
  auto last = static_cast<int>(counts.size()) - 1;
  while (last >= 0 && counts[static_cast<size_t>(last)] == 0) --last;
  return last;
}

}  // namespace

std::span<const uint64_t> Statistics::positive() const { return std::span(counts_).first(counts_.size() / 2); }
std::span<const uint64_t> Statistics::negative() const { return std::span(counts_).last(counts_.size() / 2); }

void Statistics::add(std::span<const float> values) {
  for (size_t at = 0; at < values.size(); at += kChunk) {
    add_chunk(values.subspan(at, std::min(kChunk, values.size() - at)));
  }
}

void Statistics::add_chunk(std::span<const float> values) {
  BitRange range = range_of(values);
  if (range.all_finite()) {
    widen(range.min(), range.max());
    add_finite(values);
    return;
  }
  std::vector<float> finite;
  for (float value : values) {
    nans_ += std::isnan(value) ? 1 : 0;
    infinities_ += std::isinf(value) ? 1 : 0;
    if (std::isfinite(value)) finite.push_back(value);
  }
  elements_ += values.size() - finite.size();
  if (finite.empty()) return;
  range = range_of(finite);
  widen(range.min(), range.max());
  add_finite(finite);
}

void Statistics::widen(float least, float greatest) {
  min_ = finite() == 0 ? least : std::min(min_, least);
  max_ = finite() == 0 ? greatest : std::max(max_, greatest);
  float magnitude = std::max(std::fabs(least), std::fabs(greatest));
  if (magnitude > 0) grow(exponent_for(magnitude));
}

void Statistics::grow(int exponent) {
  if (counts_.empty()) {
    counts_.resize(2 * kBins);
    exponent_ = exponent;
  }
  if (exponent <= exponent_) return;
  int shift = std::min(exponent - exponent_, 30);
  for (uint64_t* side : {counts_.data(), counts_.data() + kBins}) {
    for (int i = 1; i < kBins; ++i) {
      uint64_t count = side[i];
      side[i] = 0;
      side[i >> shift] += count;
    }
  }
  exponent_ = exponent;
}

void Statistics::add_finite(std::span<const float> values) {
  elements_ += values.size();
  if (counts_.empty()) {
    zeros_ += values.size();
    return;
  }
  const float scale = std::ldexp(1.0F, -exponent_);
  const bool uses_tables = values.size() >= kWorthTables;
  std::vector<uint32_t> tables(uses_tables ? 2 * kBins * kTables : 0);
  int32_t indices[kBlock];
  uint64_t zeros = 0;
  for (size_t at = 0; at < values.size(); at += kBlock) {
    size_t count = std::min(kBlock, values.size() - at);
    zeros += indices_of(values.data() + at, count, scale, indices);
    size_t i = 0;
    for (; uses_tables && i + kTables <= count; i += kTables) {
      for (size_t k = 0; k < kTables; ++k) ++tables[k * 2 * kBins + static_cast<size_t>(indices[i + k])];
    }
    for (; i < count; ++i) ++counts_[static_cast<size_t>(indices[i])];
  }
  for (size_t i = 0; i < tables.size(); ++i) counts_[i % (2 * kBins)] += tables[i];
  zeros_ += zeros;
  counts_[0] -= zeros;
}

void Statistics::merge(const Statistics& other) {
  if (other.finite() > 0) {
    min_ = finite() == 0 ? other.min_ : std::min(min_, other.min_);
    max_ = finite() == 0 ? other.max_ : std::max(max_, other.max_);
  }
  elements_ += other.elements_;
  zeros_ += other.zeros_;
  nans_ += other.nans_;
  infinities_ += other.infinities_;
  if (other.counts_.empty()) return;
  grow(other.exponent_);
  int shift = std::min(exponent_ - other.exponent_, 30);
  for (size_t i = 0; i < other.counts_.size(); ++i) {
    size_t side = i / kBins * kBins;
    counts_[side + ((i - side) >> shift)] += other.counts_[i];
  }
}

bool Statistics::from(const Figures& figures, Statistics& statistics) {
  statistics = Statistics();
  uint64_t total = 0;
  bool fits = figures.positive.size() <= kBins && figures.negative.size() <= kBins && std::isfinite(figures.min) &&
              std::isfinite(figures.max) && figures.min <= figures.max && figures.exponent >= kSmallestExponent &&
              figures.exponent <= kLargestExponent;
  auto count = [&](uint64_t more) { fits = fits && !__builtin_add_overflow(total, more, &total); };
  for (uint64_t more : {figures.zeros, figures.nans, figures.infinities}) count(more);
  uint64_t before = total;
  for (const auto* side : {&figures.positive, &figures.negative}) {
    for (uint64_t more : *side) count(more);
  }
  if (!fits) return false;
  const float magnitude = std::max(std::fabs(figures.min), std::fabs(figures.max));
  const bool has_bins = total > before;
  // The extremes say which bins there are.
  const bool agrees = has_bins ? magnitude > 0 && figures.exponent == exponent_for(magnitude) &&
                                     top_bin(figures.positive) == bin_of(figures.max, figures.exponent) &&
                                     top_bin(figures.negative) == bin_of(-figures.min, figures.exponent)
                               : magnitude == 0;
  if (!agrees) return false;
  statistics.elements_ = total;
  statistics.zeros_ = figures.zeros;
  statistics.nans_ = figures.nans;
  statistics.infinities_ = figures.infinities;
  statistics.min_ = figures.min;
  statistics.max_ = figures.max;
  if (!has_bins) return true;
  statistics.exponent_ = figures.exponent;
  statistics.counts_.resize(2 * kBins);
  std::copy(figures.positive.begin(), figures.positive.end(), statistics.counts_.begin());
  std::copy(figures.negative.begin(), figures.negative.end(), statistics.counts_.begin() + kBins);
  return true;
}

}  // namespace hussar
