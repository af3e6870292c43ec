// Matrix products by the FP32 kernels, for the work of pruning.
#pragma once
#include <cstdint>
#include <functional>
#include <vector>

#include "sparsify/matrix_product.h"

namespace hussar {

// On at most so many threads of the process's pool; 0: on all. Copies share their memory.
MatrixProduct tile_product(int threads = 0);

// y = x W' for a fixed W: x is [rows][k], y [rows][n].
using FixedProduct = std::function<void(const float* x, int64_t rows, float* y)>;
// w: [n][k]; threads as above.
FixedProduct fixed_product(const std::vector<float>& w, int64_t n, int64_t k, int threads = 0);

}  // namespace hussar
