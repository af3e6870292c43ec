// Layers to prune: random weights, and inputs that have common causes, as those of real layers do.
#pragma once
#include <cstdint>
#include <random>
#include <vector>

#include "sparsify/moments.h"

namespace hussar {

struct LayerProblem {
  LayerProblem(int64_t n, int64_t k, int64_t rows, uint32_t seed = 1, float disturbance = 0) : n(n), k(k), rows(rows) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    const int64_t causes = k / 4 + 1;
    std::vector<float> mix(static_cast<size_t>(causes * k)), scales(static_cast<size_t>(k));
    for (float& value : mix) value = normal(random);
    for (float& value : scales) value = std::exp(0.7F * normal(random));
    for (int64_t i = 0; i < n * k; ++i) weights.push_back(normal(random));
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<float> common(static_cast<size_t>(causes));
      for (float& value : common) value = normal(random);
      std::vector<float> dense;
      for (int64_t i = 0; i < k; ++i) {
        float sum = 0.5F * normal(random);
        for (int64_t cause = 0; cause < causes; ++cause)
          sum += mix[static_cast<size_t>(cause * k + i)] * common[static_cast<size_t>(cause)] * 0.3F;
        dense.push_back(std::max(0.0F, sum + 0.3F) * scales[static_cast<size_t>(i)]);
      }
      // What the layer reads once those before it are pruned.
      for (int64_t i = 0; i < k; ++i)
        x.push_back(dense[static_cast<size_t>(i)] + disturbance * scales[static_cast<size_t>(i)] * normal(random));
      for (int64_t channel = 0; channel < n; ++channel) {
        float sum = 0;
        for (int64_t i = 0; i < k; ++i)
          sum += weights[static_cast<size_t>(channel * k + i)] * dense[static_cast<size_t>(i)];
        y.push_back(sum);
      }
    }
  }

  LayerMoments moments() const {
    MomentsBuilder builder(k, n);
    builder.add(x.data(), k, y.data(), n, rows);
    return *builder.take();
  }

  // |X W' - Y|^2 / |Y|^2, from the rows.
  double error(const std::vector<float>& pruned) const {
    double error = 0, all = 0;
    for (int64_t row = 0; row < rows; ++row) {
      for (int64_t channel = 0; channel < n; ++channel) {
        double sum = 0;
        for (int64_t i = 0; i < k; ++i)
          sum += double(x[static_cast<size_t>(row * k + i)]) * pruned[static_cast<size_t>(channel * k + i)];
        const double wanted = y[static_cast<size_t>(row * n + channel)];
        error += (sum - wanted) * (sum - wanted);
        all += wanted * wanted;
      }
    }
    return error / all;
  }

  int64_t n, k, rows;
  std::vector<float> weights;  // [n][k]
  std::vector<float> x, y;     // [rows][k], [rows][n]
};

}  // namespace hussar
