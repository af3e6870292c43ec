// Counting elements: one look for their range and bins, then one addition for each that is not zero.
#include "quantize/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <limits>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace hussar {
namespace {

constexpr int kBins = Statistics::kBins;
// Elements whose bins are found before they are counted: few enough for both to be in the L1 cache.
constexpr size_t kBlock = 1024;
// Equal neighbours would wait for each other's count in one table.
constexpr size_t kTables = 4;
// From one table to the next. Bins at the same place of two pages would look like the same memory to some processors.
constexpr size_t kTable = size_t(2) * kBins + 80;
constexpr size_t kWorthTables = 8192;
// No table overflows before it is collected.
constexpr size_t kMostPerTable = size_t(1) << 30;

// What a block is like.
struct Look {
  float min = std::numeric_limits<float>::infinity(), max = -min;  // anything when not all elements are finite
  // The bit pattern of the largest magnitude. Those of magnitudes are in order, infinity and NaN last.
  int32_t magnitude = 0;
  size_t bins = 0;  // found: of all elements but zeros
};
constexpr int32_t kInfinity = 0x7f800000;

// Vectors write whole registers beyond the last bin.
constexpr size_t kSlack = 8;

// The bin of an element that the bins hold, any bin for others.
inline void look_at(float value, float scale, int32_t* bins, Look& look) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  const auto magnitude = static_cast<int32_t>(bits & 0x7fffffffU);
  look.magnitude = std::max(look.magnitude, magnitude);
  look.min = std::min(look.min, value);
  look.max = std::max(look.max, value);
  const float place = std::fabs(value) * scale;
  const int32_t bin = place < static_cast<float>(kBins) ? static_cast<int32_t>(place) : 0;
  bins[look.bins] = bin | static_cast<int32_t>((bits >> 31) * kBins);
  look.bins += magnitude != 0 ? 1 : 0;
}

Look look_anywhere(const float* values, size_t count, float scale, int32_t* bins) {
  Look look;
  for (size_t i = 0; i < count; ++i) look_at(values[i], scale, bins, look);
  return look;
}

#ifdef __x86_64__
// By mask: which elements of eight come first when those that are not in the mask go.
constexpr std::array<uint64_t, 256> kKept = [] {
  std::array<uint64_t, 256> kept{};
  for (uint64_t mask = 0; mask < 256; ++mask) {
    int shift = 0;
    for (uint64_t i = 0; i < 8; ++i) {
      if ((mask >> i & 1) == 0) continue;
      kept[mask] |= i << shift;
      shift += 8;
    }
  }
  return kept;
}();

__attribute__((target("avx2"))) Look look_avx2(const float* values, size_t count, float scale, int32_t* bins) {
  Look look;
  const __m256i no_sign = _mm256_set1_epi32(0x7fffffff), side = _mm256_set1_epi32(kBins), zero = _mm256_setzero_si256();
  const __m256 scales = _mm256_set1_ps(scale);
  __m256 min = _mm256_set1_ps(look.min), max = _mm256_set1_ps(look.max);
  __m256i greatest = zero;
  size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const __m256 value = _mm256_loadu_ps(values + i);
    const __m256i bits = _mm256_castps_si256(value), magnitude = _mm256_and_si256(bits, no_sign);
    greatest = _mm256_max_epi32(greatest, magnitude);
    min = _mm256_min_ps(value, min);
    max = _mm256_max_ps(value, max);
    const __m256i place = _mm256_cvttps_epi32(_mm256_mul_ps(_mm256_castsi256_ps(magnitude), scales));
    const __m256i bin = _mm256_or_si256(place, _mm256_and_si256(_mm256_srli_epi32(bits, 20), side));
    const auto mask =
        static_cast<uint32_t>(_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpgt_epi32(magnitude, zero))));
    const __m128i kept = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(kKept.data() + mask));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(bins + look.bins),
                        _mm256_permutevar8x32_epi32(bin, _mm256_cvtepu8_epi32(kept)));
    look.bins += static_cast<size_t>(__builtin_popcount(mask));
  }
  alignas(32) float mins[8], maxs[8];
  alignas(32) int32_t magnitudes[8];
  _mm256_store_ps(mins, min);
  _mm256_store_ps(maxs, max);
  _mm256_store_si256(reinterpret_cast<__m256i*>(magnitudes), greatest);
  look.min = *std::min_element(mins, mins + 8);
  look.max = *std::max_element(maxs, maxs + 8);
  look.magnitude = *std::max_element(magnitudes, magnitudes + 8);
  for (; i < count; ++i) look_at(values[i], scale, bins, look);
  return look;
}

