#include "sparsify/obc.h"

#include <algorithm>

#include "sparsify/loops.h"

namespace hussar {
namespace {

// Columns of one block that may still go. What is kept for good needs no attention: its weights follow from the masks.
class Candidates {
 public:
  Candidates(const Layer& layer, double damping, const float* inverse, const float* weights, int64_t rows)
      : rows_(rows), size_(layer.k), stride_(layer.k) {
    columns_.resize(static_cast<size_t>(size_));
    for (int64_t i = 0; i < size_; ++i) {
      columns_[static_cast<size_t>(i)] = static_cast<int32_t>(i);
      least_.push_back(static_cast<float>(1 / (layer.h()[i * size_ + i] + damping)));
    }
    inverse_.assign(inverse, inverse + size_ * size_);
    weights_.assign(weights, weights + rows * size_);
    is_gone_.resize(static_cast<size_t>(size_));
    factors_.resize(static_cast<size_t>(size_));
    update_costs();
  }

  bool any() const { return live_ > 0; }
  int32_t column(int64_t at) const { return columns_[static_cast<size_t>(at)]; }

  // The candidate whose loss costs least.
  int64_t cheapest() const {
    int64_t best = -1;
    for (int64_t i = 0; i < size_; ++i) {
      if (is_gone_[static_cast<size_t>(i)] == 0 && (best < 0 || cost(i) < cost(best))) best = i;
    }
    return best;
  }

  // Its weights become 0, and the others what is best then.
  void drop(int64_t at) {
    gather(at);
    const float own = pivot(at);
    for (int64_t i = 0; i < size_; ++i) {
      const float factor = factors_[static_cast<size_t>(i)];
      if (is_gone_[static_cast<size_t>(i)] == 0 && factor != 0.0F)
        kSparsifyLoops.subtract(factor / own, factors_.data(), i + 1, inverse_.data() + i * stride_);
    }
    for (int64_t row = 0; row < rows_; ++row) {
      float* weights = weights_.data() + row * stride_;
      kSparsifyLoops.subtract(weights[at] / own, factors_.data(), size_, weights);
    }
    leave(at);
    update_costs();
  }

  void leave(int64_t at) {
    is_gone_[static_cast<size_t>(at)] = 1;
    --live_;
  }
  // The place of a column, -1 where it is no candidate.
  int64_t find(int32_t column) const {
    const auto found = std::lower_bound(columns_.begin(), columns_.begin() + size_, column);
    if (found == columns_.begin() + size_ || *found != column) return -1;
    const int64_t at = found - columns_.begin();
    return is_gone_[static_cast<size_t>(at)] != 0 ? -1 : at;
  }

  // Moves those that are left together, once enough are gone for that to pay.
  void tidy() {
    if (8 * live_ > 7 * size_) return;
    int64_t to = 0;
    for (int64_t i = 0; i < size_; ++i) {
      if (is_gone_[static_cast<size_t>(i)] != 0) continue;
      float* row = inverse_.data() + to * stride_;
      const float* from = inverse_.data() + i * stride_;
      int64_t place = 0;
      for (int64_t j = 0; j <= i; ++j) {
        if (is_gone_[static_cast<size_t>(j)] == 0) row[place++] = from[j];
      }
      for (int64_t r = 0; r < rows_; ++r)
        weights_[static_cast<size_t>(r * stride_ + to)] = weights_[static_cast<size_t>(r * stride_ + i)];
      costs_[static_cast<size_t>(to)] = costs_[static_cast<size_t>(i)];
      columns_[static_cast<size_t>(to++)] = columns_[static_cast<size_t>(i)];
    }
    size_ = to;
    std::fill_n(is_gone_.begin(), size_, uint8_t(0));
  }

 private:
  // Rounding may leave too little of the inverse of a column that the others determine.
  float pivot(int64_t at) const {
    const float least = least_[static_cast<size_t>(columns_[static_cast<size_t>(at)])];
    return std::max(inverse_[static_cast<size_t>(at * stride_ + at)], least);
  }
  double cost(int64_t at) const { return costs_[static_cast<size_t>(at)]; }

  // The column of the inverse, of whose rows only the part up to the diagonal is kept.
  void gather(int64_t at) {
    std::copy_n(inverse_.data() + at * stride_, at + 1, factors_.data());
    for (int64_t i = at + 1; i < size_; ++i)
      factors_[static_cast<size_t>(i)] = inverse_[static_cast<size_t>(i * stride_ + at)];
  }

  void update_costs() {
    costs_.assign(static_cast<size_t>(size_), 0.0);
    for (int64_t row = 0; row < rows_; ++row) {
      const float* weights = weights_.data() + row * stride_;
      for (int64_t i = 0; i < size_; ++i) costs_[static_cast<size_t>(i)] += double(weights[i]) * weights[i];
    }
    for (int64_t i = 0; i < size_; ++i) {
      costs_[static_cast<size_t>(i)] /= pivot(i);
    }
  }

  int64_t rows_, size_, stride_;
  int64_t live_ = size_;
  std::vector<int32_t> columns_;
  std::vector<float> inverse_;  // [size][stride]
  std::vector<float> weights_;  // [rows][stride]
  std::vector<float> factors_;
  std::vector<float> least_;  // that elements on the diagonal of the inverse can be, by column of the layer
  std::vector<double> costs_;
  std::vector<uint8_t> is_gone_;
};

void choose_block(const Layer& layer, double damping, const float* inverse, const float* weights, int64_t block,
                  Masks& masks) {
  uint8_t* kept = masks.kept.data() + block * masks.groups();
  std::fill_n(kept, masks.groups(), uint8_t(0xF));
  Candidates candidates(layer, damping, inverse, weights + masks.first_row(block) * layer.k, masks.block_rows(block));
  while (candidates.any()) {
    const int64_t at = candidates.cheapest();
    const int32_t column = candidates.column(at), group = column / kGroupColumns;
    candidates.drop(at);
    kept[group] = static_cast<uint8_t>(kept[group] & ~(1 << column % kGroupColumns));
    if (__builtin_popcount(kept[group]) == kKeptColumns) {
      for (int32_t i = group * kGroupColumns; i < (group + 1) * kGroupColumns; ++i) {
        if (const int64_t rest = candidates.find(i); rest >= 0) candidates.leave(rest);
      }
    }
    candidates.tidy();
  }
}

}  // namespace

Masks obc_masks(const Layer& layer, const SparsityPattern& pattern, double damping, const float* inverse,
                const float* weights) {
  Masks masks(pattern, layer.n, layer.k);
  run_shares(
      layer.threads, masks.blocks(),
      [&](int64_t block) { choose_block(layer, damping, inverse, weights, block, masks); }, layer.k * layer.k);
  return masks;
}

}  // namespace hussar
