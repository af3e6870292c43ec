// Convolutions and matrix products of uint8 activations and int8 weights.
//
// Sums are exact in int32, and the rest is FP32 with one rounding per step in a fixed order, as
// ops/quantized_product.h says it: results are the same on every instruction set level and for every share count.
// Weights are packed by int8_packing.h. Rows of A are gathered as [ceil(k / 64)][rows][64] like those of the FP32
// tiles.
//   scalar, and AVX-512 without VNNI by the code of AVX2:  A as 16-bit numbers, vpmaddwd: pairs of products, exact
//   avx512vnni:  vpdpbusd, four products of bytes
//   amx:         tdpbusd, tiles of 16 rows
#pragma once
#include "backends/cpu/kernels/pointwise/byte_program.h"
#include "backends/cpu/kernels/tile/tile.h"

namespace hussar::cpu {

// A byte and a real number again; none with a scale of 0.
struct Int8Grid {
  float scale = 0;
  int32_t zero_point = 0;
};

struct Int8Args {
  // As for TileTable::conv, without `filter`, `input` and `output`. A matrix product is a convolution of kernel 1 over
  // a line of m pixels: k channels, n filters. The epilogue's bias is added after the product's own.
  ConvArgs conv;
  const uint8_t* input = nullptr;
  float input_scale = 1;
  int32_t input_zero_point = 0;
  const int8_t* weights = nullptr;
  int64_t shared_panels = 0;             // sparse weights: panels of a block (sparse_packing.h)
  const float* weight_scales = nullptr;  // one per output channel; null: 1
  const float* bias = nullptr;           // one per output channel; may be null
  // Added before all else that follows, where it is not null: a number per row, times one per output channel.
  const float* row_term = nullptr;
  int64_t row_term_stride = 0;
  const float* row_factors = nullptr;
  // Subtracted from all sums of a row, where it is not null.
  const int32_t* row_corrections = nullptr;
  // What rounds the sum with its bias, before the epilogue, then behind the epilogue's bias, then behind its residual
  // of real numbers.
  Int8Grid grid, grid_of_biased, grid_of_residual;
  // Added where Epilogue::residual would be; may be null. Stands for (q - zero_point) * scale.
  const uint8_t* residual = nullptr;
  int64_t residual_pitch = 0;
  float residual_scale = 1;
  int32_t residual_zero_point = 0;
  // Where the epilogue's program reads bytes: its operands. Else null.
  const ByteForms* program_bytes = nullptr;
  // One of them: real numbers, saturate(round(y / output_scale) + output_zero_point), or the sums themselves.
  float* reals = nullptr;
  uint8_t* bytes = nullptr;
  int32_t* sums = nullptr;
  float output_scale = 1;
  int32_t output_zero_point = 0;
};

// Executes one share of a static partition. Scratch is int8_scratch_bytes(k) bytes aligned to 64, k = taps * channels;
// int8_sparse_scratch_bytes(k) where weights are sparse.
using Int8Function = void (*)(const Int8Args& args, Share share, void* scratch);

struct Int8Table {
  Int8Function product;
  Int8Function sparse;  // the product with sparse weights, in one group
  // Convolution of one channel and one filter per group and at most two dimensions; weights by pack_int8_depthwise,
  // scratch is int8_depthwise_scratch_bytes(groups) bytes.
  Int8Function depthwise;
};
HUSSAR_DECLARE_PER_ISA(Int8Table, int8_table)

namespace avx512vnni {
void run_int8_product(const Int8Args& args, Share share, void* scratch);
void run_int8_sparse(const Int8Args& args, Share share, void* scratch);
void run_int8_depthwise(const Int8Args& args, Share share, void* scratch);
}  // namespace avx512vnni
namespace amx {
void run_int8_product(const Int8Args& args, Share share, void* scratch);
void run_int8_sparse(const Int8Args& args, Share share, void* scratch);
}  // namespace amx

// The functions for a level on this machine.
Int8Function int8_product(Isa isa);
Int8Function int8_sparse(Isa isa);
Int8Function int8_depthwise(Isa isa);

}  // namespace hussar::cpu
