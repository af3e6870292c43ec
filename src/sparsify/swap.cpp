#include "sparsify/swap.h"

#include <algorithm>
#include <vector>

#include "sparsify/loops.h"
#include "sparsify/refit.h"

namespace hussar {
namespace {

// The symmetric matrix of the equations of one block, with the right sides behind it, swept on the kept columns: there
// it is less than nothing of the inverse, elsewhere what the kept columns leave of it. The right sides are the best
// weights of kept columns, and of dropped ones what the outputs ask of them.
class Swept {
 public:
  Swept(const Layer& layer, double damping, int64_t block, const Masks& masks)
      : k_(layer.k), rows_(masks.block_rows(block)) {
    matrix_.resize(static_cast<size_t>(k_ * k_));
    sides_.resize(static_cast<size_t>(k_ * rows_));
    factors_.resize(static_cast<size_t>(k_));
    own_sides_.resize(static_cast<size_t>(rows_));
    for (int64_t i = 0; i < k_; ++i) {
      for (int64_t j = 0; j <= i; ++j) at(i, j) = layer.h()[i * k_ + j];
      at(i, i) += damping;
      for (int64_t row = 0; row < rows_; ++row) sides(i)[row] = layer.wanted(masks.first_row(block) + row, i, damping);
    }
    for (int32_t column : masks.columns(block)) sweep(column, 1);
  }

  // direction 1: the column joins the kept ones; -1: it leaves them.
  void sweep(int64_t column, double direction) {
    const double pivot = at(column, column);
    for (int64_t i = 0; i < k_; ++i) factors_[static_cast<size_t>(i)] = value(i, column);
    std::copy_n(sides(column), rows_, own_sides_.data());
    for (int64_t i = 0; i < k_; ++i) {
      const double factor = factors_[static_cast<size_t>(i)] / pivot;
      if (i == column || factor == 0) continue;
      kSparsifyLoops.subtract_double(factor, factors_.data(), i + 1, &at(i, 0));
      kSparsifyLoops.subtract_double(factor, own_sides_.data(), rows_, sides(i));
    }
    for (int64_t i = 0; i < k_; ++i) {
      (i <= column ? at(column, i) : at(i, column)) = direction * factors_[static_cast<size_t>(i)] / pivot;
    }
    at(column, column) = -1 / pivot;
    for (int64_t row = 0; row < rows_; ++row)
      sides(column)[row] = direction * own_sides_[static_cast<size_t>(row)] / pivot;
  }

  // By what the objective changes when a kept column goes and a dropped one comes in its place.
  double change(int64_t kept, int64_t dropped) const {
    const double own = at(kept, kept), between = value(kept, dropped);
    const double left = at(dropped, dropped) - between * between / own;
    if (!(own < 0) || !(left > 0)) return 0;
    double change = 0;
    for (int64_t row = 0; row < rows_; ++row) {
      const double weight = sides(kept)[row], asked = sides(dropped)[row] - between * weight / own;
      change += weight * weight / -own - asked * asked / left;
    }
    return change;
  }

 private:
  double& at(int64_t i, int64_t j) { return matrix_[static_cast<size_t>(i * k_ + j)]; }
  double at(int64_t i, int64_t j) const { return matrix_[static_cast<size_t>(i * k_ + j)]; }
  double value(int64_t i, int64_t j) const { return i >= j ? at(i, j) : at(j, i); }
  double* sides(int64_t i) { return sides_.data() + i * rows_; }
  const double* sides(int64_t i) const { return sides_.data() + i * rows_; }

  int64_t k_, rows_;
  std::vector<double> matrix_;  // [k][k], up to the diagonal
  std::vector<double> sides_;   // [k][rows]
  std::vector<double> factors_, own_sides_;
};

struct Swap {
  int64_t kept = -1, dropped = -1;
  double change = 0;
};

Swap best_swap(const Swept& swept, int64_t group, uint8_t mask) {
  Swap best;
  for (int64_t kept = 0; kept < kGroupColumns; ++kept) {
    for (int64_t dropped = 0; dropped < kGroupColumns; ++dropped) {
      if ((mask >> kept & 1) == 0 || (mask >> dropped & 1) != 0) continue;
      const double change = swept.change(group * kGroupColumns + kept, group * kGroupColumns + dropped);
      if (change < best.change) best = {kept, dropped, change};
    }
  }
  return best;
}

}  // namespace

double swap_cost(const Masks& masks) {
  const auto k = static_cast<double>(masks.k);
  return static_cast<double>(masks.blocks()) * k * k * k / 4;
}

int64_t swap_columns(const Layer& layer, double damping, int64_t block, Masks& masks) {
  std::vector<double> values;
  double before = 0, after = 0;
  if (!solve_block(layer, masks, block, damping, values, before)) return 0;
  Swept swept(layer, damping, block, masks);
  uint8_t* kept = masks.kept.data() + block * masks.groups();
  const std::vector<uint8_t> old(kept, kept + masks.groups());
  // A change that is lost in the rounding of sums is none.
  const double enough = -1e-7 * before;
  int64_t swaps = 0;
  for (int pass = 0, found = 1; pass < kMostSwapPasses && found > 0; ++pass) {
    found = 0;
    for (int64_t group = 0; group < masks.groups(); ++group) {
      const Swap swap = best_swap(swept, group, kept[group]);
      if (swap.kept < 0 || swap.change >= enough) continue;
      swept.sweep(group * kGroupColumns + swap.kept, -1);
      swept.sweep(group * kGroupColumns + swap.dropped, 1);
      kept[group] = static_cast<uint8_t>(kept[group] ^ (1 << swap.kept | 1 << swap.dropped));
      ++found;
    }
    swaps += found;
  }
  if (swaps > 0 && solve_block(layer, masks, block, damping, values, after) && after > before) return swaps;
  std::copy(old.begin(), old.end(), kept);
  return 0;
}

}  // namespace hussar
