// Statistics: what calibration remembers of one tensor, however many samples it has seen.
//
// Every figure depends on the set of the elements alone, not on their order nor on how they were cut into pieces: the
// bins are a power of two wide, and when a larger element comes, pairs of bins merge, exactly, into bins of twice the
// width. So statistics of parts (of threads, of shares of the data) merge to those of the whole, bit by bit.
#pragma once
#include <cstdint>
#include <span>
#include <vector>

namespace hussar {

class Statistics {
 public:
  static constexpr int kBins = 2048;  // on each side of zero
  // Bins are no finer than 2^kSmallestExponent: what is smaller than all of them is as good as zero.
  static constexpr int kSmallestExponent = -120;
  static constexpr int kLargestExponent = 117;

  void add(std::span<const float> values);
  void merge(const Statistics& other);
  bool operator==(const Statistics& other) const = default;

  uint64_t elements() const { return elements_; }
  uint64_t zeros() const { return zeros_; }
  uint64_t nans() const { return nans_; }
  uint64_t infinities() const { return infinities_; }
  uint64_t finite() const { return elements_ - nans_ - infinities_; }
  // Of the finite elements; both 0 when there is none.
  float min() const { return min_; }
  float max() const { return max_; }

  // Bin i of the positive side counts elements of [i, i + 1) * 2^exponent but for zeros, of the negative side those of
  // (-i - 1, -i] * 2^exponent. At least half of the bins of one side are in use, unless all elements are tiny.
  int exponent() const { return exponent_; }
  // Empty when no element but zeros was seen.
  std::span<const uint64_t> positive() const;
  std::span<const uint64_t> negative() const;

  // The same figures again, from a file. False when they contradict each other.
  struct Figures {
    uint64_t zeros = 0, nans = 0, infinities = 0;
    float min = 0, max = 0;
    int exponent = kSmallestExponent;
    std::vector<uint64_t> positive, negative;  // at most kBins
  };
  static bool from(const Figures& figures, Statistics& statistics);

 private:
  // Counts that are not in counts_ yet, several of each bin.
  using Tables = std::vector<uint32_t>;
  void add_block(std::span<const float> block, Tables& tables);
  void add_damaged(std::span<const float> block, Tables& tables);
  bool widen(float least, float greatest, Tables& tables);
  void grow(int exponent);
  void collect(Tables& tables);

  uint64_t elements_ = 0, zeros_ = 0, nans_ = 0, infinities_ = 0;
  float min_ = 0, max_ = 0;
  int exponent_ = kSmallestExponent;
  std::vector<uint64_t> counts_;  // the positive side, then the negative one; empty: no element but zeros so far
};

}  // namespace hussar
