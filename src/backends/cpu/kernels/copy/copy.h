// Copying a block of elements between two strided arrangements in memory: transposes, slices, broadcasts, layouts.
//
// A StridedCopy is made by plan_copy (strided_copy.h) and is plain data. All strides are in bytes and may be 0 (input
// only) or negative. Input and output do not overlap.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

constexpr int kCopyAxes = 24;

struct StridedCopy {
  enum Kind : int32_t {
    kRows,       // runs of `run` bytes that are contiguous on both sides
    kFill,       // one element repeated `run` times in contiguous memory
    kTranspose,  // a matrix whose input is contiguous along columns and whose output is contiguous along rows
    kElements,   // `run` elements, run_in and run_out bytes apart
  };
  Kind kind;
  int32_t element_size;  // 1, 2, 4, 8 or 16; not used by kRows
  int64_t run;
  int64_t run_in, run_out;  // kElements
  // kTranspose: element (row, column) moves from row * row_in + column * element_size to
  // row * element_size + column * column_out.
  int64_t rows, columns, row_in, column_out;
  // How many pieces one innermost block is cut into; the units of work are loops * pieces.
  int64_t pieces;
  int64_t units;
  double bytes;  // that are read and written
  int32_t loops;
  int64_t dims[kCopyAxes], in_strides[kCopyAxes], out_strides[kCopyAxes];
};

// kRows and kFill are cut into pieces of this many bytes, kTranspose into blocks of columns and rows.
constexpr int64_t kCopyPieceBytes = 1 << 17;
constexpr int64_t kTransposeColumns = 16;
constexpr int64_t kTransposeRows = 4096;

struct CopyTable {
  // Executes the units [begin, end).
  void (*run)(const StridedCopy& plan, const void* input, void* output, int64_t begin, int64_t end);
};

HUSSAR_DECLARE_PER_ISA(CopyTable, copy_table)

}  // namespace hussar::cpu
