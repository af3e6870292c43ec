// Matrix products, and the packing of an activation as their right-hand side.
#include <xmmintrin.h>

#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_drivers.h"
#include "backends/cpu/kernels/tile/tile_gather.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Rows of any matrix, element by element.
struct PackElements {
  const float* a;
  int64_t row_stride;
  int64_t column_stride;
  int64_t k;

  void operator()(int64_t row, int rows, float* dst) const {
    for (int64_t i = 0; i < k; ++i) {
      float* out = dst + i / kTileChunk * rows * kTileChunk + i % kTileChunk;
      const float* source = a + row * row_stride + i * column_stride;
      for (int r = 0; r < rows; ++r) out[r * kTileChunk] = source[r * row_stride];
    }
  }
};

void pack_row_major_panel(const float* b, int64_t k, int64_t row_stride, int columns, float* out) {
  if (columns == 16) {
    for (int64_t row = 0; row < k; ++row) copy16(out + row * 16, b + row * row_stride);
    return;
  }
  for (int64_t row = 0; row < k; ++row) {
    for (int column = 0; column < 16; ++column) {
      out[row * 16 + column] = column < columns ? b[row * row_stride + column] : 0.0f;
    }
  }
}

// b's column c is the contiguous b[c * column_stride ...]: 4 x 4 blocks are transposed in registers.
void pack_transposed_panel(const float* b, int64_t k, int64_t column_stride, int columns, float* out) {
  const int whole_columns = columns / 4 * 4;
  const int64_t whole_rows = k / 4 * 4;
  for (int64_t row = 0; row < whole_rows; row += 4) {
    for (int column = 0; column < whole_columns; column += 4) {
      const float* source = b + column * column_stride + row;
      __m128 v0 = _mm_loadu_ps(source), v1 = _mm_loadu_ps(source + column_stride);
      __m128 v2 = _mm_loadu_ps(source + 2 * column_stride), v3 = _mm_loadu_ps(source + 3 * column_stride);
      _MM_TRANSPOSE4_PS(v0, v1, v2, v3);
      float* target = out + row * 16 + column;
      _mm_storeu_ps(target, v0);
      _mm_storeu_ps(target + 16, v1);
      _mm_storeu_ps(target + 32, v2);
      _mm_storeu_ps(target + 48, v3);
    }
  }
  for (int64_t row = 0; row < k; ++row) {
    for (int column = row < whole_rows ? whole_columns : 0; column < 16; ++column) {
      out[row * 16 + column] = column < columns ? b[column * column_stride + row] : 0.0f;
    }
  }
}

void pack_strided_panel(const float* b, int64_t k, int64_t row_stride, int64_t column_stride, int columns, float* out) {
  for (int64_t row = 0; row < k; ++row) {
    for (int column = 0; column < 16; ++column) {
      out[row * 16 + column] = column < columns ? b[row * row_stride + column * column_stride] : 0.0f;
    }
  }
}

// A batch whose rows follow each other at one pitch is one matrix.
GemmArgs flatten_batch(const GemmArgs& args) {
  GemmArgs flat = args;
  if (args.b_batch_stride == 0 && args.a_batch_stride == args.m * args.a_row_stride &&
      args.c_batch_stride == args.m * args.c_row_stride) {
    flat.m = args.batch * args.m;
    flat.batch = 1;
  }
  return flat;
}

}  // namespace

void run_gemm(const GemmArgs& original, Share share, void* scratch) {
  const GemmArgs args = flatten_batch(original);
  const Work work = share_of_work(args.batch, args.m, panel_count(args.n), share, args.cut);
  float* const memory = static_cast<float*>(scratch);
  for (int64_t item = work.items.begin; item < work.items.end; ++item) {
    const Product product = {args.k,
                             args.n,
                             args.b + item * args.b_batch_stride,
                             args.c + item * args.c_batch_stride,
                             args.c_row_stride,
                             item * args.m,
                             0,
                             1,
                             &args.epilogue,
                             args.c_line_rows,
                             args.c_line_gap};
    const float* a = args.a + item * args.a_batch_stride;
    if (args.a_column_stride == 1) {
      run_product(product, work.rows, work.panels, args.cut, PackRows{a, args.a_row_stride, args.k}, memory);
    } else {
      run_product(product, work.rows, work.panels, args.cut,
                  PackElements{a, args.a_row_stride, args.a_column_stride, args.k}, memory);
    }
  }
}

void run_pack(const PackArgs& args, Share share) {
  const int64_t panels = panel_count(args.n);
  const Range mine = part_of(args.batch * panels, share.count, share.index);
  for (int64_t i = mine.begin; i < mine.end; ++i) {
    const int64_t first = i % panels * 16;
    const float* b = args.b + i / panels * args.batch_stride + first * args.column_stride;
    const int columns = static_cast<int>(args.n - first < 16 ? args.n - first : 16);
    float* out = args.out + i * args.k * 16;
    if (args.column_stride == 1) {
      pack_row_major_panel(b, args.k, args.row_stride, columns, out);
    } else if (args.row_stride == 1) {
      pack_transposed_panel(b, args.k, args.column_stride, columns, out);
    } else {
      pack_strided_panel(b, args.k, args.row_stride, args.column_stride, columns, out);
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
