// Packing of sparse weights (sparse_packing.h), and the inverse, which writes into zeros.
#pragma once
#include "backends/cpu/sparse_packing.h"
#include "tensor/shared_mask.h"

namespace hussar::cpu {

void pack_int8_sparse(const MatrixView<const int8_t>& weights, const SharedMask& mask, int8_t* out);
void unpack_int8_sparse(const int8_t* packed, int64_t panels, const MatrixView<int8_t>& weights);
void pack_float_sparse(const MatrixView<const float>& weights, const SharedMask& mask, float* out);
void unpack_float_sparse(const float* packed, int64_t panels, const MatrixView<float>& weights);
// As FP16, for masks that 32 columns share at least.
void pack_half_sparse(const MatrixView<const float>& weights, const SharedMask& mask, uint16_t* out);
void unpack_half_sparse(const uint16_t* packed, int64_t panels, const MatrixView<float>& weights);

}  // namespace hussar::cpu
