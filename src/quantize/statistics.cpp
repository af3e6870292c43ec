// Counting elements, about one per nanosecond.
#include "quantize/statistics.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

namespace hussar {
namespace {

constexpr int kBins = Statistics::kBins;
// Elements that are looked at twice, first for their range: few enough to be in the L1 cache the second time.
constexpr size_t kBlock = 1024;
// Equal neighbours, as zeros after a ReLU are, would wait for each other's count in one table.
constexpr int kTables = 4;
constexpr size_t kWorthTables = 16384;
// No table overflows before it is collected.
constexpr size_t kMostPerTable = size_t(1) << 30;

// The two loops that see every element, once for all x86-64 and once for those with AVX2.
#define HUSSAR_INLINE __attribute__((always_inline)) inline

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

HUSSAR_INLINE BitRange range_of(const float* values, size_t count) {
  BitRange range;
  for (size_t i = 0; i < count; ++i) {
    int32_t bits;
    std::memcpy(&bits, values + i, sizeof(bits));
    range.least_signed = std::min(range.least_signed, bits);
    range.greatest_signed = std::max(range.greatest_signed, bits);
    range.least = std::min(range.least, static_cast<uint32_t>(bits));
    range.greatest = std::max(range.greatest, static_cast<uint32_t>(bits));
  }
  return range;
}

// The bin of every element, zeros in bin 0 of the positive side; gives the number of zeros.
HUSSAR_INLINE uint32_t indices_of(const float* values, size_t count, float scale, int32_t* indices) {
  uint32_t zeros = 0;
  for (size_t i = 0; i < count; ++i) {
    float value = values[i];
    int32_t side = value < 0 ? kBins : 0;
    indices[i] = static_cast<int32_t>(std::fabs(value) * scale) + side;
    zeros += value == 0 ? 1 : 0;
  }
  return zeros;
}

struct Loops {
  BitRange (*range)(const float*, size_t);
  uint32_t (*indices)(const float*, size_t, float, int32_t*);
};

BitRange range_anywhere(const float* values, size_t count) { return range_of(values, count); }
uint32_t indices_anywhere(const float* values, size_t count, float scale, int32_t* indices) {
  return indices_of(values, count, scale, indices);
}

#ifdef __x86_64__
__attribute__((target("avx2"))) BitRange range_avx2(const float* values, size_t count) {
  return range_of(values, count);
}
__attribute__((target("avx2"))) uint32_t indices_avx2(const float* values, size_t count, float scale,
                                                      int32_t* indices) {
  return indices_of(values, count, scale, indices);
}
bool has_avx2() { return __builtin_cpu_supports("avx2") != 0; }
const Loops kLoops = has_avx2() ? Loops{range_avx2, indices_avx2} : Loops{range_anywhere, indices_anywhere};
#else
const Loops kLoops = {range_anywhere, indices_anywhere};
#endif

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
  for (; values.size() > kMostPerTable; values = values.subspan(kMostPerTable)) add(values.first(kMostPerTable));
  Tables tables(values.size() >= kWorthTables ? 2 * kBins * kTables : 0);
  for (size_t at = 0; at < values.size(); at += kBlock) {
    auto block = values.subspan(at, std::min(kBlock, values.size() - at));
    BitRange range = kLoops.range(block.data(), block.size());
    if (range.all_finite()) {
      widen(range.min(), range.max(), tables);
      add_block(block, tables);
    } else {
      add_damaged(block, tables);
    }
  }
  collect(tables);
}

void Statistics::add_damaged(std::span<const float> block, Tables& tables) {
  std::vector<float> finite;
  for (float value : block) {
    nans_ += std::isnan(value) ? 1 : 0;
    infinities_ += std::isinf(value) ? 1 : 0;
    if (std::isfinite(value)) finite.push_back(value);
  }
  elements_ += block.size() - finite.size();
  if (finite.empty()) return;
  BitRange range = kLoops.range(finite.data(), finite.size());
  widen(range.min(), range.max(), tables);
  add_block(finite, tables);
}

void Statistics::widen(float least, float greatest, Tables& tables) {
  const bool is_first = finite() == 0;
  if (!is_first && least >= min_ && greatest <= max_) return;
  min_ = is_first ? least : std::min(min_, least);
  max_ = is_first ? greatest : std::max(max_, greatest);
  float magnitude = std::max(std::fabs(least), std::fabs(greatest));
  if (magnitude == 0) return;
  int exponent = exponent_for(magnitude);
  if (!counts_.empty() && exponent <= exponent_) return;
  collect(tables);
  grow(exponent);
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

// All finite and within the bins.
void Statistics::add_block(std::span<const float> block, Tables& tables) {
  elements_ += block.size();
  if (counts_.empty()) {
    zeros_ += block.size();
    return;
  }
  int32_t indices[kBlock];
  uint64_t zeros = kLoops.indices(block.data(), block.size(), std::ldexp(1.0F, -exponent_), indices);
  size_t i = 0;
  for (; !tables.empty() && i + kTables <= block.size(); i += kTables) {
    for (size_t k = 0; k < kTables; ++k) ++tables[k * 2 * kBins + static_cast<size_t>(indices[i + k])];
  }
  for (; i < block.size(); ++i) ++counts_[static_cast<size_t>(indices[i])];
  zeros_ += zeros;
  // Wraps while the zeros are still in the tables.
  counts_[0] -= zeros;
}

void Statistics::collect(Tables& tables) {
  if (counts_.empty()) return;
  for (size_t i = 0; i < tables.size(); ++i) counts_[i % (2 * kBins)] += tables[i];
  std::fill(tables.begin(), tables.end(), 0);
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
