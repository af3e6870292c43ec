// Elementwise loops over one line: arithmetic of integers and floats, comparisons, logic, selection.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

enum class BinaryOp : int32_t {
  kAdd,
  kSub,
  kMul,
  kDiv,
  kMod,
  kMin,
  kMax,  // give the type of the operands
  kEqual,
  kLess,
  kLessOrEqual,
  kGreater,
  kGreaterOrEqual,  // give bool
  kAnd,
  kOr,
  kXor,  // on bool, give bool
  kCount
};
enum class BinaryType : int32_t { kFloat32, kInt32, kInt64, kUInt8, kCount };  // kUInt8 also stands for bool

// What a line says to an integer division.
enum BinaryFault : int32_t { kNoFault = 0, kDivisionByZero = 1, kDivisionOverflow = 2 };

// y[i] = op(a[i], b[i]) for i < count; an operand that does not move gives its first element for all i. Integers wrap.
// Division truncates; the remainder has the sign of b. Where a fault is reported the quotient is 0.
using BinaryFunction = int32_t (*)(const void* a, const void* b, void* y, int64_t count, bool a_moves, bool b_moves);

struct ElementwiseTable {
  // Null where the combination is not offered.
  BinaryFunction binary[static_cast<int>(BinaryOp::kCount)][static_cast<int>(BinaryType::kCount)];
  // y[i] = x[i] == 0 ? 1 : 0
  void (*logical_not)(const uint8_t* x, uint8_t* y, int64_t count);
  // y[i] = condition[i] ? a[i] : b[i], for elements of 1, 2, 4 and 8 bytes.
  void (*select[4])(const uint8_t* condition, const void* a, const void* b, void* y, int64_t count, bool a_moves,
                    bool b_moves);
};

HUSSAR_DECLARE_PER_ISA(ElementwiseTable, elementwise_table)

}  // namespace hussar::cpu
