#include "sparsify/permute.h"

#include <algorithm>
#include <numeric>

#include "sparsify/layer.h"
#include "sparsify/linear.h"
#include "sparsify/loops.h"

namespace hussar {
namespace {

std::vector<int32_t> identity(int64_t count) {
  std::vector<int32_t> order(static_cast<size_t>(count));
  std::iota(order.begin(), order.end(), 0);
  return order;
}

// Sums over the rows that share a mask, transposed: [k][block].
std::vector<float> block_sums(const float* scores, int64_t n, int64_t k, const SparsityPattern& pattern) {
  const Masks shape(pattern, n, k);
  std::vector<float> sums(static_cast<size_t>(shape.blocks() * k)), result(sums.size());
  for (int64_t row = 0; row < n; ++row) {
    float* to = sums.data() + row / pattern.shared_rows * k;
    for (int64_t i = 0; i < k; ++i) to[i] += scores[row * k + i];
  }
  transpose(sums.data(), shape.blocks(), k, result.data());
  return result;
}

// Rows in blocks, like k-means with clusters of one size.
class Clusters {
 public:
  Clusters(const float* scores, int64_t n, int64_t k, const SparsityPattern& pattern)
      : scores_(scores), n_(n), k_(k), pattern_(pattern), shape_(pattern, n, k) {
    columns_.resize(static_cast<size_t>(n * k));
    transpose(scores, n, k, columns_.data());
  }

  double kept(const std::vector<int32_t>& order) const { return kept_score(masks(order), order); }

  // The blocks that suit the masks that those of an order ask for.
  std::vector<int32_t> improve(const std::vector<int32_t>& order) const { return assign(values(masks(order))); }

  // Blocks around rows that are unlike each other.
  std::vector<int32_t> spread() const {
    const SparsityPattern single{1};
    const Masks own = masks_of_scores(scores_, n_, k_, single);
    int64_t seed = 0;
    Masks seeds(pattern_, n_, k_);
    std::vector<double> best(static_cast<size_t>(n_), 0.0), all(static_cast<size_t>(n_), 0.0);
    for (int64_t row = 0; row < n_; ++row)
      all[static_cast<size_t>(row)] = std::accumulate(scores_ + row * k_, scores_ + (row + 1) * k_, 0.0);
    for (int64_t block = 0; block < shape_.blocks(); ++block) {
      std::copy_n(own.kept.data() + seed * own.groups(), own.groups(), seeds.kept.data() + block * own.groups());
      double least = 2;
      for (int64_t row = 0; row < n_; ++row) {
        const auto i = static_cast<size_t>(row);
        best[i] = std::max(best[i], kept_of_row(row, seeds, block));
        const double part = all[i] == 0 ? 1 : best[i] / all[i];
        if (part < least) seed = row;
        least = std::min(least, part);
      }
    }
    return assign(values(seeds));
  }

 private:
  Masks masks(const std::vector<int32_t>& order) const {
    return masks_of_scores(reorder(scores_, n_, k_, {}, order).data(), n_, k_, pattern_);
  }
  double kept_of_row(int64_t row, const Masks& masks, int64_t block) const {
    const float* scores = scores_ + row * k_;
    double sum = 0;
    for (int64_t i = 0; i < k_; ++i) sum += masks.keeps(block, i) ? scores[i] : 0.0F;
    return sum;
  }
  double kept_score(const Masks& masks, const std::vector<int32_t>& order) const {
    double sum = 0;
    for (int64_t i = 0; i < n_; ++i) sum += kept_of_row(order[static_cast<size_t>(i)], masks, i / pattern_.shared_rows);
    return sum;
  }

  // [row][block]: what the row keeps under the masks of the block.
  std::vector<float> values(const Masks& masks) const {
    const int64_t blocks = masks.blocks();
    std::vector<float> kept(static_cast<size_t>(k_ * blocks)), values(static_cast<size_t>(n_ * blocks));
    for (int64_t i = 0; i < k_; ++i) {
      for (int64_t block = 0; block < blocks; ++block)
        kept[static_cast<size_t>(i * blocks + block)] = masks.keeps(block, i) ? 1.0F : 0.0F;
    }
    plain_product()({n_, blocks, k_, columns_.data(), n_, kept.data(), blocks, values.data(), blocks});
    return values;
  }

