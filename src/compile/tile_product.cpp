#include "compile/tile_product.h"

#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/panels.h"
#include "base/memory.h"
#include "base/thread_pool.h"

namespace hussar {
namespace {

using cpu::TileTable;

// Shares of one product: enough that a thread that is late holds nobody up.
constexpr int kSharesPerThread = 4;

// Memory that only grows.
class Floats {
 public:
  float* reserve(int64_t count) {
    if (count > capacity_) {
      memory_.reset();
      capacity_ = 0;
      memory_.reset(allocate_aligned(static_cast<size_t>(count) * sizeof(float)));
      capacity_ = count;
    }
    return reinterpret_cast<float*>(memory_.get());
  }

 private:
  AlignedMemory memory_;
  int64_t capacity_ = 0;
};

class Multiplier {
 public:
  explicit Multiplier(int threads) : threads_(threads > 0 ? threads : ThreadPool::shared().cores()) {}

  // b's element (row, column) at row * row_stride + column * column_stride.
  const float* pack(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride) {
    float* panels = panels_.reserve(cpu::panel_floats(k, n));
    const cpu::PackArgs args{1, k, n, b, 0, row_stride, column_stride, panels};
    each_share([&](cpu::Share share) { table_.pack(args, share); });
    return panels;
  }

  void multiply(const cpu::GemmArgs& args) {
    const int64_t scratch = cpu::tile_scratch_bytes(args.k) / static_cast<int64_t>(sizeof(float));
    float* memory = scratch_.reserve(scratch * shares());
    each_share([&](cpu::Share share) { table_.gemm(args, share, memory + scratch * share.index); });
  }

 private:
  int shares() const { return threads_ > 1 ? threads_ * kSharesPerThread : 1; }
  template <class Function>
  void each_share(Function&& function) {
    ThreadPool::Lease lease(ThreadPool::shared(), threads_);
    lease.run(shares(), [&](int index) { function(cpu::Share{index, shares()}); });
  }

  const TileTable& table_ = cpu::select_tile_table(cpu::active_isa());
  int threads_;
  Floats panels_, scratch_;
};

}  // namespace

MatrixProduct tile_product(int threads) {
  return [multiplier = std::make_shared<Multiplier>(threads)](const ProductArgs& product) {
    cpu::GemmArgs args;
    args.m = product.rows;
    args.n = product.columns;
    args.k = product.depth;
    args.a = product.a;
    args.a_row_stride = 1;
    args.a_column_stride = product.a_stride;
    args.b = multiplier->pack(product.b, product.depth, product.columns, product.b_stride, 1);
    args.c = product.c;
    args.c_row_stride = product.c_stride;
    args.epilogue.residual = product.c;
    args.epilogue.residual_pitch = product.c_stride;
    multiplier->multiply(args);
  };
}

FixedProduct fixed_product(const std::vector<float>& w, int64_t n, int64_t k, int threads) {
  auto multiplier = std::make_shared<Multiplier>(threads);
  const float* panels = multiplier->pack(w.data(), k, n, 1, k);
  return [multiplier, panels, n, k](const float* x, int64_t rows, float* y) {
    cpu::GemmArgs args;
    args.m = rows;
    args.n = n;
    args.k = k;
    args.a = x;
    args.a_row_stride = k;
    args.b = panels;
    args.c = y;
    args.c_row_stride = n;
    multiplier->multiply(args);
  };
}

}  // namespace hussar
