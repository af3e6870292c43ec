// The packed weights of the BF16 kernels: those of the FP32 tiles (panels.h) with pairs of k for elements.
//
// Panels of 16 columns, [ceil(n / 16)][ceil(k / 2)][16][2]. Columns beyond n and the partner of a last odd k are zeros.
// A is gathered as the FP16 kernels gather it (half_packing.h).
#pragma once
#include <stdint.h>

#include "backends/cpu/half_packing.h"
#include "backends/cpu/panels.h"

namespace hussar::cpu {

constexpr int64_t bfloat_panel_elements(int64_t k) { return (k + 1) / 2 * 2 * kPanelColumns; }
constexpr int64_t bfloat_weight_elements(int64_t k, int64_t n) { return panel_count(n) * bfloat_panel_elements(k); }

// Packs b (k x n), element (row, column) at b[row * row_stride + column * column_stride], rounded to nearest even.
void pack_bfloat_weights(const float* b, int64_t k, int64_t n, int64_t row_stride, int64_t column_stride,
                         uint16_t* out);

}  // namespace hussar::cpu
