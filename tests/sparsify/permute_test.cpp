// Orders of channels: they are permutations, they raise what a pattern keeps, and outputs stay what they were.
#include "sparsify/permute.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "sparsify/prune_layer.h"
#include "tests/sparsify/problems.h"

namespace hussar {
namespace {

// Rows of a few kinds, mixed, of columns of very different scales.
std::vector<float> mixed_scores(int64_t n, int64_t k, int64_t kinds, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> centres, scores;
  for (int64_t i = 0; i < kinds * k; ++i) centres.push_back(std::exp(normal(random)));
  for (int64_t row = 0; row < n; ++row) {
    const auto kind = static_cast<int64_t>(random() % static_cast<uint32_t>(kinds));
    for (int64_t i = 0; i < k; ++i)
      scores.push_back(centres[static_cast<size_t>(kind * k + i)] * std::exp(0.3F * normal(random)));
  }
  return scores;
}

bool is_permutation(std::vector<int32_t> order, int64_t count) {
  if (static_cast<int64_t>(order.size()) != count) return false;
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < count; ++i) {
    if (order[static_cast<size_t>(i)] != i) return false;
  }
  return true;
}

double kept(const std::vector<float>& scores, int64_t n, int64_t k, const SparsityPattern& pattern) {
  return kept_part(scores.data(), masks_of_scores(scores.data(), n, k, pattern));
}

TEST(Permute, ClustersOfRowsKeepMore) {
  for (int64_t shared : {4, 16}) {
    for (int64_t n : {64, 70}) {
      const int64_t k = 48;
      const SparsityPattern pattern{shared};
      const std::vector<float> scores = mixed_scores(n, k, 4, 1);
      const std::vector<int32_t> order = cluster_rows(scores.data(), n, k, pattern);
      ASSERT_TRUE(is_permutation(order, n));
      EXPECT_EQ(order, cluster_rows(scores.data(), n, k, pattern));
      const double before = kept(scores, n, k, pattern);
      const double after = kept(reorder(scores.data(), n, k, {}, order), n, k, pattern);
      EXPECT_GT(after, before + 0.03) << shared << " " << n;
    }
  }
}

TEST(Permute, OneBlockOrOneRowEachNeedsNoOrder) {
  const std::vector<float> scores = mixed_scores(8, 8, 2, 2);
  for (int64_t shared : {1, 8, 64}) {
    const std::vector<int32_t> order = cluster_rows(scores.data(), 8, 8, {shared});
    for (int32_t i = 0; i < 8; ++i) EXPECT_EQ(order[static_cast<size_t>(i)], i);
  }
}

TEST(Permute, ChannelsKeepMore) {
  for (int64_t shared : {1, 16}) {
    for (int64_t taps : {1, 9}) {
      const int64_t n = 32, channels = 40, k = taps * channels;
      const SparsityPattern pattern{shared};
      const std::vector<float> scores = mixed_scores(n, k, 2, 3);
      const std::vector<int32_t> order = permute_channels(scores.data(), n, k, taps, pattern);
      ASSERT_TRUE(is_permutation(order, channels));
      EXPECT_EQ(order, permute_channels(scores.data(), n, k, taps, pattern));
      const std::vector<int32_t> columns = column_order(order, taps);
      ASSERT_TRUE(is_permutation(columns, k));
      const double before = kept(scores, n, k, pattern);
      const double after = kept(reorder(scores.data(), n, k, columns, {}), n, k, pattern);
      EXPECT_GT(after, before + (taps == 1 ? 0.02 : 0.002));
    }
  }
}

TEST(Permute, ChannelsStayInTheirBlocks) {
  const int64_t n = 32, channels = 56, within = 16;
  const std::vector<float> scores = mixed_scores(n, channels, 2, 6);
  const std::vector<int32_t> order = permute_channels(scores.data(), n, channels, 1, {1}, within);
  ASSERT_TRUE(is_permutation(order, channels));
  for (size_t i = 0; i < order.size(); ++i) EXPECT_EQ(order[i] / within, static_cast<int64_t>(i) / within);
  EXPECT_GT(kept(reorder(scores.data(), n, channels, order, {}), n, channels, {1}),
            kept(scores, n, channels, {1}) + 0.01);
}

TEST(Permute, FourChannelsAreOneGroup) {
  const std::vector<float> scores = mixed_scores(3, 4, 2, 4);
  EXPECT_TRUE(is_permutation(permute_channels(scores.data(), 3, 4, 1, {1}), 4));
}

TEST(Permute, OrdersAreUndone) {
  const std::vector<int32_t> order = {2, 0, 3, 1};
  const std::vector<float> values = {10, 11, 12, 13};
  const std::vector<float> turned = reorder(values.data(), 1, 4, order, {});
  EXPECT_EQ(turned, (std::vector<float>{12, 10, 13, 11}));
  EXPECT_EQ(reorder(turned.data(), 1, 4, inverse_order(order), {}), values);
  const std::vector<int32_t> other = {1, 3, 0, 2};
  EXPECT_EQ(reorder(turned.data(), 1, 4, other, {}), reorder(values.data(), 1, 4, compose(order, other), {}));
}

TEST(Permute, MomentsFollowTheWeights) {
  const LayerProblem problem(12, 16, 60, 5, 0.1F);
  const LayerMoments moments = problem.moments();
  const std::vector<float> scores = importance(problem.weights.data(), problem.n, problem.k, &moments);
  const std::vector<int32_t> rows = cluster_rows(scores.data(), problem.n, problem.k, {4});
  const std::vector<int32_t> columns = permute_channels(scores.data(), problem.n, problem.k, 1, {4});
  const std::vector<float> weights = reorder(problem.weights.data(), problem.n, problem.k, columns, rows);
  const LayerMoments turned = reorder(moments, columns, rows);
  PruneOptions options;
  options.pattern = {4};
  auto layer = prune_layer(weights.data(), problem.n, problem.k, &turned, options);
  ASSERT_TRUE(layer);
  // In the old order the weights do what the result says.
  const std::vector<float> back =
      reorder(layer->weights.data(), problem.n, problem.k, inverse_order(columns), inverse_order(rows));
  EXPECT_NEAR(problem.error(back), layer->error, 1e-4);
}

}  // namespace
}  // namespace hussar
