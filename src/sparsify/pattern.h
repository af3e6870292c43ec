// SparsityPattern: of every four consecutive weights of an output channel two are kept; which, may be shared by several
// channels.
//
// Weights and scores are row-major [n][k] throughout this room: n output channels (rows), k a multiple of 4 whose
// groups of 4 consecutive columns are the groups of the pattern.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"

namespace hussar {

constexpr int64_t kGroupColumns = 4;
constexpr int64_t kKeptColumns = 2;

struct SparsityPattern {
  int64_t shared_rows = 1;  // so many consecutive rows share their masks; the last block may have fewer
  bool operator==(const SparsityPattern&) const = default;
};

// "2:4", or "2:4x64": 64 output channels share a mask.
Result<SparsityPattern> parse_pattern(std::string_view text);
std::string spell(const SparsityPattern& pattern);

// Which columns are kept: bit i of kept[block * groups() + group] for column 4 * group + i.
struct Masks {
  Masks() = default;
  // All zero.
  Masks(const SparsityPattern& pattern, int64_t n, int64_t k);

  int64_t groups() const { return k / kGroupColumns; }
  int64_t blocks() const { return (n + pattern.shared_rows - 1) / pattern.shared_rows; }
  int64_t first_row(int64_t block) const { return block * pattern.shared_rows; }
  int64_t block_rows(int64_t block) const;
  uint8_t of_block(int64_t block, int64_t group) const { return kept[static_cast<size_t>(block * groups() + group)]; }
  bool keeps(int64_t block, int64_t column) const {
    return (of_block(block, column / kGroupColumns) >> column % kGroupColumns & 1) != 0;
  }
  // The kept columns of a block, ascending.
  std::vector<int32_t> columns(int64_t block) const;

  SparsityPattern pattern;
  int64_t n = 0, k = 0;
  std::vector<uint8_t> kept;
};

// The two of four scores that are largest keep their column; scores that are equal, the lower one. Scores [n][k], not
// NaN, are summed over the rows that share a mask.
Masks masks_of_scores(const float* scores, int64_t n, int64_t k, const SparsityPattern& pattern);
// The same for four sums.
uint8_t best_two(const double sums[kGroupColumns]);
// The sum of the scores that the masks keep, in parts of the sum of all; 1 where all are 0.
double kept_part(const float* scores, const Masks& masks);

// Weights that are not kept become +0.0.
void apply_masks(const Masks& masks, float* weights);

}  // namespace hussar
