// LayerMoments: all that pruning a layer needs to know of its data: second moments of inputs, and with wanted outputs.
#pragma once
#include <cstdint>
#include <vector>

#include "hussar/status.h"
#include "sparsify/matrix_product.h"

namespace hussar {

// Of X, the rows that the layer reads in the pruned network, and Y, what the dense network's layer made of the same
// samples, without its bias.
struct LayerMoments {
  int64_t k = 0, n = 0, rows = 0;
  std::vector<float> h;              // X' X, [k][k], symmetric
  std::vector<float> p;              // X' Y, [k][n]
  std::vector<double> x_sum, y_sum;  // by column
  std::vector<double> y_squared;     // the sum of squares, by column of Y
};

class MomentsBuilder {
 public:
  explicit MomentsBuilder(int64_t k, int64_t n, MatrixProduct product = plain_product());
  // More rows. Cut them in whatever way; a few hundred at a time are fast. The sums depend on the cut in their last
  // bits.
  void add(const float* x, int64_t x_stride, const float* y, int64_t y_stride, int64_t rows);
  int64_t rows() const { return moments_.rows; }
  // Fails where there were no rows, or numbers that are not finite or whose squares are not.
  Result<LayerMoments> take();

 private:
  LayerMoments moments_;
  MatrixProduct product_;
};

// Moments about the means, for a layer whose bias can take what the means of its outputs change by.
void centre(LayerMoments& moments);

// With columns and rows of the weights in another order (permute.h).
LayerMoments reorder(const LayerMoments& moments, const std::vector<int32_t>& columns,
                     const std::vector<int32_t>& rows);

}  // namespace hussar
