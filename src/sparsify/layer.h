// What the parts of prune_layer know in common.
#pragma once
#include <algorithm>
#include <cstdint>

#include "base/thread_pool.h"
#include "sparsify/matrix_product.h"
#include "sparsify/moments.h"

namespace hussar {

// A layer [n][k] whose outputs shall be those that the moments ask for. All that works on it lowers, over the weights
// W that a pattern allows, |X W' - Y|^2 + damping |W - dense|^2: the second term stands for what few samples do not
// tell.
struct Layer {
  int64_t n = 0, k = 0;
  const float* dense = nullptr;
  const LayerMoments* moments = nullptr;
  const MatrixProduct* product = nullptr;
  int threads = 0;

  const float* h() const { return moments->h.data(); }
  // The right side of the equations of one weight.
  double wanted(int64_t row, int64_t column, double damping) const {
    return moments->p[static_cast<size_t>(column * n + row)] + damping * dense[row * k + column];
  }
};

// Runs function(0) to function(count - 1) on several threads. `floats`: of the memory that each one takes; as many
// run at a time as take kMostFloats together.
constexpr int64_t kMostFloats = int64_t(64) << 20;
template <class Function>
void run_shares(int threads, int64_t count, Function&& function, int64_t floats = 0) {
  ThreadPool& pool = ThreadPool::shared();
  const int64_t most = floats == 0 ? pool.cores() : std::max<int64_t>(1, kMostFloats / floats);
  const int wanted = threads == 0 ? pool.cores() : threads;
  ThreadPool::Lease lease(pool, static_cast<int>(std::min<int64_t>(wanted, most)));
  lease.run(static_cast<int>(count), function);
}

}  // namespace hussar