bool has_avx2() { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("popcnt") != 0; }
const auto kLook = has_avx2() ? look_avx2 : look_anywhere;
#else
const auto kLook = look_anywhere;
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
  // All zeros whenever nobody counts.
  static thread_local Tables kept(kTable * kTables);
  Tables none, &tables = values.size() >= kWorthTables ? kept : none;
  for (size_t at = 0; at < values.size(); at += kBlock)
    add_block(values.subspan(at, std::min(kBlock, values.size() - at)), tables);
  collect(tables);
}

void Statistics::add_block(std::span<const float> block, Tables& tables) {
  int32_t bins[kBlock + kSlack];
  auto find_bins = [&] { return kLook(block.data(), block.size(), std::ldexp(1.0F, -exponent_), bins); };
  Look look = find_bins();
  if (look.magnitude >= kInfinity) return add_damaged(block, tables);
  // -0 becomes 0.
  if (widen(look.min + 0.0F, look.max + 0.0F, tables)) look = find_bins();
  elements_ += block.size();
  zeros_ += block.size() - look.bins;
  size_t i = 0;
  for (; !tables.empty() && i + kTables <= look.bins; i += kTables) {
    for (size_t k = 0; k < kTables; ++k) ++tables[k * kTable + static_cast<size_t>(bins[i + k])];
  }
  for (; i < look.bins; ++i) ++counts_[static_cast<size_t>(bins[i])];
}

void Statistics::add_damaged(std::span<const float> block, Tables& tables) {
  std::vector<float> finite;
  for (float value : block) {
    nans_ += std::isnan(value) ? 1 : 0;
    infinities_ += std::isinf(value) ? 1 : 0;
    if (std::isfinite(value)) finite.push_back(value);
  }
  elements_ += block.size() - finite.size();
  if (!finite.empty()) add_block(finite, tables);
}

// Gives whether the bins are others now.
bool Statistics::widen(float least, float greatest, Tables& tables) {
  const bool is_first = finite() == 0;
  if (!is_first && least >= min_ && greatest <= max_) return false;
  collect(tables);
  min_ = is_first ? least : std::min(min_, least);
  max_ = is_first ? greatest : std::max(max_, greatest);
  const float magnitude = std::max(std::fabs(least), std::fabs(greatest));
  if (magnitude == 0) return false;
  const int exponent = exponent_for(magnitude);
  if (!counts_.empty() && exponent <= exponent_) return false;
  grow(exponent);
  return true;
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

void Statistics::collect(Tables& tables) {
  if (counts_.empty() || tables.empty()) return;
  const int tops[] = {bin_of(max_, exponent_), bin_of(-min_, exponent_)};
  for (size_t side = 0; side < 2; ++side) {
    uint64_t* counts = counts_.data() + side * kBins;
    uint32_t* table = tables.data() + side * kBins;
    const auto used = static_cast<size_t>(tops[side] + 1);
    for (size_t i = 0; i < used; ++i)
      counts[i] += uint64_t(table[i]) + table[kTable + i] + table[2 * kTable + i] + table[3 * kTable + i];
    for (size_t k = 0; k < kTables; ++k) std::fill_n(table + k * kTable, used, 0U);
  }
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
