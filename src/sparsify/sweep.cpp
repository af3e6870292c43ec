#include "sparsify/sweep.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "sparsify/loops.h"

namespace hussar {
namespace {

// So many columns are finished before those behind them hear of it.
constexpr int64_t kBlockColumns = 128;
// Fewer rows at a time are not worth a share.
constexpr int64_t kShareRows = 16;

// The two columns that are dropped, by index in the group; equal costs drop the higher ones.
constexpr int kPairs[6][2] = {{2, 3}, {1, 3}, {1, 2}, {0, 3}, {0, 2}, {0, 1}};

struct Columns {
  int64_t first, end;
};

class BlockSweep {
 public:
  BlockSweep(const Layer& layer, const float* u, const float* scales, Masks& masks, float* weights)
      : layer_(layer), u_(u), scales_(scales), masks_(masks), weights_(weights) {
    errors_.resize(static_cast<size_t>(kBlockColumns * layer.n));
  }

  // The rows of one block of the masks.
  void run(int64_t block, Columns columns, bool choose) {
    const int64_t first = masks_.first_row(block), end = first + masks_.block_rows(block);
    for (int64_t column = columns.first; column < columns.end; column += kGroupColumns) {
      uint8_t& mask = masks_.kept[static_cast<size_t>(block * masks_.groups() + column / kGroupColumns)];
      if (choose) mask = best_mask(column, first, end);
      for (int64_t i = 0; i < kGroupColumns; ++i) {
        const bool is_kept = (mask >> i & 1) != 0;
        for (int64_t row = first; row < end; ++row) settle(row, column + i, columns, is_kept);
      }
    }
  }

  // The columns behind hear of the errors.
  void pass_on(Columns columns) const {
    const int64_t n = layer_.n, k = layer_.k, size = columns.end - columns.first;
    if (columns.end == k) return;
    (*layer_.product)({n, k - columns.end, size, errors_.data(), n, u_ + columns.first * k + columns.end, k,
                       weights_ + columns.end, k});
  }

 private:
  float u(int64_t row, int64_t column) const { return u_[row * layer_.k + column]; }

  // By what each pair would add to the squared error if it were dropped, the first of it before the second.
  uint8_t best_mask(int64_t column, int64_t first, int64_t end) const {
    double least = std::numeric_limits<double>::infinity();
    uint8_t best = 0;
    for (const int(&pair)[2] : kPairs) {
      const int64_t i = column + pair[0], j = column + pair[1];
      const double own = 1.0 / u(i, i), other = 1.0 / u(j, j), between = u(i, j);
      double cost = 0;
      for (int64_t row = first; row < end; ++row) {
        const float* weights = weights_ + row * layer_.k;
        const double error = weights[i] * own, rest = (weights[j] - error * between) * other;
        cost += error * error + rest * rest;
      }
      if (cost >= least && best != 0) continue;
      least = cost;
      best = static_cast<uint8_t>(0xF & ~(1 << pair[0] | 1 << pair[1]));
    }
    return best;
  }

  void settle(int64_t row, int64_t column, Columns columns, bool is_kept) {
    float* weights = weights_ + row * layer_.k;
    const float old = weights[column];
    float settled = is_kept ? old : 0.0F;
    if (is_kept && scales_ != nullptr) settled = on_grid(old, scales_[row]);
    weights[column] = settled;
    const float error = (old - settled) / u(column, column);
    errors_[static_cast<size_t>((column - columns.first) * layer_.n + row)] = -error;
    if (error == 0.0F) return;
    const int64_t rest = column + 1;
    kSparsifyLoops.subtract(error, u_ + column * layer_.k + rest, columns.end - rest, weights + rest);
  }

  const Layer& layer_;
  const float* u_;
  const float* scales_;
  Masks& masks_;
  float* weights_;
  std::vector<float> errors_;  // less than nothing, [column of the block][row]
};

}  // namespace

float on_grid(float weight, float scale) {
  if (scale == 0.0F) return 0.0F;
  // Adding 0 turns -0 into 0.
  return std::clamp(std::nearbyint(weight / scale), -127.0F, 127.0F) * scale + 0.0F;
}

void sweep(const Layer& layer, const float* u, bool choose, const float* scales, Masks& masks, float* weights) {
  BlockSweep sweep(layer, u, scales, masks, weights);
  const int64_t blocks = std::max<int64_t>(1, kShareRows / masks.pattern.shared_rows);
  const int64_t shares = (masks.blocks() + blocks - 1) / blocks;
  for (int64_t first = 0; first < layer.k; first += kBlockColumns) {
    const Columns columns{first, std::min(first + kBlockColumns, layer.k)};
    run_shares(layer.threads, shares, [&](int64_t share) {
      for (int64_t block = share * blocks; block < std::min((share + 1) * blocks, masks.blocks()); ++block)
        sweep.run(block, columns, choose);
    });
    sweep.pass_on(columns);
  }
}

}  // namespace hussar
