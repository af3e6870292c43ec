// Conversions between the element types that CPU models use.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// The order of the rows and columns of the table.
enum class CastType : int { kFloat32, kFloat16, kBFloat16, kInt32, kInt64, kUInt8, kInt8, kBool, kCount };
constexpr int kCastTypes = static_cast<int>(CastType::kCount);

// Floats round to nearest even; float to integer truncates and clamps, NaN gives 0; integers wrap; bool is value != 0.
using CastFunction = void (*)(const void* input, void* output, int64_t count);

struct CastTable {
  CastFunction convert[kCastTypes][kCastTypes];  // [from][to]
};

HUSSAR_DECLARE_PER_ISA(CastTable, cast_table)

}  // namespace hussar::cpu
