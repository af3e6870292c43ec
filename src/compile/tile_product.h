// Matrix products by the FP32 kernels, for the work of pruning.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "sparsify/matrix_product.h"

namespace hussar {

// On at most so many threads of the process's pool; 0: on all. Copies share their memory.
MatrixProduct tile_product(int threads = 0);

// y = x W' for a fixed W.
class FixedProduct {
 public:
  // w: [n][k].
  FixedProduct(const std::vector<float>& w, int64_t n, int64_t k, int threads = 0);
  ~FixedProduct();
  FixedProduct(FixedProduct&&) noexcept;
  FixedProduct& operator=(FixedProduct&&) noexcept;
  // x: [rows][k], y: [rows][n].
  void run(const float* x, int64_t rows, float* y) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace hussar
