// Packing of weights with a mask for every column (column_packing.h), and the inverse, which writes into zeros.
#pragma once
#include "backends/cpu/column_packing.h"
#include "tensor/shared_mask.h"

namespace hussar::cpu {

void pack_columns(const MatrixView<const float>& weights, float* out);
void pack_columns(const MatrixView<const int8_t>& weights, int8_t* out);
void unpack_columns(const float* packed, const MatrixView<float>& weights);
void unpack_columns(const int8_t* packed, const MatrixView<int8_t>& weights);

}  // namespace hussar::cpu
