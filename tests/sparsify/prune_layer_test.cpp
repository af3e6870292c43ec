// prune_layer: masks are legal, refitted weights are the best there are, better methods are no worse, odd data are met.
#include "sparsify/prune_layer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "sparsify/linear.h"
#include "sparsify/refit.h"
#include "sparsify/swap.h"
#include "tests/sparsify/problems.h"
#include "tests/support/fits_pattern.h"

namespace hussar {
namespace {

PruneOptions options_of(PruneMethod method, int64_t shared_rows, bool refit = true) {
  PruneOptions options;
  options.method = method;
  options.pattern = {shared_rows};
  options.refit = refit;
  return options;
}

PrunedLayer pruned(const LayerProblem& problem, const LayerMoments& moments, const PruneOptions& options) {
  auto layer = prune_layer(problem.weights.data(), problem.n, problem.k, &moments, options);
  EXPECT_TRUE(layer) << (layer ? "" : layer.error().message);
  return layer ? *std::move(layer) : PrunedLayer();
}

const PruneMethod kAll[] = {PruneMethod::kMagnitude, PruneMethod::kWanda, PruneMethod::kSparseGpt, PruneMethod::kObc};

TEST(PruneLayer, EveryMethodKeepsThePatternAndTellsItsError) {
  for (auto [n, k] : {std::pair<int64_t, int64_t>{7, 36}, {40, 64}, {33, 132}}) {
    const LayerProblem problem(n, k, 4 * k, 2, 0.1F);
    const LayerMoments moments = problem.moments();
    for (PruneMethod method : kAll) {
      for (int64_t shared : {1, 3, 16, 64}) {
        for (bool int8_grid : {false, true}) {
          PruneOptions options = options_of(method, shared);
          options.int8_grid = int8_grid;
          const PrunedLayer layer = pruned(problem, moments, options);
          EXPECT_TRUE(tests::fits_pattern(layer.weights.data(), n, k, shared));
          for (float weight : layer.weights) EXPECT_FALSE(weight == 0 && std::signbit(weight));
          for (uint8_t mask : layer.masks.kept) EXPECT_EQ(__builtin_popcount(mask), 2);
          EXPECT_NEAR(layer.error, problem.error(layer.weights), 1e-4);
          EXPECT_GT(layer.kept_energy, 0.3);
          EXPECT_LE(layer.kept_energy, 1);
          EXPECT_TRUE(int8_grid || layer.error <= layer.error_before_refit + 1e-4);
          for (int64_t i = 0; i < n * k && int8_grid; ++i) {
            const float scale = layer.scales[static_cast<size_t>(i / k)];
            const float steps = layer.weights[static_cast<size_t>(i)] / scale;
            EXPECT_NEAR(steps, std::nearbyint(steps), 1e-3);
            EXPECT_LE(std::abs(steps), 127.01F);
          }
        }
      }
    }
  }
}

TEST(PruneLayer, WeightsOfMagnitudeStayWithoutRefit) {
  const LayerProblem problem(6, 16, 30);
  auto layer = prune_layer(problem.weights.data(), 6, 16, nullptr, options_of(PruneMethod::kMagnitude, 1));
  ASSERT_TRUE(layer);
  for (size_t i = 0; i < problem.weights.size(); ++i)
    EXPECT_TRUE(layer->weights[i] == 0 || layer->weights[i] == problem.weights[i]);
  EXPECT_LT(layer->error, 0);
  EXPECT_TRUE(layer->bias_change.empty());
}

TEST(PruneLayer, WeightsMayBeVeryLargeOrSmall) {
  const LayerProblem problem(6, 16, 30);
  const PruneOptions options = options_of(PruneMethod::kMagnitude, 2);
  const std::vector<uint8_t> masks = prune_layer(problem.weights.data(), 6, 16, nullptr, options)->masks.kept;
  for (float scale : {1e-30F, 1e30F}) {
    std::vector<float> weights = problem.weights;
    for (float& weight : weights) weight *= scale;
    auto layer = prune_layer(weights.data(), 6, 16, nullptr, options);
    ASSERT_TRUE(layer);
    EXPECT_EQ(layer->masks.kept, masks);
    EXPECT_GT(layer->kept_energy, 0.5);
  }
}

// The gradient of what a refit lowers, at one weight.
double gradient(const LayerProblem& problem, const LayerMoments& moments, const PrunedLayer& layer, double damping,
                int64_t row, int64_t column) {
  const auto at = static_cast<size_t>(row * problem.k + column);
  double sum = double(moments.p[static_cast<size_t>(column * problem.n + row)]) +
               damping * (double(problem.weights[at]) - layer.weights[at]);
  for (int64_t i = 0; i < problem.k; ++i)
    sum -= double(moments.h[static_cast<size_t>(column * problem.k + i)]) *
           layer.weights[static_cast<size_t>(row * problem.k + i)];
  return sum;
}

double mean_power(const LayerMoments& moments) {
  double sum = 0;
  for (int64_t i = 0; i < moments.k; ++i) sum += moments.h[static_cast<size_t>(i * moments.k + i)];
  return sum / static_cast<double>(moments.k);
}

TEST(PruneLayer, RefitLeavesNoGradientOnKeptColumns) {
  const LayerProblem problem(20, 64, 300, 5, 0.2F);
  const LayerMoments moments = problem.moments();
  for (int64_t shared : {1, 8, 20}) {
    const PruneOptions options = options_of(PruneMethod::kSparseGpt, shared);
    const PrunedLayer layer = pruned(problem, moments, options);
    const double power = mean_power(moments);
    for (int64_t row = 0; row < problem.n; ++row) {
      for (int64_t column = 0; column < problem.k; ++column) {
        if (!layer.masks.keeps(row / shared, column)) continue;
        EXPECT_NEAR(gradient(problem, moments, layer, options.refit_damping * power, row, column), 0, 1e-4 * power);
      }
    }
  }
}

TEST(PruneLayer, GradientsComeToWhatTheEquationsGive) {
  const LayerProblem problem(70, 96, 400, 6, 0.2F);
  const LayerMoments moments = problem.moments();
  const MatrixProduct product = plain_product();
  const Layer layer{problem.n, problem.k, problem.weights.data(), &moments, &product, 0};
  const double damping = 1e-3 * mean_power(moments);
  for (int64_t shared : {1, 64}) {
    const Masks masks = masks_of_scores(importance(problem.weights.data(), problem.n, problem.k, &moments).data(),
                                        problem.n, problem.k, {shared});
    std::vector<float> exact = problem.weights, found = problem.weights;
    ASSERT_TRUE(refit_exactly(layer, masks, damping, exact.data()));
    apply_masks(masks, found.data());
    const double before = problem.error(found), best = problem.error(exact);
    std::vector<float> alone = found;
    refit_by_gradients(layer, masks, damping, found.data());
    const double after = problem.error(found);
    const MatrixProduct one_product = plain_product(1);
    const Layer one{problem.n, problem.k, problem.weights.data(), &moments, &one_product, 1};
    refit_by_gradients(one, masks, damping, alone.data());
    EXPECT_EQ(alone, found) << "threads";
    EXPECT_LT(best, 0.8 * before);
    EXPECT_LT(after - best, 0.02 * (before - best));
    EXPECT_TRUE(tests::fits_pattern(found.data(), problem.n, problem.k));
  }
}

TEST(PruneLayer, GradientsOfDeadInputsNeedNoDamping) {
  LayerProblem problem(5, 16, 60, 16);
  for (int64_t row = 0; row < problem.rows; ++row) problem.x[static_cast<size_t>(row * problem.k + 6)] = 0;
  const LayerMoments moments = problem.moments();
  const MatrixProduct product = plain_product();
  const Layer layer{problem.n, problem.k, problem.weights.data(), &moments, &product, 0};
  Masks masks(SparsityPattern{2}, problem.n, problem.k);
  std::fill(masks.kept.begin(), masks.kept.end(), uint8_t(0b0110));
  std::vector<float> weights = problem.weights;
  apply_masks(masks, weights.data());
  const double before = problem.error(weights);
  refit_by_gradients(layer, masks, 0, weights.data());
  EXPECT_LT(problem.error(weights), before);
}

TEST(PruneLayer, BetterMethodsAreNoWorse) {
  for (int64_t shared : {1, 16}) {
    double errors[4] = {}, unfitted[4] = {};
    for (uint32_t seed = 1; seed <= 5; ++seed) {
      const LayerProblem problem(32, 64, 300, seed, 0.1F);
      const LayerMoments moments = problem.moments();
      for (size_t i = 0; i < 4; ++i) {
        errors[i] += pruned(problem, moments, options_of(kAll[i], shared)).error;
        unfitted[i] += pruned(problem, moments, options_of(kAll[i], shared, false)).error;
      }
    }
    EXPECT_LT(unfitted[2], unfitted[0]) << "sparsegpt, magnitude";
    EXPECT_LT(unfitted[2], unfitted[1]) << "sparsegpt, wanda";
    EXPECT_LE(unfitted[3], unfitted[2]) << "obc, sparsegpt";
    EXPECT_LT(errors[2], errors[0]) << "refitted sparsegpt, magnitude";
    EXPECT_LE(errors[3], 1.02 * errors[2]) << "refitted obc, sparsegpt";
    for (size_t i = 0; i < 4; ++i) EXPECT_LT(errors[i], unfitted[i]);
  }
}

TEST(PruneLayer, SwapsNeverRaiseTheError) {
  int64_t better = 0;
  for (PruneMethod method : kAll) {
    for (int64_t shared : {1, 16}) {
      const LayerProblem problem(32, 64, 300, 7, 0.1F);
      const LayerMoments moments = problem.moments();
      PruneOptions options = options_of(method, shared);
      // The error is then all that is lowered.
      options.refit_damping = 0;
      const double without = pruned(problem, moments, options).error;
      options.swaps = true;
      const double with = pruned(problem, moments, options).error;
      EXPECT_LE(with, without * (1 + 1e-5));
      better += with < 0.99 * without;
    }
  }
  EXPECT_GE(better, 6);
}

TEST(PruneLayer, SwapsAreLoweringWhatTheySay) {
  const LayerProblem problem(16, 32, 200, 8);
  const LayerMoments moments = problem.moments();
  const MatrixProduct product = plain_product();
  const Layer layer{problem.n, problem.k, problem.weights.data(), &moments, &product, 0};
  const double damping = 1e-3 * mean_power(moments);
  Masks masks = masks_of_scores(importance(problem.weights.data(), problem.n, problem.k, nullptr).data(), problem.n,
                                problem.k, {16});
  std::vector<double> values;
  double gain = 0;
  EXPECT_GT(swap_columns(layer, damping, 0, masks), 0);
  ASSERT_TRUE(solve_block(layer, masks, 0, damping, values, gain));
  // No other choice in one group alone is better.
  for (int64_t group = 0; group < masks.groups(); ++group) {
    const uint8_t chosen = masks.kept[static_cast<size_t>(group)];
    for (int other = 0; other < 16; ++other) {
      if (__builtin_popcount(static_cast<unsigned>(other)) != 2 ||
          __builtin_popcount(static_cast<unsigned>(other ^ chosen)) != 2)
        continue;
      masks.kept[static_cast<size_t>(group)] = static_cast<uint8_t>(other);
      double rival = 0;
      ASSERT_TRUE(solve_block(layer, masks, 0, damping, values, rival));
      EXPECT_LE(rival, gain * (1 + 1e-6));
    }
    masks.kept[static_cast<size_t>(group)] = chosen;
  }
}

TEST(PruneLayer, ResultsDoNotDependOnThreads) {
  const LayerProblem problem(70, 132, 300, 9, 0.1F);
  const LayerMoments moments = problem.moments();
  for (PruneMethod method : kAll) {
    for (int64_t shared : {1, 16}) {
      PruneOptions options = options_of(method, shared);
      options.swaps = options.int8_grid = method == PruneMethod::kObc;
      options.threads = 1;
      options.product = plain_product(1);
      const PrunedLayer one = pruned(problem, moments, options);
      options.threads = 4;
      options.product = plain_product(4);
      const PrunedLayer four = pruned(problem, moments, options);
      EXPECT_EQ(one.weights, four.weights);
      EXPECT_EQ(one.masks.kept, four.masks.kept);
      EXPECT_EQ(one.error, four.error);
    }
  }
}

TEST(PruneLayer, DeadInputsAreMet) {
  LayerProblem problem(16, 32, 100, 10);
  for (int64_t row = 0; row < problem.rows; ++row) {
    for (int64_t dead : {0, 1, 2, 9, 30}) problem.x[static_cast<size_t>(row * problem.k + dead)] = 0;
  }
  const LayerMoments moments = problem.moments();
  for (PruneMethod method : kAll) {
    for (int64_t shared : {1, 8}) {
      PruneOptions options = options_of(method, shared);
      options.swaps = true;
      const PrunedLayer layer = pruned(problem, moments, options);
      ASSERT_FALSE(layer.notes.empty());
      EXPECT_EQ(layer.notes[0], "5 of 32 inputs are always 0");
      EXPECT_NEAR(layer.error, problem.error(layer.weights), 1e-4);
      for (float weight : layer.weights) EXPECT_LT(std::abs(weight), 100);
    }
  }
  std::fill(problem.x.begin(), problem.x.end(), 0.0F);
  const LayerMoments none = problem.moments();
  for (PruneMethod method : kAll) {
    const PrunedLayer layer = pruned(problem, none, options_of(method, 1));
    EXPECT_NEAR(layer.error, 1, 1e-6);
    for (float weight : layer.weights) EXPECT_LT(std::abs(weight), 100);
  }
}

TEST(PruneLayer, DampingIsRaisedWhereItMustBe) {
  // Fewer rows than columns, and no damping asked for.
  const LayerProblem problem(16, 64, 12, 11);
  const LayerMoments moments = problem.moments();
  for (PruneMethod method : kAll) {
    PruneOptions options = options_of(method, 4);
    options.mask_damping = options.refit_damping = 0;
    auto layer = prune_layer(problem.weights.data(), problem.n, problem.k, &moments, options);
    ASSERT_TRUE(layer) << layer.error().message;
    EXPECT_FALSE(layer->notes.empty());
    EXPECT_NE(layer->notes.back().find("damping raised"), std::string::npos);
  }
}

TEST(PruneLayer, BiasTakesTheDifferenceOfMeans) {
  const LayerProblem problem(8, 32, 200, 12, 0.3F);
  LayerMoments moments = problem.moments();
  centre(moments);
  const PrunedLayer layer = pruned(problem, moments, options_of(PruneMethod::kSparseGpt, 8));
  ASSERT_EQ(layer.bias_change.size(), 8U);
  for (int64_t channel = 0; channel < problem.n; ++channel) {
    double mean = layer.bias_change[static_cast<size_t>(channel)];
    for (int64_t row = 0; row < problem.rows; ++row) {
      double sum = -double(problem.y[static_cast<size_t>(row * problem.n + channel)]);
      for (int64_t i = 0; i < problem.k; ++i)
        sum += double(problem.x[static_cast<size_t>(row * problem.k + i)]) *
               layer.weights[static_cast<size_t>(channel * problem.k + i)];
      mean += sum / static_cast<double>(problem.rows);
    }
    EXPECT_NEAR(mean, 0, 1e-3);
  }
}

TEST(PruneLayer, RefusesWhatItCannotUse) {
  const LayerProblem problem(8, 16, 50, 13);
  LayerMoments moments = problem.moments();
  const PruneOptions options = options_of(PruneMethod::kSparseGpt, 1);
  std::vector<float> weights = problem.weights;
  weights[3] = std::numeric_limits<float>::quiet_NaN();
  auto layer = prune_layer(weights.data(), 8, 16, &moments, options);
  ASSERT_FALSE(layer);
  EXPECT_EQ(layer.error().code, ErrorCode::kInvalidModel);
  EXPECT_FALSE(prune_layer(problem.weights.data(), 8, 14, &moments, options));
  EXPECT_FALSE(prune_layer(problem.weights.data(), 8, 12, &moments, options));
  EXPECT_FALSE(prune_layer(problem.weights.data(), 8, 16, nullptr, options));
  moments.h[17] = std::numeric_limits<float>::infinity();
  EXPECT_FALSE(prune_layer(problem.weights.data(), 8, 16, &moments, options));
}

TEST(PruneLayer, ObcForWideLayersUsesTheSweep) {
  const LayerProblem problem(4, kMostObcColumns + 4, 8, 14);
  const PrunedLayer layer = pruned(problem, problem.moments(), options_of(PruneMethod::kObc, 4));
  ASSERT_FALSE(layer.notes.empty());
  EXPECT_NE(layer.notes.back().find("sparsegpt"), std::string::npos);
}

TEST(PruneLayer, MethodsAreParsedAndSpelled) {
  for (PruneMethod method : kAll) EXPECT_EQ(*parse_prune_method(spell(method)), method);
  EXPECT_FALSE(parse_prune_method("obs"));
}

}  // namespace
}  // namespace hussar