  // The row that would lose most by another block is asked first; who comes late takes the best block with room.
  std::vector<int32_t> assign(const std::vector<float>& values) const {
    const int64_t blocks = shape_.blocks();
    std::vector<float> regret;
    for (int64_t row = 0; row < n_; ++row) {
      const float* own = values.data() + row * blocks;
      float best = 0, second = 0;
      for (int64_t block = 0; block < blocks; ++block) {
        second = std::max(second, std::min(best, own[block]));
        best = std::max(best, own[block]);
      }
      regret.push_back(best - second);
    }
    std::vector<int32_t> rows = identity(n_);
    std::stable_sort(rows.begin(), rows.end(), [&](int32_t a, int32_t b) {
      return regret[static_cast<size_t>(a)] > regret[static_cast<size_t>(b)];
    });
    std::vector<std::vector<int32_t>> members(static_cast<size_t>(blocks));
    for (int32_t row : rows) {
      int64_t best = -1;
      for (int64_t block = 0; block < blocks; ++block) {
        if (static_cast<int64_t>(members[static_cast<size_t>(block)].size()) == shape_.block_rows(block)) continue;
        if (best < 0 ||
            values[static_cast<size_t>(row * blocks + block)] > values[static_cast<size_t>(row * blocks + best)])
          best = block;
      }
      members[static_cast<size_t>(best)].push_back(row);
    }
    std::vector<int32_t> order;
    for (auto& block : members) {
      std::sort(block.begin(), block.end());
      order.insert(order.end(), block.begin(), block.end());
    }
    return order;
  }

  const float* scores_;
  int64_t n_, k_;
  SparsityPattern pattern_;
  Masks shape_;
  std::vector<float> columns_;  // [k][n]
};

// Channels in groups of 4, and groups in blocks between which nothing is exchanged. scores [channel][count]: what every
// tap and block of rows would keep of it.
class Groups {
 public:
  Groups(std::vector<float> scores, int64_t channels, int64_t count, int64_t within)
      : scores_(std::move(scores)), channels_(channels), within_(within), count_(count), order_(identity(channels)) {}

  const std::vector<int32_t>& order() const { return order_; }

  // Two strong and two weak ones in every group, where that keeps more than the order that was there.
  void deal() {
    std::vector<double> sums;
    for (int64_t i = 0; i < channels_; ++i)
      sums.push_back(std::accumulate(of(static_cast<int32_t>(i)), of(static_cast<int32_t>(i)) + count_, 0.0));
    for (int64_t first = 0; first < channels_; first += within_) {
      const int64_t size = std::min(within_, channels_ - first), groups = size / kGroupColumns;
      int32_t* old = order_.data() + first;
      std::vector<int32_t> sorted(old, old + size), dealt;
      std::stable_sort(sorted.begin(), sorted.end(), [&](int32_t a, int32_t b) {
        return sums[static_cast<size_t>(a)] > sums[static_cast<size_t>(b)];
      });
      for (int64_t group = 0; group < groups; ++group) {
        for (int64_t place : {group, 2 * groups - 1 - group, 2 * groups + group, 4 * groups - 1 - group})
          dealt.push_back(sorted[static_cast<size_t>(place)]);
      }
      if (kept(dealt.data(), size) > kept(old, size)) std::copy(dealt.begin(), dealt.end(), old);
    }
  }

  // Every group meets others, and they exchange channels while both together keep more. `most`: scores to look at.
  void exchange(double most) {
    const int64_t groups = channels_ / kGroupColumns, own = within_ / kGroupColumns, players = own + own % 2;
    if (own < 2) return;
    const int64_t pairs = players / 2 * ((groups + own - 1) / own);
    const double round_cost = static_cast<double>(pairs * 2 * kGroupColumns * kGroupColumns * count_);
    const auto rounds = static_cast<int64_t>(std::max(1.0, most / round_cost));
    int64_t quiet = 0;
    for (int64_t round = 0; round < rounds && quiet < players - 1; ++round) {
      std::vector<uint8_t> changed(static_cast<size_t>(pairs));
      run_shares(0, pairs, [&](int64_t index) {
        // The circle of a tournament: the last stands still, the others move on by one each round.
        const int64_t pair = index % (players / 2), first = index / (players / 2) * own, moving = players - 1;
        const int64_t a = (round + pair) % moving;
        const int64_t b = pair == 0 ? moving : (round + moving - pair) % moving;
        if (std::max(a, b) < std::min(own, groups - first))
          changed[static_cast<size_t>(index)] = meet(first + a, first + b);
      });
      const bool any = std::find(changed.begin(), changed.end(), uint8_t(1)) != changed.end();
      quiet = any ? 0 : quiet + 1;
    }
  }

