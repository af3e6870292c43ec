// What kernels need that write rows as bytes with a scale each (device/row_bytes.cuh).
#pragma once
#include <bit>

#include "backends/cuda/code.h"
#include "tensor/row_scales.h"

namespace hussar::cuda {

inline void define_row_bytes(Defines& defines) {
  defines.set("ROW_LEAST", int64_t{std::bit_cast<uint32_t>(kLeastOfRow)});
  defines.set("ROW_MOST", int64_t{std::bit_cast<uint32_t>(kMostOfRow)});
}

}  // namespace hussar::cuda
