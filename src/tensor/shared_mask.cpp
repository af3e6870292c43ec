#include "tensor/shared_mask.h"

#include <algorithm>
#include <bit>

#include "tensor/float8_mask.h"

namespace hussar {
namespace {

constexpr int64_t kGroup = 4;

int64_t panels_of(int64_t columns) { return (columns + kPanelOfMask - 1) / kPanelOfMask; }
int64_t blocks_of(int64_t columns, int64_t panels) { return (panels_of(columns) + panels - 1) / panels; }

bool fits(uint8_t nonzero) { return std::popcount(nonzero) <= 2; }

// Bit i of element (panel, group): whether weight i of the group is not zero in some column. Empty: not two of four.
template <class Number>
std::vector<uint8_t> nonzeros(const MatrixView<const Number>& weights) {
  const int64_t groups = weights.k / kGroup, panels = panels_of(weights.n);
  std::vector<uint8_t> found(static_cast<size_t>(panels * groups));
  for (int64_t panel = 0; panel < panels; ++panel) {
    const int64_t first = panel * kPanelOfMask, end = std::min(first + kPanelOfMask, weights.n);
    for (int64_t row = 0; row < weights.k; ++row) {
      uint8_t& group = found[static_cast<size_t>(panel * groups + row / kGroup)];
      const Number* const numbers = weights.row(row);
      for (int64_t column = first; column < end; ++column) {
        if (numbers[column * weights.column_stride] != Number{}) {
          group = static_cast<uint8_t>(group | 1 << row % kGroup);
          break;
        }
      }
      if (!fits(group)) return {};
    }
  }
  return found;
}

template <class Number>
SharedMask find_mask(const MatrixView<const Number>& weights) {
  std::vector<uint8_t> found = nonzeros(weights);
  if (found.empty()) return {};
  const int64_t groups = weights.k / kGroup;
  SharedMask mask;
  for (mask.panels = 1; mask.panels < kMostSharedPanels; mask.panels *= 2) {
    const int64_t blocks = blocks_of(weights.n, mask.panels), wider = blocks_of(weights.n, mask.panels * 2);
    std::vector<uint8_t> joined(static_cast<size_t>(wider * groups));
    for (int64_t i = 0; i < blocks * groups; ++i) {
      joined[static_cast<size_t>(i / groups / 2 * groups + i % groups)] |= found[static_cast<size_t>(i)];
    }
    if (!std::all_of(joined.begin(), joined.end(), fits)) break;
    found = std::move(joined);
  }
  std::transform(found.begin(), found.end(), found.begin(), kept_places);
  mask.places = std::move(found);
  return mask;
}

// The most in one of the groups of `count` columns that are not zero.
template <class Number>
uint8_t most_nonzero(const Number* const (&rows)[kGroup], int64_t first, int64_t count, int64_t stride) {
  uint8_t most = 0;
  for (int64_t column = first; column < first + count; ++column) {
    uint8_t nonzero = 0;
    for (const Number* row : rows) nonzero = static_cast<uint8_t>(nonzero + (row[column * stride] != Number{} ? 1 : 0));
    most = std::max(most, nonzero);
  }
  return most;
}

// The same of neighbours: so many of which compilers make vectors.
constexpr int64_t kNeighbours = 64;
template <class Number>
uint8_t most_nonzero_of_neighbours(const Number* a, const Number* b, const Number* c, const Number* d) {
  uint8_t counts[kNeighbours], most = 0;
  for (int64_t i = 0; i < kNeighbours; ++i)
    counts[i] = static_cast<uint8_t>((a[i] != Number{}) + (b[i] != Number{}) + (c[i] != Number{}) + (d[i] != Number{}));
  for (uint8_t count : counts) most = std::max(most, count);
  return most;
}

template <class Number>
bool has_two_of_four(const MatrixView<const Number>& weights) {
  for (int64_t group = 0; group < weights.k; group += kGroup) {
    const Number* const rows[kGroup] = {weights.row(group), weights.row(group + 1), weights.row(group + 2),
                                        weights.row(group + 3)};
    int64_t column = 0;
    for (; weights.column_stride == 1 && column + kNeighbours <= weights.n; column += kNeighbours) {
      if (most_nonzero_of_neighbours(rows[0] + column, rows[1] + column, rows[2] + column, rows[3] + column) > 2)
        return false;
    }
    if (most_nonzero(rows, column, weights.n - column, weights.column_stride) > 2) return false;
  }
  return true;
}

}  // namespace

uint8_t kept_places(uint8_t nonzero) {
  int places[2], count = 0;
  for (int place = 0; place < kGroup; ++place) {
    if ((nonzero >> place & 1) != 0) places[count++] = place;
  }
  for (int place = 0; count < 2; ++place) {
    if ((nonzero >> place & 1) == 0) places[count++] = place;
  }
  if (places[0] > places[1]) std::swap(places[0], places[1]);
  return static_cast<uint8_t>(places[0] | places[1] << 2);
}

SharedMask find_shared_mask(const MatrixView<const float>& weights) { return find_mask(weights); }
SharedMask find_shared_mask(const MatrixView<const Half>& weights) { return find_mask(weights); }
SharedMask find_shared_mask(const MatrixView<const int8_t>& weights) { return find_mask(weights); }
SharedMask find_shared_mask(const MatrixView<const Float8>& weights) { return find_mask(weights); }
bool is_two_of_four(const MatrixView<const float>& weights) { return has_two_of_four(weights); }
bool is_two_of_four(const MatrixView<const Half>& weights) { return has_two_of_four(weights); }
bool is_two_of_four(const MatrixView<const int8_t>& weights) { return has_two_of_four(weights); }
bool is_two_of_four(const MatrixView<const Float8>& weights) { return has_two_of_four(weights); }

}  // namespace hussar
