// Matrix products and convolutions in FP32: C = epilogue(A x B) computed in register tiles.
//
// B (the weights, or an activation packed at run time) is stored in panels of 16 columns:
// [ceil(n / 16)][k][16] floats, zero padded, the same for every instruction set level (panels.h).
// Every function executes one Share of a static partition that depends only on the shapes, share.count and `cut`; all
// shares together compute the result, in any order and from any threads. Each element of C is summed over k in
// ascending order with one accumulator that starts at the bias, so the result does not depend on the share count.
// Nothing is allocated: scratch is tile_scratch_bytes(k) bytes per share that runs at the same time, aligned to 64.
// Sizes, strides and pitches are in elements. Arguments are trusted: callers check them.
#pragma once
#include <math.h>
#include <stdint.h>

#include "backends/cpu/isa.h"
#include "backends/cpu/panels.h"
#include "backends/cpu/share.h"
#include "backends/cpu/simd/program.h"
#include "backends/cpu/work_cut.h"

namespace hussar::cpu {

// y = min(max(sum + bias[column] + residual[row][column], low), high), then hard_swish(y) * scale + shift if wanted,
// then the program on y if there is one. NaN stays NaN. Rows and columns of residual and operands count over the whole
// output (see each function). INT8 kernels have one scale and shift per column where `scales` is not null, without a
// hard-swish too.
struct Epilogue {
  const float* bias = nullptr;
  const float* residual = nullptr;  // may be the output itself, with the same pitch
  int64_t residual_pitch = 0;
  float low = -INFINITY;
  float high = INFINITY;
  const Program* program = nullptr;
  const ProgramOperand* operands = nullptr;
  bool hard_swish = false;
  float scale = 1;
  float shift = 0;
  const float* scales = nullptr;
  const float* shifts = nullptr;
};

// C[i] (m x n) = epilogue(A[i] (m x k) x B[i] (k x n)) for i < batch. The epilogue's row is i * m + row.
struct GemmArgs {
  int64_t batch = 1;
  int64_t m = 0, n = 0, k = 0;
  const float* a = nullptr;
  int64_t a_batch_stride = 0;
  int64_t a_row_stride = 0;
  int64_t a_column_stride = 1;
  const float* b = nullptr;    // panels
  int64_t b_batch_stride = 0;  // 0: one B for the whole batch
  float* c = nullptr;
  int64_t c_batch_stride = 0;
  int64_t c_row_stride = 0;
  // If not 0: behind every c_line_rows rows of C lie c_line_gap more floats. For a batch of 1.
  int64_t c_line_rows = 0;
  int64_t c_line_gap = 0;
  Epilogue epilogue;
  WorkCut cut;
};

// The same with 1 to kFewRows (tile_limits.h) rows and B in place: element (row, column) of B[i] at
// b[i * b_batch_stride + row * b_row_stride + column * b_column_stride], where one of the strides is 1. Where it is
// b_row_stride, each vector lane sums a part of k; the result does not depend on the share count either.
struct FewRowsArgs {
  GemmArgs gemm;
  int64_t b_row_stride = 0;
  int64_t b_column_stride = 0;
};

// Packs B[i] (k x n), element (row, column) at b[i * batch_stride + row * row_stride + column * column_stride], into
// panels at out + i * panel_floats(k, n).
struct PackArgs {
  int64_t batch = 1;
  int64_t k = 0, n = 0;
  const float* b = nullptr;
  int64_t batch_stride = 0;
  int64_t row_stride = 0;
  int64_t column_stride = 0;
  float* out = nullptr;
};

// Channels-last convolution of 1 to 3 spatial dimensions (depth, height, width; the unused leading ones are 1).
// input [batch][depth][height][width][groups * channels] with input_pitch elements from pixel to pixel,
// output [batch][depth][height][width][groups * filters] with output_pitch. filter: for every group the panels of the
// matrix k x filters, k = (z, y, x, channel) of the kernel in row-major order. Padding counts as zeros.
// The epilogue's row is the output pixel, its column the output channel.
struct ConvArgs {
  int64_t batch = 1;
  int64_t groups = 1;
  int64_t channels = 0;  // of one group
  int64_t filters = 0;   // of one group
  int64_t in[3] = {1, 1, 1};
  int64_t out[3] = {1, 1, 1};
  int64_t kernel[3] = {1, 1, 1};
  int64_t stride[3] = {1, 1, 1};
  int64_t dilation[3] = {1, 1, 1};
  int64_t pad[3] = {0, 0, 0};  // at the beginning; what is missing at the end follows from `out`
  const float* input = nullptr;
  int64_t input_pitch = 0;
  const float* filter = nullptr;
  float* output = nullptr;
  int64_t output_pitch = 0;
  int64_t output_line_gap = 0;  // floats behind every line of the output, in `conv` without depth
  Epilogue epilogue;
  WorkCut cut;
};

struct TileTable {
  void (*gemm)(const GemmArgs& args, Share share, void* scratch);
  void (*few_rows)(const FewRowsArgs& args, Share share, void* scratch);
  void (*pack)(const PackArgs& args, Share share);
  void (*conv)(const ConvArgs& args, Share share, void* scratch);
  // The transposed convolution: tap t of the kernel adds input pixel i to output pixel i * stride - pad + t * dilation.
  // The filter is packed by pack_conv_transpose_filter.
  void (*conv_transpose)(const ConvArgs& args, Share share, void* scratch);
};

HUSSAR_DECLARE_PER_ISA(TileTable, tile_table)

}  // namespace hussar::cpu
