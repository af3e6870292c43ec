#include "sparsify/matrix_product.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#include "base/thread_pool.h"

namespace hussar {
namespace {

// A register tile is kTileRows x kTileColumns; a share of the work is kShareRows x kShareColumns, taken kDepth of the
// sum at a time, so that what it packs stays in the second cache.
constexpr int64_t kTileRows = 4, kTileColumns = 16;
constexpr int64_t kShareRows = 128, kShareColumns = 256, kDepth = 256;

typedef float Vector __attribute__((vector_size(32)));

// The same code for all x86-64 and for those with AVX2; both give the same bits, as neither fuses.
#define HUSSAR_INLINE __attribute__((always_inline)) inline

// tile += a' b: a [depth][kTileRows], b [depth][kTileColumns], both 32 bytes aligned.
HUSSAR_INLINE void multiply_tile(const float* a, const float* b, int64_t depth, float* tile, int64_t stride) {
  Vector sums[kTileRows][2] = {};
  for (int64_t i = 0; i < depth; ++i, a += kTileRows, b += kTileColumns) {
    const Vector left = *reinterpret_cast<const Vector*>(b), right = *reinterpret_cast<const Vector*>(b + 8);
    for (int64_t row = 0; row < kTileRows; ++row) {
      sums[row][0] += a[row] * left;
      sums[row][1] += a[row] * right;
    }
  }
  for (int64_t row = 0; row < kTileRows; ++row) {
    for (int64_t i = 0; i < kTileColumns; ++i) tile[row * stride + i] += sums[row][i / 8][i % 8];
  }
}

void multiply_tile_anywhere(const float* a, const float* b, int64_t depth, float* tile, int64_t stride) {
  multiply_tile(a, b, depth, tile, stride);
}
#ifdef __x86_64__
__attribute__((target("avx2"))) void multiply_tile_avx2(const float* a, const float* b, int64_t depth, float* tile,
                                                        int64_t stride) {
  multiply_tile(a, b, depth, tile, stride);
}
const auto kMultiplyTile = __builtin_cpu_supports("avx2") != 0 ? multiply_tile_avx2 : multiply_tile_anywhere;
#else
const auto kMultiplyTile = multiply_tile_anywhere;
#endif

// [columns / width][depth][width], zeros behind the last column.
void pack(const float* from, int64_t stride, int64_t columns, int64_t depth, int64_t width, float* to) {
  for (int64_t first = 0; first < columns; first += width) {
    const int64_t count = std::min(width, columns - first);
    for (int64_t i = 0; i < depth; ++i, to += width) {
      std::memcpy(to, from + i * stride + first, static_cast<size_t>(count) * sizeof(float));
      std::fill(to + count, to + width, 0.0F);
    }
  }
}

struct alignas(32) Packed {
  float a[kShareRows * kDepth];
  float b[kShareColumns * kDepth];
};

// Part of a share: both sides are packed.
void multiply_packed(const Packed& packed, int64_t rows, int64_t columns, int64_t depth, float* c, int64_t stride) {
  for (int64_t column = 0; column < columns; column += kTileColumns) {
    const float* b = packed.b + column * depth;
    for (int64_t row = 0; row < rows; row += kTileRows) {
      const float* a = packed.a + row * depth;
      float* tile = c + row * stride + column;
      if (row + kTileRows <= rows && column + kTileColumns <= columns) {
        kMultiplyTile(a, b, depth, tile, stride);
        continue;
      }
      float border[kTileRows * kTileColumns] = {};
      kMultiplyTile(a, b, depth, border, kTileColumns);
      for (int64_t i = 0; i < std::min(kTileRows, rows - row); ++i) {
        for (int64_t j = 0; j < std::min(kTileColumns, columns - column); ++j)
          tile[i * stride + j] += border[i * kTileColumns + j];
      }
    }
  }
}

void multiply(const ProductArgs& args, int threads) {
  const int64_t row_shares = (args.rows + kShareRows - 1) / kShareRows;
  const int64_t column_shares = (args.columns + kShareColumns - 1) / kShareColumns;
  ThreadPool& pool = ThreadPool::shared();
  ThreadPool::Lease lease(pool, threads == 0 ? pool.cores() : threads);
  lease.run(static_cast<int>(row_shares * column_shares), [&](int share) {
    // On the heap: as thread-local memory every thread of the process would have it, whether it multiplies or not.
    static thread_local const auto kept = std::make_unique<Packed>();
    Packed& packed = *kept;
    const int64_t row = share / column_shares * kShareRows, column = share % column_shares * kShareColumns;
    const int64_t rows = std::min(kShareRows, args.rows - row);
    const int64_t columns = std::min(kShareColumns, args.columns - column);
    for (int64_t first = 0; first < args.depth; first += kDepth) {
      const int64_t depth = std::min(kDepth, args.depth - first);
      pack(args.a + first * args.a_stride + row, args.a_stride, rows, depth, kTileRows, packed.a);
      pack(args.b + first * args.b_stride + column, args.b_stride, columns, depth, kTileColumns, packed.b);
      multiply_packed(packed, rows, columns, depth, args.c + row * args.c_stride + column, args.c_stride);
    }
  });
}

}  // namespace

MatrixProduct plain_product(int threads) {
  return [threads](const ProductArgs& args) { multiply(args, threads); };
}

}  // namespace hussar
