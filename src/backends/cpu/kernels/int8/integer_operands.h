// What the product of two matrices of bytes needs beside the tiles of INT8 products: its right side packed like weights
// when the model runs, its left side as unsigned bytes, and what zero points of the right side take from every row.
#pragma once
#include <stdint.h>

#include "backends/cpu/int8_packing.h"
#include "backends/cpu/isa.h"

namespace hussar::cpu {

// Panels of b (k x n), whose bytes are changed by an exclusive or with `flip` to be signed, as pack_int8_weights makes
// them.
struct RightBytes {
  const uint8_t* b;
  int64_t k, n;
  uint8_t flip;
  int8_t* panels;
};

// Rows of k bytes, which an exclusive or with `flip` makes unsigned.
struct LeftBytes {
  const uint8_t* a;
  int64_t k;
  uint8_t flip;
  uint8_t* copy;         // null: they are used as they are
  int32_t* corrections;  // per row: right_zero * (sum of the row - k * left_zero)
  int32_t left_zero, right_zero;
};

struct IntegerOperandsTable {
  void (*pack_right)(const RightBytes& args, int64_t first_panel, int64_t end_panel);
  void (*prepare_left)(const LeftBytes& args, int64_t first_row, int64_t end_row);
};
HUSSAR_DECLARE_PER_ISA(IntegerOperandsTable, integer_operands_table)

}  // namespace hussar::cpu
