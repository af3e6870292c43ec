// INT8 products of few rows with weights that are 2:4 with a mask of its own in every column
// (backends/cpu/column_packing.h): for every four kept weights each column takes four of eight activations by one
// shuffle inside of 16 bytes. Sums are exact: the bits of the dense product.
//   avx2, and AVX-512 without VNNI:  vpmaddubsw, which saturates, so activations come as two halves of four bits
//   avx512vnni:  vpdpbusd
#pragma once
#include "backends/cpu/column_packing.h"
#include "backends/cpu/kernels/int8/int8_product.h"

namespace hussar::cpu {

// For one row, or up to four at a time: as bytes, or as two halves.
constexpr int64_t kInt8ColumnRows = 4;
constexpr int64_t int8_columns_scratch_bytes(int64_t k) {
  return kInt8ColumnRows * 2 * column_chunks(k) * kColumnChunk;
}

struct Int8ColumnsTable {
  // A convolution of kernel 1 over a line of pixels, in one group; scratch is int8_columns_scratch_bytes(k) bytes.
  Int8Function product;
};
HUSSAR_DECLARE_PER_ISA(Int8ColumnsTable, int8_columns_table)

namespace avx512vnni {
void run_int8_columns(const Int8Args& args, Share share, void* scratch);
}  // namespace avx512vnni

}  // namespace hussar::cpu