 private:
  const float* of(int32_t channel) const { return scores_.data() + channel * count_; }
  double kept_by(const int32_t* channels) const {
    return kSparsifyLoops.sum_best_two(of(channels[0]), of(channels[1]), of(channels[2]), of(channels[3]), count_);
  }
  double kept(const int32_t* channels, int64_t count) const {
    double sum = 0;
    for (int64_t i = 0; i < count; i += kGroupColumns) sum += kept_by(channels + i);
    return sum;
  }

  bool meet(int64_t a, int64_t b) {
    int32_t *first = order_.data() + a * kGroupColumns, *second = order_.data() + b * kGroupColumns;
    const double before = kept_by(first) + kept_by(second);
    double best = before * (1 + 1e-6);
    int64_t from = -1, to = -1;
    for (int64_t i = 0; i < kGroupColumns; ++i) {
      for (int64_t j = 0; j < kGroupColumns; ++j) {
        std::swap(first[i], second[j]);
        const double kept = kept_by(first) + kept_by(second);
        std::swap(first[i], second[j]);
        if (kept <= best) continue;
        best = kept;
        from = i;
        to = j;
      }
    }
    if (from < 0) return false;
    std::swap(first[from], second[to]);
    return true;
  }

  std::vector<float> scores_;
  int64_t channels_, within_, count_;
  std::vector<int32_t> order_;
};

constexpr int kMostRounds = 10;
constexpr double kMostScores = 4e9;

}  // namespace

std::vector<int32_t> cluster_rows(const float* scores, int64_t n, int64_t k, const SparsityPattern& pattern) {
  std::vector<int32_t> best = identity(n);
  if (pattern.shared_rows == 1 || pattern.shared_rows >= n) return best;
  const Clusters clusters(scores, n, k, pattern);
  std::vector<std::vector<int32_t>> starts = {best};
  const auto size = static_cast<double>(n * k);
  if (size * static_cast<double>(Masks(pattern, n, k).blocks()) <= kMostScores) starts.push_back(clusters.spread());
  double most = clusters.kept(best);
  for (std::vector<int32_t>& order : starts) {
    double last = -1;
    for (int round = 0; round < kMostRounds; ++round) {
      const double kept = clusters.kept(order);
      if (kept <= last) break;
      last = kept;
      if (kept > most) {
        most = kept;
        best = order;
      }
      order = clusters.improve(order);
    }
  }
  return best;
}

std::vector<int32_t> permute_channels(const float* scores, int64_t n, int64_t k, int64_t taps,
                                      const SparsityPattern& pattern, int64_t within) {
  const int64_t channels = k / taps, blocks = Masks(pattern, n, k).blocks();
  const std::vector<float> sums = block_sums(scores, n, k, pattern);
  // [tap][channel][block] becomes [channel][tap][block].
  std::vector<float> turned(sums.size());
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int64_t channel = 0; channel < channels; ++channel)
      std::copy_n(sums.data() + (tap * channels + channel) * blocks, blocks,
                  turned.data() + (channel * taps + tap) * blocks);
  }
  Groups groups(std::move(turned), channels, taps * blocks, within > 0 ? std::min(within, channels) : channels);
  groups.deal();
  groups.exchange(kMostScores);
  return groups.order();
}

std::vector<int32_t> compose(const std::vector<int32_t>& first, const std::vector<int32_t>& second) {
  std::vector<int32_t> order;
  for (int32_t place : second) order.push_back(first[static_cast<size_t>(place)]);
  return order;
}

std::vector<int32_t> column_order(const std::vector<int32_t>& channels, int64_t taps) {
  std::vector<int32_t> order;
  for (int64_t tap = 0; tap < taps; ++tap) {
    for (int32_t channel : channels)
      order.push_back(static_cast<int32_t>(tap * static_cast<int64_t>(channels.size())) + channel);
  }
  return order;
}

std::vector<float> reorder(const float* matrix, int64_t n, int64_t k, const std::vector<int32_t>& columns,
                           const std::vector<int32_t>& rows) {
  std::vector<float> result(static_cast<size_t>(n * k));
  for (int64_t i = 0; i < n; ++i) {
    const float* from = matrix + (rows.empty() ? i : rows[static_cast<size_t>(i)]) * k;
    float* to = result.data() + i * k;
    for (int64_t j = 0; j < k; ++j) to[j] = from[columns.empty() ? j : columns[static_cast<size_t>(j)]];
  }
  return result;
}

std::vector<int32_t> inverse_order(const std::vector<int32_t>& order) {
  std::vector<int32_t> inverse(order.size());
  for (size_t i = 0; i < order.size(); ++i) inverse[static_cast<size_t>(order[i])] = static_cast<int32_t>(i);
  return inverse;
}

}  // namespace hussar
