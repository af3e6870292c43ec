#include "sparsify/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/error.h"

namespace hussar {
namespace {

constexpr std::string_view kName = "2:4";
constexpr int64_t kMostSharedRows = int64_t(1) << 20;

uint8_t nonzero_mask(const float* weights) {
  uint8_t mask = 0;
  for (int64_t i = 0; i < kGroupColumns; ++i) mask = static_cast<uint8_t>(mask | (weights[i] != 0.0F) << i);
  return mask;
}

// What a range of rows that grows at its end and shrinks at its beginning would need of every group.
class RowWindow {
 public:
  RowWindow(const std::vector<uint8_t>& masks, int64_t groups)
      : masks_(masks), groups_(groups), counts_(static_cast<size_t>(groups * kGroupColumns)) {}

  void add(int64_t row) { change(row, 1); }
  void remove(int64_t row) { change(row, -1); }
  bool fits() const { return crowded_ == 0; }

 private:
  void change(int64_t row, int by) {
    for (int64_t group = 0; group < groups_; ++group) {
      int32_t* counts = counts_.data() + group * kGroupColumns;
      const int before = used(counts);
      const uint8_t mask = masks_[static_cast<size_t>(row * groups_ + group)];
      for (int64_t i = 0; i < kGroupColumns; ++i) counts[i] += (mask >> i & 1) * by;
      crowded_ += (used(counts) > kKeptColumns) - (before > kKeptColumns);
    }
  }
  static int used(const int32_t* counts) {
    return static_cast<int>(std::count_if(counts, counts + kGroupColumns, [](int32_t count) { return count > 0; }));
  }

  const std::vector<uint8_t>& masks_;
  int64_t groups_;
  std::vector<int32_t> counts_;  // rows of the window that need the column
  int64_t crowded_ = 0;          // groups that need more columns than are kept
};

// The largest C such that every block of C rows, of which the last may have fewer, is within `reach`, the first row
// that does not fit a block that begins at a row.
int64_t largest_block(const std::vector<int64_t>& reach) {
  const auto n = static_cast<int64_t>(reach.size());
  for (int64_t rows = n; rows > 1; --rows) {
    bool fits = true;
    for (int64_t first = 0; first < n && fits; first += rows)
      fits = reach[static_cast<size_t>(first)] >= std::min(first + rows, n);
    if (fits) return rows;
  }
  return 1;
}

}  // namespace

Result<SparsityPattern> parse_pattern(std::string_view text) {
  SparsityPattern pattern;
  if (text == kName) return pattern;
  const std::string_view prefix = "2:4x";
  if (text.starts_with(prefix)) {
    const char *begin = text.data() + prefix.size(), *end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(begin, end, pattern.shared_rows);
    if (error == std::errc() && stop == end && pattern.shared_rows >= 1 && pattern.shared_rows <= kMostSharedRows)
      return pattern;
  }
  return fail(
      ErrorCode::kUsage,
      "'{}' is no sparsity pattern: use 2:4 (a mask for every output channel) or, for example, 2:4x64 (one that "
      "64 output channels share)",
      text);
}

std::string spell(const SparsityPattern& pattern) {
  return pattern.shared_rows == 1 ? std::string(kName) : fmt::format("{}x{}", kName, pattern.shared_rows);
}

Masks::Masks(const SparsityPattern& pattern, int64_t n, int64_t k)
    : pattern(pattern), n(n), k(k), kept(static_cast<size_t>(blocks() * groups())) {}

int64_t Masks::block_rows(int64_t block) const { return std::min(pattern.shared_rows, n - first_row(block)); }

std::vector<int32_t> Masks::columns(int64_t block) const {
  std::vector<int32_t> columns;
  columns.reserve(static_cast<size_t>(groups() * kKeptColumns));
  for (int64_t column = 0; column < k; ++column) {
    if (keeps(block, column)) columns.push_back(static_cast<int32_t>(column));
  }
  return columns;
}

uint8_t best_two(const double sums[kGroupColumns]) {
  uint8_t mask = 0;
  for (int64_t i = 0; i < kGroupColumns; ++i) {
    int64_t better = 0;
    for (int64_t j = 0; j < kGroupColumns; ++j) better += sums[j] > sums[i] || (sums[j] == sums[i] && j < i);
    if (better < kKeptColumns) mask = static_cast<uint8_t>(mask | 1U << i);
  }
  return mask;
}

Masks masks_of_scores(const float* scores, int64_t n, int64_t k, const SparsityPattern& pattern) {
  Masks masks(pattern, n, k);
  std::vector<double> sums(static_cast<size_t>(k));
  for (int64_t block = 0; block < masks.blocks(); ++block) {
    std::fill(sums.begin(), sums.end(), 0.0);
    const int64_t first = masks.first_row(block);
    for (int64_t row = first; row < first + masks.block_rows(block); ++row) {
      for (int64_t i = 0; i < k; ++i) sums[static_cast<size_t>(i)] += scores[row * k + i];
    }
    for (int64_t group = 0; group < masks.groups(); ++group)
      masks.kept[static_cast<size_t>(block * masks.groups() + group)] = best_two(&sums[static_cast<size_t>(group * 4)]);
  }
  return masks;
}

double kept_part(const float* scores, const Masks& masks) {
  double all = 0, kept = 0;
  for (int64_t block = 0; block < masks.blocks(); ++block) {
    const int64_t first = masks.first_row(block);
    for (int64_t row = first; row < first + masks.block_rows(block); ++row) {
      for (int64_t i = 0; i < masks.k; ++i) {
        const double score = scores[row * masks.k + i];
        all += score;
        kept += masks.keeps(block, i) ? score : 0;
      }
    }
  }
  return all == 0 ? 1 : kept / all;
}

void apply_masks(const Masks& masks, float* weights) {
  for (int64_t block = 0; block < masks.blocks(); ++block) {
    const int64_t first = masks.first_row(block);
    for (int64_t row = first; row < first + masks.block_rows(block); ++row) {
      for (int64_t i = 0; i < masks.k; ++i) {
        if (!masks.keeps(block, i)) weights[row * masks.k + i] = 0.0F;
      }
    }
  }
}

FoundPattern find_pattern(const float* weights, int64_t n, int64_t k) {
  const int64_t groups = k / kGroupColumns;
  FoundPattern found;
  std::vector<uint8_t> masks(static_cast<size_t>(n * groups));
  for (int64_t i = 0; i < n * groups; ++i) {
    // k may leave a rest, which fits any pattern.
    const float* group = weights + i / groups * k + i % groups * kGroupColumns;
    const uint8_t mask = masks[static_cast<size_t>(i)] = nonzero_mask(group);
    if (__builtin_popcount(mask) > kKeptColumns) {
      found.row = i / groups;
      found.group = i % groups;
      return found;
    }
  }
  found.is_legal = true;
  std::vector<int64_t> reach;
  RowWindow window(masks, groups);
  for (int64_t first = 0, end = 0; first < n; ++first) {
    while (end < n && window.fits()) window.add(end++);
    // The last row that came may be the one that does not fit; it stays until those before it are gone.
    reach.push_back(window.fits() ? end : end - 1);
    window.remove(first);
  }
  found.shared_rows = largest_block(reach);
  return found;
}

}  // namespace hussar
