#include "sparsify/output_error.h"

#include <algorithm>
#include <numeric>

#include "sparsify/linear.h"

namespace hussar {

std::vector<float> lacking(const Layer& layer, const float* weights) {
  const int64_t n = layer.n, k = layer.k;
  std::vector<float> negative(static_cast<size_t>(k * n)), result = layer.moments->p;
  transpose(weights, n, k, negative.data());
  for (float& value : negative) value = -value;
  (*layer.product)({k, n, k, layer.h(), k, negative.data(), n, result.data(), n});
  return result;
}

double output_error(const Layer& layer, const float* weights) {
  const std::vector<double>& squares = layer.moments->y_squared;
  const double all = std::accumulate(squares.begin(), squares.end(), 0.0);
  if (all <= 0) return 0;
  // |Y|^2 - tr(W P) - tr(W (P - H W'))
  const std::vector<float> rest = lacking(layer, weights);
  double error = all;
  for (int64_t row = 0; row < layer.n; ++row) {
    for (int64_t i = 0; i < layer.k; ++i) {
      const auto at = static_cast<size_t>(i * layer.n + row);
      error -= double(weights[row * layer.k + i]) * (double(layer.moments->p[at]) + rest[at]);
    }
  }
  return std::max(0.0, error / all);
}

}  // namespace hussar
