// Second moments, and the matrix product that makes them.
#include "sparsify/moments.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "sparsify/linear.h"
#include "tests/sparsify/problems.h"

namespace hussar {
namespace {

TEST(SparsifyProduct, IsThatOfLoopsForAllSizesAndThreads) {
  std::mt19937 random(1);
  std::normal_distribution<float> normal;
  for (int64_t rows : {1, 7, 130}) {
    for (int64_t columns : {1, 17, 270}) {
      for (int64_t depth : {1, 33, 300}) {
        const int64_t gap = 3;
        std::vector<float> a(static_cast<size_t>(depth * (rows + gap))),
            b(static_cast<size_t>(depth * (columns + gap)));
        std::vector<float> c(static_cast<size_t>(rows * (columns + gap)));
        for (auto* matrix : {&a, &b, &c}) {
          for (float& value : *matrix) value = normal(random);
        }
        std::vector<float> one = c, more = c;
        plain_product(1)(
            {rows, columns, depth, a.data(), rows + gap, b.data(), columns + gap, one.data(), columns + gap});
        plain_product(3)(
            {rows, columns, depth, a.data(), rows + gap, b.data(), columns + gap, more.data(), columns + gap});
        EXPECT_EQ(one, more);
        for (int64_t i = 0; i < rows; ++i) {
          for (int64_t j = 0; j < columns + gap; ++j) {
            double sum = c[static_cast<size_t>(i * (columns + gap) + j)];
            for (int64_t t = 0; t < depth && j < columns; ++t)
              sum += double(a[static_cast<size_t>(t * (rows + gap) + i)]) *
                     b[static_cast<size_t>(t * (columns + gap) + j)];
            ASSERT_NEAR(one[static_cast<size_t>(i * (columns + gap) + j)], sum, 1e-4);
          }
        }
      }
    }
  }
}

TEST(SparsifyMoments, AreSumsOverRowsHoweverTheyCome) {
  const LayerProblem problem(5, 524, 40);
  const LayerMoments whole = problem.moments();
  MomentsBuilder builder(problem.k, problem.n);
  for (int64_t row = 0; row < problem.rows; row += 7)
    builder.add(problem.x.data() + row * problem.k, problem.k, problem.y.data() + row * problem.n, problem.n,
                std::min<int64_t>(7, problem.rows - row));
  const LayerMoments parts = *builder.take();
  EXPECT_EQ(parts.rows, problem.rows);
  for (auto [i, j] : {std::pair{0, 0}, {3, 500}, {500, 3}, {523, 523}, {511, 513}}) {
    double sum = 0;
    for (int64_t row = 0; row < problem.rows; ++row)
      sum += double(problem.x[static_cast<size_t>(row * problem.k + i)]) *
             problem.x[static_cast<size_t>(row * problem.k + j)];
    EXPECT_NEAR(whole.h[static_cast<size_t>(i * problem.k + j)], sum, 1e-4 * (1 + std::abs(sum)));
    EXPECT_NEAR(parts.h[static_cast<size_t>(i * problem.k + j)], sum, 1e-4 * (1 + std::abs(sum)));
  }
  double sum = 0, squares = 0;
  for (int64_t row = 0; row < problem.rows; ++row) {
    const double y = problem.y[static_cast<size_t>(row * problem.n + 2)];
    sum += y * problem.x[static_cast<size_t>(row * problem.k + 9)];
    squares += y * y;
  }
  EXPECT_NEAR(parts.p[static_cast<size_t>(9 * problem.n + 2)], sum, 1e-3 * (1 + std::abs(sum)));
  EXPECT_NEAR(parts.y_squared[2], squares, 1e-6 * squares);
}

TEST(SparsifyMoments, RefuseWhatIsNotFinite) {
  MomentsBuilder none(4, 2);
  EXPECT_FALSE(none.take());
  for (float wrong : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30F}) {
    std::vector<float> x = {1, 2, 3, 4}, y = {1, 2};
    x[2] = wrong;
    MomentsBuilder builder(4, 2);
    builder.add(x.data(), 4, y.data(), 2, 1);
    EXPECT_FALSE(builder.take());
  }
  const std::vector<float> x = {1, 2, 3, 4}, y = {1, std::numeric_limits<float>::quiet_NaN()};
  MomentsBuilder builder(4, 2);
  builder.add(x.data(), 4, y.data(), 2, 1);
  EXPECT_FALSE(builder.take());
}

TEST(SparsifyMoments, AboutMeansAreThoseOfRowsLessTheirMean) {
  LayerProblem problem(3, 8, 50);
  LayerMoments centred = problem.moments();
  centre(centred);
  for (auto [list, width] : {std::pair{&problem.x, problem.k}, {&problem.y, problem.n}}) {
    for (int64_t i = 0; i < width; ++i) {
      double mean = 0;
      for (int64_t row = 0; row < problem.rows; ++row) mean += (*list)[static_cast<size_t>(row * width + i)] / 50;
      for (int64_t row = 0; row < problem.rows; ++row)
        (*list)[static_cast<size_t>(row * width + i)] -= static_cast<float>(mean);
    }
  }
  const LayerMoments wanted = problem.moments();
  for (size_t i = 0; i < wanted.h.size(); ++i) EXPECT_NEAR(centred.h[i], wanted.h[i], 1e-3);
  for (size_t i = 0; i < wanted.p.size(); ++i) EXPECT_NEAR(centred.p[i], wanted.p[i], 1e-3);
  for (size_t i = 0; i < wanted.y_squared.size(); ++i) EXPECT_NEAR(centred.y_squared[i], wanted.y_squared[i], 1e-3);
}

TEST(SparsifyLinear, FactorOfTheInverse) {
  for (int64_t k : {4, 100, 128, 300, 700}) {
    const LayerProblem problem(1, k, k + 20);
    std::vector<float> h = problem.moments().h;
    double mean = 0;
    for (int64_t i = 0; i < k; ++i) mean += h[static_cast<size_t>(i * k + i)] / static_cast<double>(k);
    for (int64_t i = 0; i < k; ++i) h[static_cast<size_t>(i * k + i)] += static_cast<float>(0.01 * mean);
    std::vector<float> u = h;
    ASSERT_TRUE(factor_inverse(u.data(), k, plain_product()));
    // U H U' is the identity.
    std::vector<float> turned(u.size()), half(u.size()), whole(u.size());
    transpose(u.data(), k, k, turned.data());
    plain_product()({k, k, k, h.data(), k, turned.data(), k, half.data(), k});
    plain_product()({k, k, k, turned.data(), k, half.data(), k, whole.data(), k});
    for (int64_t i = 0; i < k; ++i) {
      for (int64_t j = 0; j < k; ++j) {
        ASSERT_NEAR(whole[static_cast<size_t>(i * k + j)], i == j ? 1 : 0, 1e-3) << k;
        ASSERT_TRUE(j >= i || u[static_cast<size_t>(i * k + j)] == 0.0F);
      }
    }
  }
}

TEST(SparsifyLinear, SaysWhatIsNotPositiveDefinite) {
  std::vector<float> matrix = {1, 2, 2, 1};
  EXPECT_FALSE(factor_inverse(matrix.data(), 2, plain_product()));
  std::vector<float> zeros(16);
  EXPECT_FALSE(factor_inverse(zeros.data(), 4, plain_product()));
  std::vector<double> wide = {1, 2, 2, 1}, right = {1, 1};
  EXPECT_FALSE(solve_positive(wide.data(), 2, right.data(), 1));
}

}  // namespace
}  // namespace hussar
