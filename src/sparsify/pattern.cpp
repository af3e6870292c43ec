#include "sparsify/pattern.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/error.h"

namespace hussar {
namespace {

constexpr std::string_view kName = "2:4";
constexpr int64_t kMostSharedRows = int64_t(1) << 20;

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

}  // namespace hussar
